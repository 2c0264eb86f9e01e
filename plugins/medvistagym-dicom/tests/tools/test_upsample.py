"""Enlarging: what `zoom` interpolates itself equals what Pillow gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medvistagym_core import Box, Image
from medvistagym_dicom import zoom

BOXES = [Box(100, 100, 400, 400), Box(0, 0, 1000, 1000), Box(13, 500, 700, 777), Box(990, 990, 1000, 1000)]


def scan(shape: tuple[int, ...], kind: Any = np.int16, **changes: Any) -> Image:
    pixels = np.random.default_rng(0).integers(0, 250, shape).astype(kind)
    return Image(pixels=pixels, spacing=(0.5, 0.5), **changes)


def plainly(image: Image, box: Box, like: Image) -> Image:
    return image.crop(*image.box_to_pixels(box)).resized(*like.shape)


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize(
    "image",
    [scan((400, 512)), scan((300, 300), np.uint16), scan((300, 320, 3), np.uint8, photometric="RGB")],
    ids=["int16", "uint16", "colour"],
)
def test_large_scans_differ_by_a_millionth_of_the_range_at_most(image: Image, box: Box) -> None:
    result = zoom(image, box)
    wanted = plainly(image, box, result)
    np.testing.assert_allclose(result.pixels, wanted.pixels, rtol=0, atol=250e-6)
    assert (result.to_source, result.spacing, result.source_shape) == (
        wanted.to_source,
        wanted.spacing,
        wanted.source_shape,
    )
    assert result.detail is not None or result.shape == image.shape
    assert not result.pixels.flags.writeable


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("image", [scan((256, 256)), scan((400, 300), np.float32), scan((1500, 1400))], ids=str)
def test_small_scans_floats_and_what_shrinks_stay_bit_for_bit(image: Image, box: Box) -> None:
    if image.shape[0] > 1024:
        box = Box(0, 0, 1000, 1000)
    result = zoom(image, box)
    assert np.array_equal(result.pixels, plainly(image, box, result).pixels)


def test_a_batch_is_its_calls() -> None:
    images = [scan((400, 512)), scan((256, 256)), scan((300, 320, 3), np.uint8, photometric="RGB")]
    calls = [{"image": image, "box": box} for image in images for box in BOXES]
    for call, result in zip(calls, zoom.run_batch(calls), strict=True):
        assert result.images[0].digest == zoom(**call).digest
