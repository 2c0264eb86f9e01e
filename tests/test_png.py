"""PNG files: what Pillow reads is what was written."""

import io

import numpy as np
import PIL.Image
import pytest

from medvistagym_core.imaging import encode_png


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (64, 47), (33, 20, 3), (1, 1, 3)])
@pytest.mark.parametrize("kind", ["noise", "flat", "ramp"])
def test_pictures_are_read_back(shape, kind):
    count = int(np.prod(shape))
    values = {"noise": np.random.default_rng(0).integers(0, 256, count), "flat": np.full(count, 255)}
    pixels = values.get(kind, np.arange(count)).astype(np.uint8).reshape(shape)
    with PIL.Image.open(io.BytesIO(encode_png(pixels))) as picture:
        assert picture.format == "PNG"
        assert picture.mode == ("RGB" if pixels.ndim == 3 else "L")
        picture.load()
        assert np.array_equal(np.asarray(picture), pixels)


def test_the_callers_pixels_are_left_alone_in_any_layout():
    pixels = np.arange(600, dtype=np.uint8).reshape(20, 30)
    pixels.flags.writeable = False
    for view in (pixels.T, pixels[::2, ::-3]):
        with PIL.Image.open(io.BytesIO(encode_png(view))) as picture:
            assert np.array_equal(np.asarray(picture), view)


def test_flat_pictures_take_no_room():
    assert len(encode_png(np.zeros((512, 512), np.uint8))) < 4000
