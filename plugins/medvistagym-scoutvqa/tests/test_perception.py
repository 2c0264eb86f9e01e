"""Perception items show what the real tools show, and say what is true of it."""

from __future__ import annotations

import collections
import functools
import json
from collections.abc import Iterable

import numpy as np
import pytest

from medvistagym_core import Box, Image, ImageStore, LocalExecutor, ToolCall
from medvistagym_core.environment import PerceptionItem
from medvistagym_scoutvqa import CHAIN, SCOUTVQA, ScoutVQA
from medvistagym_scoutvqa._demonstrations import informative_call, plausible_call
from medvistagym_scoutvqa._perception import PERCEPTION_QUESTIONS
from medvistagym_scoutvqa._scenes import (
    ANSWERS,
    QUESTIONS,
    TISSUE_CENTERS_HU,
    SceneGroundTruth,
    SliceVariety,
    render_scene,
)
from medvistagym_scoutvqa._script_runner import build_toolbox
from medvistagym_scoutvqa._tool_calls import tool_image, tool_text


@functools.cache
def all_items() -> list[PerceptionItem]:
    return [SCOUTVQA.look("train", index) for index in range(320)]


@functools.cache
def all_chain_items() -> list[PerceptionItem]:
    return [CHAIN.look("train", index) for index in range(200)]


def test_an_item_shows_what_a_call_shows() -> None:
    rng = np.random.default_rng(0)
    with LocalExecutor(build_toolbox()) as executor:
        for index in range(30):
            case = SCOUTVQA.case("test", index)
            for call in (informative_call(case.truth), plausible_call(case.truth, SCOUTVQA.tools, rng)):
                ((result,),) = executor.run([(ImageStore(case.images), [call])])
                if call.name == "measure":
                    assert tool_text(call, case.images[0]) == result.text
                else:
                    assert tool_image(call, case.images[0]).digest == result.images[0].digest


def test_a_measurement_is_asked_about_as_the_tool_words_it() -> None:
    case = SCOUTVQA.case("train", 2)
    text = tool_text(informative_call(case.truth), case.images[0])
    items = [item for item in all_items() if item.image is None]
    assert items
    for item in items:
        assert item.question.startswith(QUESTIONS["measure"] + " mean ")
        assert item.question.count(",") == text.count(",")


def test_every_kind_of_item_comes_up() -> None:
    questions = collections.Counter(item.question for item in all_items())
    assert {QUESTIONS["window"], QUESTIONS["zoom"], QUESTIONS["direct"]} < set(questions)
    assert set(PERCEPTION_QUESTIONS) - {"Which tissue is the plate?", "Window of the plate?"} < set(questions)
    for question in (QUESTIONS["window"], QUESTIONS["zoom"]):
        unclear = [item.answer == "unclear" for item in all_items() if item.question == question]
        assert 0 < np.mean(unclear) < 0.4


@pytest.mark.parametrize("task", [SCOUTVQA, CHAIN], ids=lambda task: task.name)
def test_regions_lie_in_the_picture_and_say_the_answer(task: ScoutVQA) -> None:
    for index in range(100):
        item = task.look("test", index)
        for box, word in item.regions:
            assert Box.from_list(list(box)) == box
            assert word in task.vocabulary()
            assert item.answer[0] in "[{" or word == item.answer
        if not item.question.startswith("Window of the"):  # asked of a picture under another window, too
            assert bool(item.regions) == (item.image is not None and item.answer != item.background)


def test_a_box_is_answered_as_a_call_writes_it() -> None:
    answers = [item.answer for item in all_items() if item.question.startswith("Box of")]
    assert answers
    for answer in answers:
        corners = json.loads(answer)
        assert answer == json.dumps(corners)
        assert all(corner % 125 == 0 for corner in corners)


