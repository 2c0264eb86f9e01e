"""Picture files of views: any reader gives back what was written, value by value."""

import io

import numpy as np
import PIL.Image
import pytest

from medvistagym_core.imaging import Image, encode_png


@pytest.mark.parametrize("shape", [(1, 1), (37, 1), (1, 9, 3), (5, 3, 3), (224, 224), (61, 83, 3)])
@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(lambda values: values, id="rows"),
        pytest.param(np.asfortranarray, id="columns"),
        pytest.param(lambda values: np.repeat(values, 2, axis=0)[::2], id="every other row"),
    ],
)
def test_a_png_file_holds_the_picture(shape: tuple[int, ...], layout) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    with PIL.Image.open(io.BytesIO(encode_png(layout(values)))) as picture:
        picture.verify()
    with PIL.Image.open(io.BytesIO(encode_png(layout(values)))) as picture:
        assert picture.mode == ("RGB" if len(shape) == 3 else "L")
        assert np.array_equal(np.asarray(picture), values)


def test_a_smooth_picture_takes_less_room_than_its_values() -> None:
    y, x = np.mgrid[0:256, 0:256]
    values = (200 * np.exp(-((x - 128) ** 2 + (y - 128) ** 2) / 5000)).astype(np.uint8)
    assert len(encode_png(Image(pixels=values).view())) < values.size / 2
