"""`auto_window`: windows from percentiles of the values that count."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medvistagym_core.imaging import Box, Image, Window
from medvistagym_dicom import (
    auto_window,
    read_one,
)

from .calls import Named, Write, ct_slice, error_message, text_and_data


@pytest.mark.parametrize("kind", ["int16", "uint16", "float32", "uint8"])
def test_the_window_spans_the_percentiles(kind: str) -> None:
    values = np.random.default_rng(2).gamma(3, 20, (100, 120)).astype(kind)
    image = Image(pixels=values, unit="raw")
    text, data = text_and_data(auto_window, image=image, low=5.0, high=90.0)
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
    text, _ = text_and_data(auto_window, image=film, low=0.0, high=100.0)
    assert text == "window center 15000, width 29999: 29999 is black, 0 white"


def test_padding_and_missing_values_do_not_count(write: Write) -> None:
    stored = np.random.default_rng(1).normal(1000, 50, (64, 64)).astype(np.int16)
    stored[:, :40] = -2000
    image = read_one(write(stored, Modality="MR", PixelPaddingValue=-2000))
    data = text_and_data(auto_window, image=image)[1]
    assert (data["low"], data["high"]) == pytest.approx(tuple(np.percentile(stored[stored > -2000], (1, 99))))
    scaled = read_one(write(stored, PixelPaddingValue=-2000, RescaleSlope=2, RescaleIntercept=-1024))
    assert scaled.attributes["padding"] == "-5024 -5024"
    assert text_and_data(auto_window, image=scaled)[1]["low"] > 500
    broken = image.pixels.astype(np.float32)
    broken[0] = np.nan
    assert math.isfinite(text_and_data(auto_window, image=image.with_pixels(broken))[1]["low"])


def test_a_box_makes_a_faint_part_visible() -> None:
    values = np.zeros((100, 100), np.int16)
    values[:, 50:] = 2000
    values[20:40, 10:30] = np.arange(20)
    image = Image(pixels=values, unit="raw")
    data = text_and_data(auto_window, image=image, low=0.0, high=100.0, box=Box(100, 200, 300, 400))[1]
    assert (data["low"], data["high"]) == (0, 19)


def test_a_stack_is_windowed_as_a_whole(image: Named) -> None:
    stack = image("emri_small.dcm")
    data = text_and_data(auto_window, image=stack, low=0.5, high=99.5)[1]
    assert (data["low"], data["high"]) == pytest.approx(tuple(np.percentile(stack.pixels, (0.5, 99.5))))


def test_values_without_a_range_are_refused() -> None:
    constant = Image(pixels=np.full((4, 4), 7, np.int16), unit="HU")
    assert "are all 7; there is no range to show" in error_message(auto_window, image=constant)
    nothing = Image(pixels=np.full((4, 4), np.nan, np.float32), unit="HU")
    assert "all are padding, NaN or infinite" in error_message(auto_window, image=nothing)
    assert "low must be below high, got 60 and 40" in error_message(auto_window, image=ct_slice(), low=60.0, high=40.0)
