"""The tools: what they keep, where they look, what they say, and how they refuse."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvistagym_core.imaging import Box, Image, Window
from medvistagym_core.plugins import Registry
from medvistagym_core.tools import ToolError, ToolResult
from medvistagym_dicom import PRESETS, measure, medvistagym_tools, window, zoom

Named = Callable[[str], Image]
WHOLE = Box(0, 0, 1000, 1000)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x0, y0 = draw(st.integers(0, 999)), draw(st.integers(0, 999))
    return Box(x0, y0, draw(st.integers(x0 + 1, 1000)), draw(st.integers(y0 + 1, 1000)))


def scan(height: int = 200, width: int = 300, **changes: Any) -> Image:
    """A noisy slice in HU."""
    pixels = np.random.default_rng(0).normal(40, 200, (height, width)).astype(np.int16)
    changes = {"unit": "HU", "modality": "CT", "spacing": (0.5, 0.25), "window": Window(40, 400), **changes}
    return Image(pixels=pixels, **changes)


def where(image: Image) -> tuple[float, ...]:
    """The rectangle of source pixels that an image shows."""
    return image.box_to_source(WHOLE)


# -- as tools


def test_the_plugin_offers_its_tools() -> None:
    registry = Registry.discover("dicom")
    toolbox = registry.toolbox("window,zoom,measure")
    assert [tool.id for tool in toolbox.values()] == ["dicom:measure", "dicom:window", "dicom:zoom"]


def test_arguments_are_described_and_no_others_are_taken() -> None:
    wanted = {
        "window": ["image", "preset", "center", "width", "function"],
        "auto_window": ["image", "low", "high", "box"],
        "zoom": ["image", "box"],
        "measure": ["image", "box"],
        "distance": ["image", "from_point", "to_point"],
        "area": ["image", "points", "ellipse"],
        "reformat": ["image", "plane", "index", "position_mm"],
        "project": ["image", "method", "plane", "from_mm", "to_mm"],
        "acquisition": ["image"],
    }
    offered = {tool.name: tool for tool in medvistagym_tools()}
    assert list(offered) == [
        "window", "auto_window", "zoom", "measure", "distance", "area", "reformat", "project", "acquisition",
    ]  # fmt: skip
    for name, tool in offered.items():
        properties = tool.spec.parameters["properties"]
        assert list(properties) == wanted[name]
        assert all(p["description"] for p in properties.values())
        assert tool.spec.deterministic
    assert window.spec.parameters["properties"]["preset"]["enum"] == sorted(PRESETS)


def test_importing_the_plugin_imports_no_heavy_library() -> None:
    code = "import sys, medvistagym_dicom; print([m for m in ('numpy', 'SimpleITK', 'PIL', 'pydicom') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# -- window


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_preset_changes_only_how_values_are_shown(preset: Any) -> None:
    image = scan()
    shown = window(image, preset=preset)
    center, width = PRESETS[preset]
    assert shown.window == Window(center, width, name=preset)
    assert shown.pixels is not None
    assert np.shares_memory(shown.pixels, image.pixels)
    assert (shown.unit, shown.spacing, shown.to_source) == (image.unit, image.spacing, image.to_source)
    assert np.array_equal(shown.view(), window(image, center=center, width=width).view())


def test_windowing_follows_dicom() -> None:
    image = Image(pixels=np.array([[-160, -159, 39, 40, 239, 240]], np.int16), unit="HU")
    # PS3.3 C.11.2.1.2: black up to 39.5 - 199.5, white above 39.5 + 199.5
    assert window(image, center=40, width=400).view().tolist() == [[0, 1, 127, 128, 255, 255]]


def test_a_zoomed_image_and_its_detail_are_windowed_together() -> None:
    part = window(zoom(scan(), Box(100, 100, 300, 300)), preset="bone")
    assert zoom(part, Box(0, 0, 500, 500)).window == part.window


def test_a_window_narrower_than_one_serves_fractional_values() -> None:
    image = Image(pixels=np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16), unit="raw")
    assert window(image, center=0.5, width=0.5).view().max() == 255


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "window: give a center and a width, or a preset: abdomen, bone, "),
        ({"center": 40.0}, "window: give a center and a width, or a preset: "),
        ({"width": 40.0}, "window: give a center and a width, or a preset: "),
        ({"preset": "lung", "center": 40.0}, "window: give a preset, or a center and a width, not both."),
    ],
)
def test_incomplete_windows_are_refused(arguments: dict[str, Any], message: str) -> None:
    error = window.run({"image": scan(), **arguments}).error
    assert error is not None
    assert error.code == "bad_value"
    assert error.message.startswith(message)


def test_presets_are_for_hounsfield_units(image: Named) -> None:
    error = window.run({"image": image("MR_small.dcm"), "preset": "brain"}).error
    assert error is not None
    assert error.message == (
        "window: presets are for CT in HU, this image has raw counts without a physical unit; give a center and a width."
    )


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ({"preset": "bones"}, "did you mean bone?"),
        ({"center": 40, "width": 0}, "width"),
        ({"center": 40, "width": -5}, "width"),
        ({"center": "40", "width": 400}, "center"),
        ({"center": float("nan"), "width": 400}, "center"),
        ({"level": 40, "width": 400}, "no argument level"),
    ],
)
def test_wrong_arguments_name_themselves(arguments: dict[str, Any], fragment: str) -> None:
    with pytest.raises(ToolError) as caught:
        window.validate({"image": 0, **arguments})
    assert caught.value.code == "bad_arguments"
    assert fragment in caught.value.message


# -- zoom


@settings(max_examples=60, deadline=None)
@given(boxes())
def test_zoom_shows_the_pixels_that_the_box_covers_and_knows_where(box: Box) -> None:
    image = scan()
    part = zoom(image, box)
    x0, y0, x1, y1 = image.box_to_pixels(box)
    assert where(part) == pytest.approx((x0, y0, x1, y1))
    wanted = image.box_to_source(box)
    assert x0 <= wanted[0] + 1e-9 < x0 + 1
    assert x1 - 1 <= wanted[2] - 1e-9 < x1
    assert max(part.shape) == 300
    assert part.source_shape == (200, 300)
    assert part.spacing is not None
    height, width = part.shape
    assert (part.spacing[0] * height, part.spacing[1] * width) == pytest.approx(((y1 - y0) * 0.5, (x1 - x0) * 0.25))
    finest = part.detail or part
    assert np.array_equal(finest.pixels, image.pixels[y0:y1, x0:x1])
    assert (finest.unit, finest.window, finest.modality) == ("HU", Window(40, 400), "CT")


@settings(max_examples=60, deadline=None)
@given(boxes(), boxes())
def test_zooming_twice_still_knows_where(first: Box, second: Box) -> None:
    image = scan()
    part = zoom(image, first)
    finer = zoom(part, second)
    outer, inner = where(part), where(finer)
    assert outer[0] - 1e-6 <= inner[0] < inner[2] <= outer[2] + 1e-6
    assert outer[1] - 1e-6 <= inner[1] < inner[3] <= outer[3] + 1e-6
    x0, y0, x1, y1 = (round(v) for v in inner)
    finest = finer.detail or finer
    assert np.array_equal(finest.pixels, image.pixels[y0:y1, x0:x1])


def test_enlarged_values_lie_where_they_lay() -> None:
    x = np.arange(256, dtype=np.float32)[None] + 0.5  # each pixel holds the x of its centre
    image = Image(pixels=np.broadcast_to(x, (256, 256)).copy(), unit="HU")
    part = zoom(image, Box(250, 250, 500, 500))
    a, _, c, *_ = part.to_source
    centres = a * (np.arange(part.shape[1]) + 0.5) + c
    inside = slice(4, -4)
    assert np.allclose(part.pixels[100][inside], centres[inside], atol=1e-3)


def test_zoom_brings_back_detail_that_the_small_view_lost() -> None:
    checkers = (np.indices((64, 64)).sum(0) % 2 * 100).astype(np.int16)
    source = Image(pixels=checkers, unit="HU", window=Window(50, 100))
    overview = source.resized(16, 16)
    assert np.ptp(overview.pixels) == 0
    part = zoom(overview, Box(0, 0, 250, 250))
    assert np.ptp(part.pixels) == 100
    assert where(part) == (0, 0, 16, 16)


def test_zoom_after_windowing_keeps_the_window_and_the_values() -> None:
    overview = window(scan(256, 256).resized(64, 64), preset="lung")
    part = zoom(overview, Box(0, 0, 250, 250))
    assert part.window == overview.window
    assert (part.detail or part).pixels.min() < -300  # far outside 8 bits


def test_zoom_crops_the_overlay() -> None:
    overlay = np.zeros((200, 300), bool)
    overlay[50:60, 90:100] = True
    part = zoom(scan(overlay=overlay), Box(300, 250, 400, 350))
    assert part.overlay is not None
    assert part.overlay.any()
    assert zoom(scan(overlay=overlay), Box(0, 500, 500, 1000)).overlay.any() == np.False_


def test_zoom_of_a_large_film_has_a_limit(image: Named) -> None:
    part = zoom(image("RG1_UNCR.dcm"), Box(100, 100, 900, 900))
    assert max(part.shape) == 1024
    assert (part.detail or part).shape == (1565, 1473)


def test_zoom_of_a_stack_looks_at_the_frame_shown(image: Named) -> None:
    clip = image("examples_ybr_color.dcm")
    part = zoom(clip.replace(frame=3), Box(0, 0, 500, 500))
    assert np.array_equal((part.detail or part).pixels, clip.pixels[3, :120, :160])
    assert part.attributes["frame"] == "3"
    volume = image("rtdose.dcm")
    assert zoom(volume, WHOLE).spacing == (10.0, 10.0)


def test_zoom_into_one_pixel() -> None:
    image = scan()
    part = zoom(image, Box(500, 500, 501, 501))
    assert np.ptp(part.pixels) == 0
    assert part.pixels[0, 0] == image.pixels[100, 150]


@pytest.mark.parametrize(
    "box", [[0, 0, 1001, 5], [-1, 0, 5, 5], [5, 5, 5, 9], [9, 0, 5, 5], [0, 0, 5], [0.5, 0, 5, 5], "all"]
)
def test_impossible_boxes_are_refused(box: Any) -> None:
    for tool in (zoom, measure):
        with pytest.raises(ToolError) as caught:
            tool.validate({"image": 0, "box": box})
        assert caught.value.code == "bad_arguments"
        assert "box" in caught.value.message


# -- measure


def measured(image: Image, box: Box = WHOLE) -> ToolResult:
    result = measure.run({"image": image, "box": box})
    assert result.error is None
    return result


@settings(max_examples=60, deadline=None)
@given(boxes())
def test_measure_equals_numpy(box: Box) -> None:
    image = scan()
    x0, y0, x1, y1 = image.box_to_pixels(box)
    region = image.pixels[y0:y1, x0:x1].astype(float)
    data = measured(image, box).data
    assert data is not None
    assert data["mean"] == pytest.approx(region.mean(), abs=1e-9)
    assert data["sd"] == pytest.approx(region.std(), abs=1e-9)
    assert (data["min"], data["max"]) == (region.min(), region.max())
    assert (data["width_mm"], data["height_mm"]) == (0.25 * (x1 - x0), 0.5 * (y1 - y0))


def test_measure_says_it_in_a_line() -> None:
    image = Image(pixels=np.array([[-60, -50], [-70, -40]], np.int16), unit="HU", spacing=(1.5, 2.0))
    assert measured(image).text == "mean -55 HU, SD 11, min -70, max -40, 4.0 x 3.0 mm"


def test_measure_reads_the_source_not_the_view() -> None:
    image = scan(256, 256)
    overview = window(image.resized(64, 64), preset="lung")
    assert measured(overview, Box(0, 0, 250, 250)).data == measured(image, Box(0, 0, 250, 250)).data
    part = zoom(overview, Box(250, 250, 500, 500))
    assert measured(part).data == measured(image, Box(250, 250, 500, 500)).data


def test_measure_says_when_there_is_no_unit_and_no_size(image: Named) -> None:
    text = measured(image("emri_small.dcm")).text
    assert text.endswith("64 x 64 pixels (no size in mm known); the values are raw counts without a physical unit")
    result = measured(image("US1_UNCR.dcm"))
    assert "grey levels without a physical unit" in result.text
    assert result.data is not None
    assert result.data["unit"] is None


def test_measure_says_when_a_size_is_that_of_the_detector() -> None:
    image = scan(attributes={"spacing_at": "detector"})
    assert measured(image).text.endswith("75.0 x 100.0 mm at the detector")


def test_small_values_keep_their_digits() -> None:
    image = Image(pixels=np.full((2, 2), 0.012345, np.float32), unit="Gy")
    assert measured(image).text.startswith("mean 0.01235 Gy, SD ")


def test_pixels_without_a_value_are_left_out_and_counted() -> None:
    pixels = np.array([[1, np.nan], [np.inf, 3]], np.float32)
    result = measured(Image(pixels=pixels, unit="HU"))
    assert result.text.endswith("; 2 pixels without a value left out")
    assert result.data is not None
    assert (result.data["mean"], result.data["ignored"]) == (2.0, 2)
    error = measure.run({"image": Image(pixels=np.full((2, 2), np.nan), unit="HU"), "box": WHOLE}).error
    assert error is not None
    assert error.message == "measure: all 4 pixels of the box are without a value (NaN or infinite)."


def test_nan_does_not_stop_window_or_zoom() -> None:
    pixels = np.full((8, 8), np.nan, np.float32)
    pixels[:4] = 40
    image = Image(pixels=pixels, unit="HU")
    assert window(image, center=40, width=10).view()[7, 7] == 0
    assert zoom(image, Box(0, 0, 500, 500)).view().shape == (8, 8)


@pytest.mark.parametrize(
    "kind", [np.bool_, np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.int64, np.float16, np.float64]
)
def test_any_kind_of_number_is_measured_and_enlarged(kind: type) -> None:
    pixels: np.ndarray = np.array([[0, 1], [1, 0]]).astype(kind)
    image = Image(pixels=pixels, unit="raw")
    data = measured(image).data
    assert data is not None
    assert (data["mean"], data["sd"], data["max"]) == (0.5, 0.5, 1.0)
    assert zoom(image, Box(0, 0, 500, 500)).pixels.max() == 0
