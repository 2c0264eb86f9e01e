"""Grey levels come out the same whichever way they are made: by table or formula, one image or many, with OpenCV or without."""

from __future__ import annotations

import sys
from typing import Any, get_args

import numpy as np
import pytest

from medvistagym_core import Image
from medvistagym_core.imaging import Function, Window, render_batch

KINDS = ("uint8", "int8", "uint16", "int16")


def every_value(kind: str) -> np.ndarray:
    """All values of a dtype, often enough that an image of them goes through a table."""
    limits = np.iinfo(kind)
    values = np.arange(limits.min, limits.max + 1).astype(kind)
    return np.resize(values, (256, 256))


@pytest.fixture(params=["opencv", "numpy"])
def lookup(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "opencv":
        pytest.importorskip("cv2")
    else:
        monkeypatch.delitem(sys.modules, "cv2", raising=False)


@pytest.mark.usefixtures("lookup")
@pytest.mark.parametrize("function", get_args(Function))
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_picture_of_whole_numbers_is_the_formula_of_each(kind: str, photometric: Any, function: Any) -> None:
    for center, width in ((40.0, 400.0), (0.5, 1.0), (-3.25, 7.5), (1000.0, 60000.0)):
        window = Window(center, width, function)
        picture = Image(pixels=every_value(kind), window=window, photometric=photometric).view()
        levels = np.rint(window.apply(every_value(kind))).astype(np.uint8)
        assert np.array_equal(picture, 255 - levels if photometric == "MONOCHROME1" else levels)


@pytest.mark.usefixtures("lookup")
@pytest.mark.parametrize("kind", KINDS[1:])
def test_without_a_window_the_range_is_spread_as_it_is_for_floats(kind: str) -> None:
    pixels = every_value(kind)[:, ::-1] // 3
    floats = Image(pixels=pixels.astype(np.float64))
    assert np.array_equal(Image(pixels=pixels).view(), floats.view())
    assert set(Image(pixels=np.full((200, 200), 7, kind)).view().ravel()) == {0}


@pytest.mark.parametrize("function", get_args(Function))
def test_values_that_are_none_are_black(function: Any) -> None:
    pixels = np.linspace(-500, 500, 300 * 300).reshape(300, 300)
    pixels[0, :3] = np.nan, np.inf, -np.inf
    picture = Image(pixels=pixels, window=Window(0, 100, function)).view()
    assert picture[0, :3].tolist() == [0, 255, 0]
    assert np.array_equal(picture[1:], Image(pixels=pixels[1:], window=Window(0, 100, function)).view())


def scans(count: int, shape: tuple[int, int] = (160, 120)) -> list[Image]:
    pixels = np.random.default_rng(0).integers(-1000, 2000, (count, *shape)).astype(np.int16)
    return [Image(pixels=one, window=Window(40 * k, 400)) for k, one in enumerate(pixels)]


@pytest.mark.parametrize("side", [None, 80, 100, 200])
@pytest.mark.parametrize("count", [1, 12])
def test_many_pictures_are_those_of_each(side: int | None, count: int) -> None:
    images = scans(count)
    together = render_batch(images, side)
    assert together.dtype == np.uint8
    assert np.array_equal(together, np.stack([image.view(side) for image in images]))
    assert together.shape[1:] == images[0].view_shape(side)
    again = np.full(together.shape, 9, np.uint8)
    assert render_batch(images, side, out=again) is again
    assert np.array_equal(again, together)


def test_colours_stacks_and_graphics_are_rendered_too() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 40, 30, 3), np.uint8)
    graphics = np.zeros((40, 30), bool)
    graphics[5:20, 5:20] = True
    images = [
        Image(pixels=pixels[0], photometric="RGB", overlay=graphics),
        Image(pixels=pixels, photometric="RGB", frame=2),
        Image(pixels=pixels[1], photometric="RGB", window=Window(100, 50)),
    ]
    assert np.array_equal(render_batch(images), np.stack([image.view() for image in images]))


def test_what_cannot_be_rendered_together_is_refused() -> None:
    with pytest.raises(ValueError, match="no image"):
        render_batch([])
    with pytest.raises(ValueError, match="differ in shape"):
        render_batch([*scans(1), *scans(1, (50, 50))])
    with pytest.raises(ValueError, match=r"uint8 array of shape \(2, 160, 120\)"):
        render_batch(scans(2), out=np.empty((2, 160, 120), np.float32))
