"""What a notebook does: open a file, call tools as functions, and look at what came of it."""

from __future__ import annotations

import base64
import inspect
import io
import re
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

import medvistagym_core as mv
from medvistagym_core.environment import EpisodeConfig
from medvistagym_core.imaging import Box, Image
from medvistagym_core.plugins import LoadedPlugin, PluginReport, Registry
from medvistagym_core.rollouts import ExpertPolicy, RandomPolicy, rollout
from medvistagym_core.tools import Toolbox, ToolCall, tool
from medvistagym_core.trajectories import TrajectoryReader, TrajectoryWriter


@tool
def add(images: list[Image], gain: float = 1.0) -> tuple[Image, str]:
    """Add images up. They have one size.

    Args:
        images: The images.
        gain: Factor of the sum.
    """
    return images[0].with_pixels(sum(image.pixels for image in images) * gain), "<sum>"


@tool
def get(image: Image) -> str:
    """Have the name of a method of a mapping.

    Args:
        image: The image.
    """
    return f"{image.pixels.mean():g}"


@pytest.fixture
def registry(toolbox):
    report = PluginReport(name="toy", distribution="toy", version="0", state="loaded")
    tools = [one.with_metadata(plugin="toy") for one in (*toolbox.values(), add, get)]
    return Registry([LoadedPlugin(report, {"tools": tools})])


@pytest.fixture
def tools(registry):
    return mv.tools(registry=registry)


@pytest.fixture
def image():
    values = np.arange(1600, dtype=np.float32).reshape(40, 40)
    return Image(pixels=values, unit="HU", modality="CT", spacing=(0.5, 0.5), window=mv.Window(40, 400))


def test_a_tool_is_called_with_plain_values(tools, image):
    part = tools.crop(image, box=[0, 0, 500, 500]).image
    assert part.pixels.shape == (20, 20)
    for box in ((0, 0, 500, 500), np.array([0, 0, 500, 500]), Box(0, 0, 500, 500)):
        assert np.array_equal(tools.crop(image, box).image.pixels, part.pixels)
    assert tools.window(image, 40, width=np.float32(80)).image.window == mv.Window(40, 80)


def test_results_go_into_the_next_call(tools, image):
    narrow = tools.window(image, center=100, width=50)
    assert tools.crop(narrow, box=[0, 0, 500, 1000]).image.window == mv.Window(100, 50)
    assert tools.add([image, narrow]).image.pixels.max() == 3198


def test_faults_are_the_sentences_that_a_policy_reads(tools, toolbox, executor, image):
    from medvistagym_core.execution import ImageStore

    for arguments in ({"box": [0, 0, 500]}, {"box": "left"}, {}, {"box": [0, 0, 1, 1], "zoom": 2}):
        call = ToolCall(name="crop", arguments={"image": 0, **arguments})
        ((result,),) = executor.run([(ImageStore([image]), [call])])
        with pytest.raises(mv.ToolError) as caught:
            tools.crop(image, **arguments)
        assert str(caught.value) == str(result.error)
    with pytest.raises(mv.ToolError, match="bad_value: broken: this image has no scale"):
        tools.broken(image, how="value")


def test_what_is_no_call_is_said(tools, image):
    with pytest.raises(mv.ToolError, match="image is an Image, such as"):
        tools.crop("scan.dcm", box=[0, 0, 1, 1])
    with pytest.raises(TypeError, match="crop takes image, box; 3 values"):
        tools.crop(image, [0, 0, 1, 1], 7)
    with pytest.raises(TypeError, match="given image twice"):
        tools.crop(image, image=image)
    with pytest.raises(TypeError, match="crop: box: a value is object, which no call can hold"):
        tools.crop(image, box=object())
    with pytest.raises(AttributeError, match="no tool 'windw'; did you mean window"):
        _ = tools.windw
    with pytest.raises(ValueError, match="0 images, not one"):
        _ = tools["get"](image).image


def test_tools_are_found_and_described(tools, image):
    assert {"window", "crop", "add"} <= set(dir(tools))
    assert list(tools) == ["add", "broken", "crop", "get", "window"]
    assert list(inspect.signature(tools.window).parameters) == ["image", "center", "width"]
    assert "width: Range of values shown." in tools.window.__doc__
    assert tools["get"](image).text == "799.5"


