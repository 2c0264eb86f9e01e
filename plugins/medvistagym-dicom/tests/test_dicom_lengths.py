"""Distances, outlines, windows by percentile, and what is told of an acquisition."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvistagym_core.imaging import Box, Image, Window
from medvistagym_core.tools import ToolError, ToolResult
from medvistagym_dicom import acquisition, area, auto_window, distance, measure, read_one, zoom

Named = Callable[[str], Image]
Write = Callable[..., Path]
WHOLE = Box(0, 0, 1000, 1000)
points = st.tuples(st.integers(0, 1000), st.integers(0, 1000)).map(list)


def scan(**changes: Any) -> Image:
    pixels = np.random.default_rng(0).normal(40, 200, (200, 300)).astype(np.int16)
    return Image(pixels=pixels, **{"unit": "HU", "modality": "CT", "spacing": (0.5, 0.25), **changes})


def done(tool: Any, **arguments: Any) -> tuple[str, dict[str, Any]]:
    result: ToolResult = tool.run(arguments)
    assert result.error is None, result.error
    assert result.data is not None
    json.dumps(result.data, allow_nan=False)
    return result.text, result.data


def refusal(tool: Any, **arguments: Any) -> str:
    error = tool.run(arguments).error
    assert error is not None
    assert error.code == "bad_value"
    return str(error.message)


# -- distance


@settings(max_examples=50, deadline=None)
@given(points, points)
def test_a_distance_is_that_of_pythagoras_in_millimetres(start: list[int], end: list[int]) -> None:
    image = scan()
    if start == end:
        assert "give two different points" in refusal(distance, image=image, from_point=start, to_point=end)
        return
    _, data = done(distance, image=image, from_point=start, to_point=end)
    across, down = (end[0] - start[0]) / 1000 * 300 * 0.25, (end[1] - start[1]) / 1000 * 200 * 0.5
    assert data["distance_mm"] == pytest.approx(math.hypot(across, down))
    assert data["distance_px"] == pytest.approx(math.hypot(across / 0.25, down / 0.5))
    assert 0 <= data["angle_deg"] < 180
    assert math.tan(math.radians(data["angle_deg"])) * across == pytest.approx(-down, abs=1e-6) or abs(across) < 1e-9
    back = done(distance, image=image, from_point=end, to_point=start)[1]
    assert back["distance_mm"] == data["distance_mm"]


def test_a_distance_means_the_same_in_a_zoomed_or_small_view() -> None:
    image = scan()
    part = zoom(image, Box(200, 200, 600, 600))
    whole = done(distance, image=image, from_point=[300, 300], to_point=[500, 400])[1]
    seen = done(distance, image=part, from_point=[250, 250], to_point=[750, 500])[1]
    assert seen["distance_mm"] == pytest.approx(whole["distance_mm"], rel=0.01)
    small = done(distance, image=image.resized(20, 30), from_point=[300, 300], to_point=[500, 400])[1]
    assert small["distance_mm"] == pytest.approx(whole["distance_mm"])


def test_a_distance_says_what_it_knows() -> None:
    line = {"from_point": [0, 500], "to_point": [400, 500]}
    assert done(distance, image=scan(), **line)[0] == "30.0 mm, 0 degrees to the rows; a pixel is 0.5 mm"
    text, data = done(distance, image=scan(spacing=None), **line)
    assert text == "120.0 pixels (no size in mm known), 0 degrees to the rows"
    assert data["distance_mm"] is None
    text, _ = done(distance, image=scan(attributes={"spacing_at": "detector"}), **line)
    assert text.startswith("30.0 mm at the detector, ")
    up = done(distance, image=scan(), from_point=[0, 1000], to_point=[1000, 250])[1]
    assert up["angle_deg"] == pytest.approx(45)  # to the upper right


def test_a_real_detector_is_named(write: Write) -> None:
    film = read_one(write(np.zeros((40, 40), np.uint16), Modality="DX", ImagerPixelSpacing=[0.2, 0.2]))
    assert "4.0 mm at the detector" in done(distance, image=film, from_point=[0, 0], to_point=[500, 0])[0]
    assert "mm2 at the detector" in done(area, image=film, ellipse=WHOLE)[0]


# -- area


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 900), st.integers(0, 900), st.integers(20, 100), st.integers(20, 100))
def test_a_rectangle_drawn_as_a_polygon_is_the_box_that_measure_takes(x: int, y: int, w: int, h: int) -> None:
    x, y, w, h = (v // 10 * 10 for v in (x, y, w, h))  # on the edges of pixels of 300 x 200
    image = scan()
    corners = [[x, y], [x + w, y], [x + w, y + h], [x, y + h]]
    _, data = done(area, image=image, points=corners)
    _, boxed = done(measure, image=image, box=Box(x, y, x + w, y + h))
    assert data["area_mm2"] == pytest.approx(boxed["width_mm"] * boxed["height_mm"])
    assert data["perimeter_mm"] == pytest.approx(2 * (boxed["width_mm"] + boxed["height_mm"]))
    assert data["pixels"] == boxed["width_px"] * boxed["height_px"]
    for key in ("mean", "sd", "min", "max"):
        assert data[key] == pytest.approx(boxed[key])
    turned = done(area, image=image, points=corners[::-1])[1]
    assert turned == pytest.approx(data)


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 20), st.integers(0, 2**31))
def test_pixels_of_a_polygon_are_those_whose_centre_lies_inside(corners: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radii = rng.uniform(100, 480, corners)
    star = np.stack([500 + radii * np.cos(angles), 500 + radii * np.sin(angles)], -1).round().astype(int)
    y, x = np.indices((199, 307)) + 0.5  # sizes that keep centres off the edges
    inside = np.zeros((199, 307), bool)
    places = star * (307 / 1000, 199 / 1000)
    for (ax, ay), (bx, by) in zip(places, np.roll(places, -1, 0), strict=True):  # even-odd rule, edge by edge
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    result = area.run(
        {"image": Image(pixels=inside.astype(np.float32), unit="raw", spacing=(1, 1)), "points": star.tolist()}
    )
    if result.error is not None:  # corners that fall together
        assert "crosses itself" in result.error.message or "no area" in result.error.message
        return
    assert result.data is not None
    assert result.data["pixels"] == inside.sum()
    if inside.any():
        assert result.data["mean"] == pytest.approx(1.0)
    assert result.data["area_px"] == pytest.approx(inside.sum(), abs=2 * corners * 12)


def test_an_ellipse_has_the_area_and_perimeter_of_one() -> None:
    image = scan(spacing=(1.0, 1.0))
    _, data = done(area, image=image, ellipse=Box(100, 200, 500, 800))
    assert data["area_mm2"] == pytest.approx(math.pi * 60 * 60)
    assert data["perimeter_mm"] == pytest.approx(2 * math.pi * 60)
    picture = PIL.Image.new("1", (300, 200))
    PIL.ImageDraw.Draw(picture).ellipse((30, 40, 149, 159), fill=1)
    assert data["pixels"] == pytest.approx(int(np.asarray(picture).sum()), rel=0.02)
    flat = done(area, image=image, ellipse=Box(0, 450, 1000, 550))[1]
    assert flat["perimeter_mm"] == pytest.approx(4 * 150.0, rel=0.06)
    # of a circle as a polygon of 64 corners
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    circle = np.stack([300 + 200 * np.cos(angles), 500 + 300 * np.sin(angles)], -1).round().astype(int).tolist()
    drawn = done(area, image=image, points=circle)[1]
    assert drawn["area_mm2"] == pytest.approx(data["area_mm2"], rel=0.005)
    assert drawn["mean"] == pytest.approx(data["mean"], abs=3)


def test_an_area_says_what_it_knows() -> None:
    triangle = [[0, 0], [1000, 0], [0, 1000]]
    text, data = done(
        area, image=Image(pixels=np.full((10, 10), 7, np.int16), unit="HU", spacing=(2.0, 1.0)), points=triangle
    )
    assert text == "area 100.0 mm2, perimeter 52.4 mm; mean 7 HU, SD 0, min 7, max 7"
    text, _ = done(area, image=Image(pixels=np.full((10, 10), 7, np.int16), unit="raw"), points=triangle)
    assert text.startswith("area 50.0 pixels (no size in mm known); mean 7")
    assert text.endswith("; the values are raw counts without a physical unit")
    text, data = done(area, image=scan(), points=[[500, 500], [501, 500], [500, 501]])
    assert text.endswith("no pixel has its centre inside, so no values")
    assert data["pixels"] == 0
    values = np.full((10, 10), np.nan, np.float32)
    values[0, 0] = 3
    text, _ = done(area, image=Image(pixels=values, unit="HU"), points=[[0, 0], [960, 0], [0, 960]])
    assert text.endswith("; 44 pixels without a value left out")


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ({}, "give the points of a polygon, or the box around an ellipse"),
        ({"points": [[0, 0], [9, 9], [9, 0]], "ellipse": WHOLE}, "not both"),
        ({"points": [[0, 0], [900, 900], [900, 0], [0, 900]]}, "the polygon crosses itself"),
        ({"points": [[0, 0], [900, 0], [0, 0], [0, 900]]}, "touches a corner twice"),
        ({"points": [[0, 0], [300, 300], [600, 600]]}, "all its corners lie on a line"),
    ],
)
def test_outlines_that_are_none_are_refused(arguments: dict[str, Any], fragment: str) -> None:
    assert fragment in refusal(area, image=scan(), **arguments)


@pytest.mark.parametrize(
    "outline", [[[0, 0], [1, 1]], [[0, 0], [1, 1], [2, 2, 2]], [[0, 0], [1, 1], [0, 1001]], [0, 0, 1, 1]]
)
def test_points_outside_the_grid_or_too_few_are_refused(outline: Any) -> None:
    with pytest.raises(ToolError) as caught:
        area.validate({"image": 0, "points": outline})
    assert caught.value.code == "bad_arguments"
    assert "points" in caught.value.message


def test_colour_is_measured_as_brightness() -> None:
    picture = Image(pixels=np.full((8, 8, 3), (255, 0, 0), np.uint8), photometric="RGB")
    assert done(area, image=picture, ellipse=WHOLE)[1]["mean"] == pytest.approx(0.299 * 255)


# -- auto_window


@pytest.mark.parametrize("kind", ["int16", "uint16", "float32", "uint8"])
def test_the_window_spans_the_percentiles(kind: str) -> None:
    values = np.random.default_rng(2).gamma(3, 20, (100, 120)).astype(kind)
    image = Image(pixels=values, unit="raw")
    text, data = done(auto_window, image=image, low=5.0, high=90.0)
    (shown,) = auto_window.run({"image": image, "low": 5.0, "high": 90.0}).images
    low, high = np.percentile(values, (5, 90))
    assert (data["low"], data["high"]) == pytest.approx((low, high))
    assert shown.window == Window(data["center"], data["width"], "linear_exact", "percentile")
    assert "is black" in text
    grey = shown.view()
    assert (grey[values <= low] == 0).all()
    assert (grey[values >= high] == 255).all()


def test_what_is_black_is_said_where_low_values_are_bright() -> None:
    film = Image(pixels=np.arange(30_000, dtype=np.uint16).reshape(150, 200), unit="raw", photometric="MONOCHROME1")
    text, _ = done(auto_window, image=film, low=0.0, high=100.0)
    assert text == "window center 15000, width 29999: 29999 is black, 0 white"


def test_padding_and_missing_values_do_not_count(write: Write) -> None:
    stored = np.random.default_rng(1).normal(1000, 50, (64, 64)).astype(np.int16)
    stored[:, :40] = -2000
    image = read_one(write(stored, Modality="MR", PixelPaddingValue=-2000))
    data = done(auto_window, image=image)[1]
    assert (data["low"], data["high"]) == pytest.approx(tuple(np.percentile(stored[stored > -2000], (1, 99))))
    scaled = read_one(write(stored, PixelPaddingValue=-2000, RescaleSlope=2, RescaleIntercept=-1024))
    assert scaled.attributes["padding"] == "-5024 -5024"
    assert done(auto_window, image=scaled)[1]["low"] > 500
    broken = image.pixels.astype(np.float32)
    broken[0] = np.nan
    assert math.isfinite(done(auto_window, image=image.with_pixels(broken))[1]["low"])


def test_a_box_makes_a_faint_part_visible() -> None:
    values = np.zeros((100, 100), np.int16)
    values[:, 50:] = 2000
    values[20:40, 10:30] = np.arange(20)
    image = Image(pixels=values, unit="raw")
    data = done(auto_window, image=image, low=0.0, high=100.0, box=Box(100, 200, 300, 400))[1]
    assert (data["low"], data["high"]) == (0, 19)


def test_a_stack_is_windowed_as_a_whole(image: Named) -> None:
    stack = image("emri_small.dcm")
    data = done(auto_window, image=stack, low=0.5, high=99.5)[1]
    assert (data["low"], data["high"]) == pytest.approx(tuple(np.percentile(stack.pixels, (0.5, 99.5))))


def test_values_without_a_range_are_refused() -> None:
    constant = Image(pixels=np.full((4, 4), 7, np.int16), unit="HU")
    assert "are all 7; there is no range to show" in refusal(auto_window, image=constant)
    nothing = Image(pixels=np.full((4, 4), np.nan, np.float32), unit="HU")
    assert "all are padding, NaN or infinite" in refusal(auto_window, image=nothing)
    assert "low must be below high, got 60 and 40" in refusal(auto_window, image=scan(), low=60.0, high=40.0)


# -- acquisition


def test_an_acquisition_is_told_with_its_units(image: Named) -> None:
    text, data = done(acquisition, image=image("CT_small.dcm"))
    for part in (
        "CT",
        "128 x 128 pixels",
        "values in HU",
        "120 kVp",
        "kernel STANDARD",
        "slice thickness 5 mm",
        "slices axial",
    ):
        assert part in text
    assert (data["kvp"], data["slice_thickness_mm"], data["kernel"], data["orientation"]) == (
        120,
        5,
        "STANDARD",
        "axial",
    )
    assert data["spacing_mm"] == [0.66147, 0.66147]
    assert data["rescale"] == [1, -1024]
    text, data = done(acquisition, image=image("MR2_UNCR.dcm"))
    assert (data["repetition_time_ms"], data["echo_time_ms"], data["field_strength_t"]) == (350, 27, 1.5)
    assert (data["orientation"], data["oblique_deg"]) == ("sagittal", 34.7)
    text, _ = done(acquisition, image=image("MR-SIEMENS-DICOM-WithOverlays.dcm"))
    assert "windows (center/width) " in text


def test_a_tilted_gantry_is_told(image: Named) -> None:
    text, data = done(acquisition, image=image("J2K_pixelrep_mismatch.dcm"))
    assert data["gantry_tilt_deg"] == -22
    assert "gantry tilt -22 degrees" in text
    assert "slices axial, 22 degrees oblique" in text


def test_what_is_not_known_is_said_to_be_unknown(image: Named) -> None:
    text, data = done(acquisition, image=image("emri_small.dcm"))
    assert "10 slices or frames of 64 x 64 pixels" in text
    assert "pixel spacing not known" in text
    assert data["spacing_mm"] is None
    assert "no window in the file" in text
    text, _ = done(acquisition, image=Image(pixels=np.zeros((4, 4), np.uint8)))
    assert text.startswith("modality unknown; 4 x 4 pixels; grey levels without a physical unit")


def test_facts_that_are_not_on_the_list_are_not_told() -> None:
    facts = {"patient": "ZQX^Plantagenet", "kvp": "120", "echo_time_ms": "ZQX"}
    text, data = done(acquisition, image=scan(attributes=facts))
    assert "ZQX" not in text + json.dumps(data)
    assert data["kvp"] == 120


@pytest.mark.parametrize(
    ("kernel", "known"),
    [("B30f", True), ("Br40d", True), ("FC13", True), ("BONEPLUS", True), ("Miller", False), ("JM1937", False)],
)
def test_only_known_kernels_are_told(write: Write, kernel: str, known: bool) -> None:
    image = read_one(write(np.zeros((4, 4), np.int16), ConvolutionKernel=kernel))
    assert (image.attributes.get("kernel") == kernel) is known
