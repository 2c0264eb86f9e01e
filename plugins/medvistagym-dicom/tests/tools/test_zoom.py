"""`zoom`: where it looks, what it keeps, and how it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from medvistagym_core.imaging import Box, Image, Window
from medvistagym_core.tools import ToolError
from medvistagym_dicom import (
    measure,
    window,
    zoom,
)

from .calls import WHOLE, Named, boxes, ct_slice


def source_rectangle(image: Image) -> tuple[float, ...]:
    """The rectangle of source pixels that an image shows."""
    return image.box_to_source(WHOLE)


@settings(max_examples=60, deadline=None)
@given(boxes())
def test_zoom_shows_the_pixels_that_the_box_covers_and_knows_where(box: Box) -> None:
    image = ct_slice()
    part = zoom(image, box)
    x0, y0, x1, y1 = image.box_to_pixels(box)
    assert source_rectangle(part) == pytest.approx((x0, y0, x1, y1))
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
    image = ct_slice()
    part = zoom(image, first)
    finer = zoom(part, second)
    outer, inner = source_rectangle(part), source_rectangle(finer)
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
    assert source_rectangle(part) == (0, 0, 16, 16)


def test_zoom_after_windowing_keeps_the_window_and_the_values() -> None:
    overview = window(ct_slice(256, 256).resized(64, 64), preset="lung")
    part = zoom(overview, Box(0, 0, 250, 250))
    assert part.window == overview.window
    assert (part.detail or part).pixels.min() < -300  # far outside 8 bits


def test_zoom_crops_the_overlay() -> None:
    overlay = np.zeros((200, 300), bool)
    overlay[50:60, 90:100] = True
    part = zoom(ct_slice(overlay=overlay), Box(300, 250, 400, 350))
    assert part.overlay is not None
    assert part.overlay.any()
    assert zoom(ct_slice(overlay=overlay), Box(0, 500, 500, 1000)).overlay.any() == np.False_


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
    image = ct_slice()
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