def test_a_selection_and_the_room_of_the_same_name(registry):
    assert list(mv.tools("crop", registry=registry)) == ["crop"]
    assert mv.tools.Toolbox is Toolbox
    assert list(mv.toolbox("seen=toy:crop", registry=registry)) == ["seen"]


def test_open(tmp_path, registry):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    PIL.Image.fromarray(grey).save(tmp_path / "one.png")
    assert mv.open(tmp_path / "one.png", registry=registry).pixels.shape == (3, 4)
    assert mv.open(str(tmp_path / "one.png"), region=(1, 0, 3, 2), registry=registry).pixels.tolist() == [
        [1, 2],
        [5, 6],
    ]
    pages = [PIL.Image.fromarray(grey), PIL.Image.fromarray(grey.T)]
    pages[0].save(tmp_path / "two.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(
        ValueError, match=r"holds 2 images; choose one with index=0, 1, ...\n  0  4 × 3 · .*\n  1  3 × 4"
    ):
        mv.open(tmp_path / "two.tif", registry=registry)
    assert mv.open(tmp_path / "two.tif", index=1, registry=registry).shape == (4, 3)
    with pytest.raises(IndexError, match="no image 2"):
        mv.open(tmp_path / "two.tif", index=2, registry=registry)
    with pytest.raises(ValueError, match="no such file"):
        mv.open(tmp_path / "none.png", registry=registry)
    (tmp_path / "x.nii").write_bytes(b"0")
    with pytest.raises(
        ValueError, match=r"NIfTI is read by a plugin, and none that does is loaded: .*medvistagym-files"
    ):
        mv.open(tmp_path / "x.nii", registry=registry)


def pictures(html):
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [PIL.Image.open(io.BytesIO(base64.b64decode(one))) for one in found]


def test_how_a_notebook_shows_images_results_and_tools(tools, image):
    assert PIL.Image.open(io.BytesIO(image._repr_png_())).size == (40, 40)
    assert "CT · 40 × 40 · HU · 0.5 × 0.5 mm · window 40 / 400" in image._repr_html_()
    large = Image(pixels=np.zeros((3, 2000, 1000), np.uint8), frame=2)
    assert PIL.Image.open(io.BytesIO(large._repr_png_())).size == (512, 1024)
    (shown,) = pictures(large._repr_html_())
    assert shown.size == (192, 384)
    assert "slice 2 of 0 to 2" in large._repr_html_()
    shown = tools.add([image, image])._repr_html_()
    assert "&lt;sum&gt;" in shown
    assert len(pictures(shown)) == 1
    result = mv.ToolResult(error=mv.ToolError("bad_value", "a < b"))
    assert "<code>bad_value</code> a &lt; b" in result._repr_html_()
    assert "<td style" in tools._repr_html_()
    assert "images, [gain]" in tools._repr_html_()


def test_how_a_notebook_shows_an_episode(tmp_path, task, toolbox):
    with TrajectoryWriter(tmp_path / "t.jsonl", toolbox) as writer:
        for policy in (ExpertPolicy(task, EpisodeConfig().protocol), RandomPolicy(toolbox, ("unclear",), seed=3)):
            list(rollout(policy, task, toolbox, "test", range(2), writer=writer, seed=len(policy.name)))
    reader = TrajectoryReader(tmp_path / "t.jsonl")
    first, *others = sorted(reader, key=lambda one: -len(one.turns[0].calls))
    alone, shown = first._repr_html_(), reader.show(first)._repr_html_()
    assert "Which quadrant is bright?" in alone
    assert "window(image=0, center=1, width=10)" in alone
    assert "window 1 / 10" in alone
    assert "expected" in alone
    assert not pictures(alone)
    assert len(pictures(shown)) == len(first.images)
    assert any("<code>bad" in one._repr_html_() or one.outcome.answer for one in others)


def test_star_import_leaves_open_alone_and_a_first_import_stays_light():
    code = """
import sys
import medvistagym_core as mv
assert callable(mv.tools)
print(sorted({"numpy", "pydantic", "torch", "SimpleITK", "PIL", "gymnasium"} & {*sys.modules}))
from medvistagym_core import *
import builtins
print(open is builtins.open, mv.open.__module__)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["[]", "True medvistagym_core.interactive._open"]
