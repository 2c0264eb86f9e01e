"""Looks show what the real tools show, and say what is true of it."""

import collections
import json

import numpy as np
import pytest

from medvistagym_core import Box, ImageStore, LocalExecutor, ToolCall
from medvistagym_scoutvqa import CHAIN, SCOUTVQA, viewer
from medvistagym_scoutvqa.demonstration import clumsy_call, right_call
from medvistagym_scoutvqa.look import AUXILIARY
from medvistagym_scoutvqa.play import toolbox
from medvistagym_scoutvqa.scene import BASES, QUESTIONS

LOOKS = [SCOUTVQA.look("train", index) for index in range(320)]


def test_a_look_shows_what_a_call_shows():
    rng = np.random.default_rng(0)
    with LocalExecutor(toolbox()) as executor:
        for index in range(30):
            case = SCOUTVQA.case("test", index)
            for call in (right_call(case.truth), clumsy_call(case.truth, SCOUTVQA.tools, rng)):
                ((result,),) = executor.run([(ImageStore(case.images), [call])])
                if call.name == "measure":
                    assert viewer.reading(call, case.images[0]) == result.text
                else:
                    assert viewer.picture(call, case.images[0]).digest == result.images[0].digest


def test_a_measurement_is_looked_at_as_the_tool_words_it():
    case = SCOUTVQA.case("train", 2)
    text = viewer.reading(right_call(case.truth), case.images[0])
    looks = [look for look in LOOKS if look.image is None]
    assert looks
    for look in looks:
        assert look.question.startswith(QUESTIONS["measure"] + " mean ")
        assert look.question.count(",") == text.count(",")


def test_every_kind_of_look_comes_up():
    questions = collections.Counter(look.question for look in LOOKS)
    assert {QUESTIONS["window"], QUESTIONS["zoom"], QUESTIONS["direct"]} < set(questions)
    assert set(AUXILIARY) - {"Which tissue is the plate?"} < set(questions)
    for question in (QUESTIONS["window"], QUESTIONS["zoom"]):
        unclear = [look.answer == "unclear" for look in LOOKS if look.question == question]
        assert 0 < np.mean(unclear) < 0.4


@pytest.mark.parametrize("task", [SCOUTVQA, CHAIN], ids=lambda task: task.name)
def test_regions_lie_in_the_picture_and_say_the_answer(task):
    for index in range(100):
        look = task.look("test", index)
        for box, word in look.regions:
            assert Box.from_list(list(box)) == box
            assert word in task.vocabulary()
            assert look.answer[0] in "[{" or word == look.answer
        assert bool(look.regions) == (look.image is not None and look.answer != look.background)


def test_a_box_is_answered_as_a_call_writes_it():
    answers = [look.answer for look in LOOKS if look.question.startswith("Box of")]
    assert answers
    for answer in answers:
        corners = json.loads(answer)
        assert answer == json.dumps(corners)
        assert all(corner % 125 == 0 for corner in corners)


def test_a_window_is_answered_as_a_call_writes_it():
    looks = [look for look in LOOKS if look.question == "Window of the nodules?"]
    assert looks
    for look in looks:
        given = json.loads(look.answer)
        assert look.answer == json.dumps(given)
        view = viewer.picture(ToolCall(name="window", arguments=given), look.image).view(64)
        places = [((box.x0 + box.x1) * 64 // 2000, (box.y0 + box.y1) * 64 // 2000) for box, _ in look.regions]
        greys = sorted(float(np.median(view[y - 3 : y + 4, x - 3 : x + 4])) for x, y in places)
        assert greys[3] - greys[2] > 100
        assert greys[2] - greys[0] < 30
        assert {tissue for _, tissue in look.regions} < set(BASES)


def test_the_bars_are_where_the_region_says():
    looks = [look for look in LOOKS if look.question == QUESTIONS["zoom"] and look.answer in ("horizontal", "vertical")]
    assert looks
    for look in looks:
        ((box, word),) = look.regions
        view = look.image.view(64).astype(float)
        x0, y0, x1, y1 = (round(v * 64 / 1000) for v in box)
        part = view[y0:y1, x0:x1]
        down, across = np.abs(np.diff(part, axis=0)).mean(), np.abs(np.diff(part, axis=1)).mean()
        assert (down > 4 * across) == (word == "horizontal")


def test_the_dense_nodule_is_where_the_region_says():
    looks = [look for look in LOOKS if look.question == QUESTIONS["window"] and look.regions]
    for look in looks:
        ((box, word),) = look.regions
        x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
        assert word == f"{'upper' if y < 500 else 'lower'} {'left' if x < 500 else 'right'}"
