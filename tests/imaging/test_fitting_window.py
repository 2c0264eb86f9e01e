"""A display follows the values it was made for: kept, moved along, or made anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import HU_WINDOW, MASK_WINDOW, Image, LookupTable, Window, fitting_window

BODY = Window(40.0, 400.0)


def scan(**changes: Any) -> Image:
    """A slice of a body in air, with a bone, fat around and noise, in HU."""
    y, x = np.mgrid[:128, :128]
    values = np.full((128, 128), -1000.0)
    values[((y - 64) / 50) ** 2 + ((x - 64) / 58) ** 2 < 1] = -100
    values[((y - 64) / 44) ** 2 + ((x - 64) / 52) ** 2 < 1] = 50
    values[((y - 50) / 12) ** 2 + ((x - 40) / 12) ** 2 < 1] = 130
    values[((y - 90) / 9) ** 2 + ((x - 64) / 9) ** 2 < 1] = 900
    pixels = (values + np.random.default_rng(0).normal(0, 12, values.shape)).astype(np.int16)
    return Image(**{"pixels": pixels, "unit": "HU", "modality": "CT", "window": BODY, "windows": (BODY,), **changes})


def film() -> Image:
    """A film in which low values are bright."""
    pixels = (4095 - (scan().pixels.clip(-200, 300) + 200) * 8).astype(np.uint16)
    return Image(
        pixels=pixels, unit="raw", modality="DX", photometric="MONOCHROME1", window=Window(2000, 3000, "sigmoid")
    )


def saturated(image: Image) -> float:
    view = image.view()
    return float(((view == 0) | (view == 255)).mean())


@pytest.mark.parametrize("image", [scan(), film(), scan(window=None), scan(window=Window(40, 400, "linear_exact"))])
def test_an_inverted_image_is_displayed_inverted(image: Image) -> None:
    pixels = image.pixels
    inverted = image.with_pixels(pixels.max() - pixels + pixels.min())
    assert np.abs(inverted.view().astype(int) - (255 - image.view().astype(int))).max() <= 1
    assert inverted.with_pixels(pixels).view().tolist() == image.view().tolist()


@pytest.mark.parametrize(
    "scale",
    [
        lambda v: v / 1000.0,
        lambda v: (v - v.mean()) / v.std(),
        lambda v: v * 3.0 + 7,
        lambda v: v.astype(np.int32) - 500,
    ],
)
def test_scaled_values_are_displayed_as_before(scale: Callable[[np.ndarray], np.ndarray]) -> None:
    image = scan()
    scaled = image.with_pixels(scale(image.pixels))
    assert np.abs(scaled.view().astype(int) - image.view().astype(int)).max() <= 1
    assert scaled.windows == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v,
        lambda v: v + np.random.default_rng(1).normal(0, 5, v.shape).astype(np.int16),
        lambda v: v[:, ::-1],
        lambda v: np.rot90(v, 2),
        lambda v: np.where(np.arange(128) < 30, v.min(), v),
        lambda v: (v + np.roll(v, 1, 0)) / 2,
    ],
    ids=["none", "noise", "mirror", "turn", "blackened", "smoothed"],
)  # fmt: skip
def test_values_that_keep_their_scale_keep_their_window(change: Callable[[np.ndarray], np.ndarray]) -> None:
    image = scan()
    changed = image.with_pixels(change(image.pixels))
    assert (changed.window, changed.windows) == (BODY, (BODY,))
    assert image.replace(pixels=change(image.pixels)).window == BODY


def test_overshoot_widens_a_window_but_never_much() -> None:
    image = scan()
    values = image.pixels.astype(np.float32)
    smooth = sum(np.roll(values, (i, j), (0, 1)) for i in range(-3, 4) for j in range(-3, 4)) / 49
    sharp = image.with_pixels(values + 6 * (values - smooth))
    assert isinstance(sharp.window, Window)
    assert BODY.width <= sharp.window.width <= 2 * BODY.width + 1
    assert saturated(sharp) < 0.75


@pytest.mark.parametrize(
    "change",
    [
        lambda v: np.abs(np.gradient(v.astype(np.float32), axis=0)),
        lambda v: np.random.default_rng(2).normal(0, 1e-3, v.shape),
    ],
)
def test_other_values_are_spanned(change: Callable[[np.ndarray], np.ndarray]) -> None:
    changed = scan().with_pixels(change(scan().pixels), unit="raw")
    assert changed.view().std() > 10
    assert saturated(changed) < 0.5
    assert changed.windows == ()


def test_a_picture_in_8_bits_is_displayed_as_it_is() -> None:
    image = scan()
    picture = image.with_pixels(image.view(), unit="grey")
    assert picture.window is None
    assert np.array_equal(picture.view(), image.view())
    greys = Image(pixels=image.view())
    assert np.array_equal(greys.with_pixels(255 - greys.pixels).view(), 255 - greys.view())
    assert greys.with_pixels(greys.pixels // 128).view().max() == 255  # two levels of 255 are no picture


def test_what_is_said_is_done() -> None:
    image = scan()
    inverted = 0 - image.pixels
    assert image.with_pixels(inverted, window=Window(1, 2)).window == Window(1, 2)
    assert image.with_pixels(inverted, window="keep").window == BODY
    whole = image.with_pixels(inverted, window=None)
    assert (whole.window, whole.value_range) == (None, None)
    assert image.replace(window=None).with_pixels(inverted, window="keep").value_range == (
        float(image.pixels.min()), float(image.pixels.max())
    )  # fmt: skip


def test_a_mask_is_displayed_black_and_white() -> None:
    assert scan().with_pixels(scan().pixels > 0).window == MASK_WINDOW
    assert scan().with_pixels(np.ones((128, 128), bool)).view().min() == 255


def test_a_lookup_table_is_kept_with_its_values_and_not_with_others() -> None:
    table = LookupTable.from_entries(-200, list(range(0, 4000, 10)), 4000)
    image = scan(window=table, windows=())
    assert image.with_pixels(image.pixels[:, ::-1]).window == table
    moved = image.with_pixels(0 - image.pixels).window
    assert isinstance(moved, Window)
    assert moved.center == pytest.approx(-table.center, abs=2)


@pytest.mark.parametrize(
    "pixels", [np.full((4, 4), np.nan), np.zeros((4, 4)), np.array([[np.inf, -np.inf]]), np.ones((1, 1))]
)
def test_values_that_span_nothing_are_displayed_somehow(pixels: np.ndarray) -> None:
    assert Image(pixels=np.ones(pixels.shape, np.float32), window=BODY).with_pixels(pixels).view().shape == pixels.shape


def test_colours_and_stacks_are_fitted_as_a_whole() -> None:
    colours = Image(pixels=np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), np.uint8), photometric="RGB")
    assert np.array_equal(colours.with_pixels(255 - colours.pixels).view(), 255 - colours.view())
    stack = scan(pixels=np.stack([scan().pixels] * 3), frame=1)
    assert np.abs(stack.with_pixels(-1 * stack.pixels).view().astype(int) - (255 - stack.view().astype(int))).max() <= 1


# -- parts of an image are displayed as the image


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32, bool])
def test_a_part_without_a_window_is_displayed_as_the_whole(dtype: Any) -> None:
    values = scan().pixels
    pixels = values > 0 if dtype is bool else values.clip(0, 255).astype(dtype)
    image = Image(pixels=pixels)
    part = image.crop(40, 40, 90, 90)
    assert np.array_equal(part.view(), image.view()[40:90, 40:90])
    assert np.array_equal(part.crop(10, 10, 30, 30).view(), image.view()[50:70, 50:70])
    assert np.array_equal(part.replace(window=None).view(), part.view())


def test_what_is_displayed_otherwise_is_another_image() -> None:
    dim, bright = (Image(pixels=np.pad(np.full((4, 4), 100, np.int16), 1, constant_values=most)) for most in (101, 900))
    parts = [image.crop(1, 1, 5, 5) for image in (dim, bright)]
    assert np.array_equal(parts[0].pixels, parts[1].pixels)
    assert len({part.digest for part in parts}) == 2


def test_a_resampled_image_without_a_window_is_displayed_as_it_was() -> None:
    pixels = np.random.default_rng(0).integers(100, 140, (64, 64)).astype(np.uint8)
    small = Image(pixels=pixels).resized(32, 32)
    assert small.pixels.dtype == np.float32
    assert np.array_equal(small.view(), np.rint(small.pixels).astype(np.uint8))
    counts = Image(pixels=np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16), unit="raw")
    assert counts.resized(8, 8).view().std() < 0.3 * counts.view().std()  # means are greyer than what they are means of


# -- windows for values that have none


def test_values_without_a_window_get_one_by_their_unit_and_range() -> None:
    assert fitting_window(scan().pixels, "HU") == HU_WINDOW
    assert fitting_window(scan().view()) is None
    window = fitting_window(np.linspace(0, 1000, 10_001))
    assert window is not None
    assert (window.center, window.width) == (pytest.approx(500, abs=1), pytest.approx(990, abs=2))
    assert fitting_window(np.full((9, 9), 7.0)) is None
