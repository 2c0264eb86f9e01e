"""`area`: polygons and ellipses against geometry and an even-odd rule worked out edge by edge."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medvistagym_core.imaging import Box, Image
from medvistagym_core.tools import ToolError
from medvistagym_dicom import (
    area,
    measure,
)

from .calls import WHOLE, ct_slice, error_message, text_and_data


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 900), st.integers(0, 900), st.integers(20, 100), st.integers(20, 100))
def test_a_rectangle_drawn_as_a_polygon_is_the_box_that_measure_takes(x: int, y: int, w: int, h: int) -> None:
    x, y, w, h = (v // 10 * 10 for v in (x, y, w, h))  # on the edges of pixels of 300 x 200
    image = ct_slice()
    corners = [[x, y], [x + w, y], [x + w, y + h], [x, y + h]]
    _, data = text_and_data(area, image=image, points=corners)
    _, boxed = text_and_data(measure, image=image, box=Box(x, y, x + w, y + h))
    assert data["area_mm2"] == pytest.approx(boxed["width_mm"] * boxed["height_mm"])
    assert data["perimeter_mm"] == pytest.approx(2 * (boxed["width_mm"] + boxed["height_mm"]))
    assert data["pixels"] == boxed["width_px"] * boxed["height_px"]
    for key in ("mean", "sd", "min", "max"):
        assert data[key] == pytest.approx(boxed[key])
    turned = text_and_data(area, image=image, points=corners[::-1])[1]
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
    image = ct_slice(spacing=(1.0, 1.0))
    _, data = text_and_data(area, image=image, ellipse=Box(100, 200, 500, 800))
    assert data["area_mm2"] == pytest.approx(math.pi * 60 * 60)
    assert data["perimeter_mm"] == pytest.approx(2 * math.pi * 60)
    picture = PIL.Image.new("1", (300, 200))
    PIL.ImageDraw.Draw(picture).ellipse((30, 40, 149, 159), fill=1)
    assert data["pixels"] == pytest.approx(int(np.asarray(picture).sum()), rel=0.02)
    flat = text_and_data(area, image=image, ellipse=Box(0, 450, 1000, 550))[1]
    assert flat["perimeter_mm"] == pytest.approx(4 * 150.0, rel=0.06)
    # of a circle as a polygon of 64 corners
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    circle = np.stack([300 + 200 * np.cos(angles), 500 + 300 * np.sin(angles)], -1).round().astype(int).tolist()
    drawn = text_and_data(area, image=image, points=circle)[1]
    assert drawn["area_mm2"] == pytest.approx(data["area_mm2"], rel=0.005)
    assert drawn["mean"] == pytest.approx(data["mean"], abs=3)


def test_an_area_says_what_it_knows() -> None:
    triangle = [[0, 0], [1000, 0], [0, 1000]]
    text, data = text_and_data(
        area, image=Image(pixels=np.full((10, 10), 7, np.int16), unit="HU", spacing=(2.0, 1.0)), points=triangle
    )
    assert text == "area 100.0 mm2, perimeter 52.4 mm; mean 7 HU, SD 0, min 7, max 7"
    text, _ = text_and_data(area, image=Image(pixels=np.full((10, 10), 7, np.int16), unit="raw"), points=triangle)
    assert text.startswith("area 50.0 pixels (no size in mm known); mean 7")
    assert text.endswith("; the values are raw counts without a physical unit")
    text, data = text_and_data(area, image=ct_slice(), points=[[500, 500], [501, 500], [500, 501]])
    assert text.endswith("no pixel has its centre inside, so no values")
    assert data["pixels"] == 0
    values = np.full((10, 10), np.nan, np.float32)
    values[0, 0] = 3
    text, _ = text_and_data(area, image=Image(pixels=values, unit="HU"), points=[[0, 0], [960, 0], [0, 960]])
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
    assert fragment in error_message(area, image=ct_slice(), **arguments)


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
    assert text_and_data(area, image=picture, ellipse=WHOLE)[1]["mean"] == pytest.approx(0.299 * 255)
