"""Another answer changes nothing that a policy sees before it makes the right call, and something after it."""

from __future__ import annotations

import itertools

import pytest

from medvistagym_core import Image, ImageStore, LocalExecutor, ToolCall, ToolResult
from medvistagym_scoutvqa import CHAIN, SCOUTVQA
from medvistagym_scoutvqa._demonstrations import informative_call
from medvistagym_scoutvqa._scenes import ANSWERS, TISSUE_CENTERS_HU, SceneGroundTruth
from medvistagym_scoutvqa._script_runner import build_toolbox

TASK_OF = {**dict.fromkeys(SCOUTVQA.families, SCOUTVQA), "chain": CHAIN}
HIDDEN = pytest.mark.parametrize("family", ["window", "zoom", "measure", "chain"])
SCENES = 25
EXECUTOR = LocalExecutor(build_toolbox(), cache_bytes=0)


def variants(family: str, index: int) -> list[tuple[Image, SceneGroundTruth]]:
    return [TASK_OF[family].scene("test", index, 0, family, answer) for answer in ANSWERS[family]]


def run_tool(call: ToolCall, image: Image) -> ToolResult:
    ((result,),) = EXECUTOR.run([(ImageStore([image]), [call])])
    assert result.ok
    return result


@HIDDEN
def test_another_answer_changes_no_byte_of_a_scout(family: str) -> None:
    for index in range(SCENES):
        images, truths = zip(*variants(family, index), strict=True)
        assert [truth.answer for truth in truths] == list(ANSWERS[family])
        assert len({image.view(64).tobytes() for image in images}) == 1
        assert len({(image.spacing, image.modality, image.window) for image in images}) == 1
        assert len({image.digest for image in images}) == len(images)


def test_where_the_marker_is_can_be_seen() -> None:
    for index in range(SCENES):
        assert len({image.view(64).tobytes() for image, _ in variants("direct", index)}) == 4


@pytest.mark.parametrize("family", ["window", "zoom"])
def test_the_right_call_shows_a_different_picture_for_each_answer(family: str) -> None:
    for index in range(SCENES):
        views = {
            run_tool(informative_call(truth), image).images[0].view(64).tobytes()
            for image, truth in variants(family, index)
        }
        assert len(views) == len(ANSWERS[family])


def test_the_right_measurement_tells_tissues_apart() -> None:
    for index in range(SCENES):
        means = [run_tool(informative_call(truth), image).data["mean"] for image, truth in variants("measure", index)]
        assert means == sorted(means)
        assert min(b - a for a, b in itertools.pairwise(means)) > 15


@pytest.mark.parametrize(
    ("family", "name"),
    [("zoom", "window"), ("measure", "window"), ("measure", "zoom"), ("chain", "window"), ("chain", "zoom")],
)
def test_the_other_tools_show_the_same_for_every_answer(family: str, name: str) -> None:
    for index in range(SCENES):
        views = set()
        for image, truth in variants(family, index):
            box = [int(v) for v in (100, 50, 420 + 20 * index, 900 - 20 * index)]
            given = {"image": 0, "center": truth.base, "width": 20} if name == "window" else {"image": 0, "box": box}
            views.add(run_tool(ToolCall(name=name, arguments=given), image).images[0].view(64).tobytes())
        assert len(views) == 1


@pytest.mark.parametrize("window_first", [False, True])
def test_the_chain_opens_with_both_steps_in_either_order(window_first: bool) -> None:
    for index in range(SCENES):
        views = set()
        for image, truth in variants("chain", index):
            zoom = informative_call(truth)
            window = ToolCall(
                name="window", arguments={"image": 0, "center": TISSUE_CENTERS_HU[truth.tissue], "width": 40}
            )
            first, second = (window, zoom) if window_first else (zoom, window)
            piece = run_tool(first, image).images[0]
            views.add(run_tool(second, piece).images[0].view(64).tobytes())
        assert len(views) == len(ANSWERS["chain"])