def test_a_window_is_answered_as_a_call_writes_it() -> None:
    items = [item for item in all_items() if item.question == "Window of the nodules?"]
    assert any(item.regions for item in items)
    assert not all(item.regions for item in items)
    for item in items:
        arguments = json.loads(item.answer)
        assert item.answer == json.dumps(arguments)
        view = tool_image(ToolCall(name="window", arguments=arguments), item.image).view(64)
        if not item.regions:  # the picture stands under any window already
            assert item.image.window.width <= 40
            continue
        places = [((box.x0 + box.x1) * 64 // 2000, (box.y0 + box.y1) * 64 // 2000) for box, _ in item.regions]
        greys = sorted(float(np.median(view[y - 3 : y + 4, x - 3 : x + 4])) for x, y in places)
        assert greys[3] - greys[2] > 60
        assert greys[2] - greys[0] < 30
        assert {tissue for _, tissue in item.regions} < set(TISSUE_CENTERS_HU)


def test_the_bars_are_where_the_region_says() -> None:
    items = [
        item for item in all_items() if item.question == QUESTIONS["zoom"] and item.answer in ("horizontal", "vertical")
    ]
    assert items
    for item in items:
        ((box, word),) = item.regions
        view = item.image.view(64).astype(float)
        x0, y0, x1, y1 = (round(v * 64 / 1000) for v in box)
        bars = view[y0:y1, x0:x1]
        down, across = np.abs(np.diff(bars, axis=0)).mean(), np.abs(np.diff(bars, axis=1)).mean()
        assert (down > 4 * across) == (word == "horizontal")


def test_the_dense_nodule_is_where_the_region_says() -> None:
    items = [item for item in all_items() if item.question == QUESTIONS["window"] and item.regions]
    for item in items:
        ((box, word),) = item.regions
        x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
        assert word == f"{'upper' if y < 500 else 'lower'} {'left' if x < 500 else 'right'}"


@pytest.mark.parametrize("name", SCOUTVQA.tools)
def test_what_is_asked_for_a_tools_arguments_is_answered_by_arguments_that_it_takes(name: str) -> None:
    from medvistagym_core.environment import HasArgumentQuestions

    assert isinstance(SCOUTVQA, HasArgumentQuestions)
    answers = [json.loads(item.answer) for item in all_items() if item.question in SCOUTVQA.argument_questions(name)]
    assert len(answers) > 5
    tool = build_toolbox()[name]
    for answer in answers:
        tool.validate({"image": 0, **(answer if isinstance(answer, dict) else {"box": answer})})
    assert SCOUTVQA.argument_questions("another_tool") == ()


def test_on_the_way_of_a_chain_no_bars_are_read() -> None:
    """Of a plate that was zoomed in on or windowed alone the answer is unclear; with both steps it is mostly told."""
    read = [item for item in all_chain_items() if item.question == QUESTIONS["chain"]]
    assert {item.answer for item in read} == {*ANSWERS["chain"], "unclear"}
    assert 0.2 < np.mean([item.answer == "unclear" for item in read]) < 0.6
    windows = [item for item in all_chain_items() if item.question == "Window of the plate?"]
    assert {json.loads(item.answer)["center"] for item in windows} == set(TISSUE_CENTERS_HU.values())


def test_each_task_aims_at_what_it_shows() -> None:
    cases = (
        (SCOUTVQA, all_items(), ("nodules", "plate", "marker")),
        (CHAIN, all_chain_items(), ("plate", "plate", "plate")),
    )
    for task, items, aims in cases:
        questions = [task.argument_questions(tool) for tool in task.tools]
        assert [question.split()[-1].rstrip("?") for (question,) in questions] == list(aims)
        asked = {item.question for item in items}
        assert {question for each in questions for question in each} <= asked
    assert CHAIN.argument_questions("measure_distance") == ()


def test_a_faint_plate_is_where_its_box_says_on_the_scout_and_on_a_windowed_overview() -> None:
    greys: dict[bool, list[float]] = {True: [], False: []}
    for item in (item for item in all_chain_items() if item.question == "Box of the plate?"):
        x0, y0, x1, y1 = json.loads(item.answer)
        ((box, tissue),) = item.regions
        assert x0 <= (box.x0 + box.x1) / 2 <= x1
        assert y0 <= (box.y0 + box.y1) / 2 <= y1
        view = item.image.view(64).astype(float)
        middle = view[
            box.y0 * 64 // 1000 + 2 : box.y1 * 64 // 1000 - 1, box.x0 * 64 // 1000 + 2 : box.x1 * 64 // 1000 - 1
        ]
        windowed = item.image.window.width < 100
        greys[windowed].append(np.ptp(middle))
        if windowed:  # in the window of its tissue it is grey, neither black nor white
            assert 0 < np.median(middle) < 255
        assert tissue in TISSUE_CENTERS_HU
    assert min(len(each) for each in greys.values()) > 10
    assert max(greys[False]) <= 1


def test_faint_plates_of_items_lie_on_slices_that_differ_more_than_those_of_cases() -> None:
    """What is air in a case, black on the scout, may be nearly as bright as a faint plate of lung in an item."""

    def brightest_air(images: Iterable[Image]) -> float:
        dark = [np.percentile(image.pixels, 1) for image in images if image.modality in ("CT", "MR", "NM")]
        return float(np.percentile(dark, 95))

    shown = [item.image for item in all_chain_items() if item.image is not None and item.image.shape == (256, 256)]
    scouts = [image for image in shown if image.window.width > 1000]
    cases = [CHAIN.case("train", index).images[0] for index in range(100)]
    assert brightest_air(cases) < -840
    assert brightest_air(scouts) > -720


def test_a_shift_moves_the_slice_and_not_what_is_put_into_it() -> None:
    def draw(shift: float) -> tuple[np.ndarray, SceneGroundTruth]:
        variety = SliceVariety(48, (1, 1), (shift, shift))
        image, truth = render_scene("chain", "train", np.random.default_rng(5), variety=variety)
        return image.pixels.astype(int), truth

    (before, truth), (after, same) = draw(0), draw(60)
    assert truth == same
    (y0, x0, y1, x1) = (round(edge) for edge in truth.inserts[0])
    moved = after - before
    assert not moved[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].any()
    moved[y0 - 4 : y1 + 4, x0 - 4 : x1 + 4] = 60
    assert set(np.unique(moved)) <= {59, 60, 61}
