"""`resample`: the same region at another spacing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from medvistagym_core.imaging import Box, Image, Window
from medvistagym_core.tools import ToolError
from medvistagym_monai import resample

Scan = Callable[..., Image]
Refusal = Callable[..., str]
WHOLE = Box(0, 0, 1000, 1000)


def test_the_same_region_at_another_spacing(scan: Scan) -> None:
    result, text = resample(scan(), spacing_mm=1.5)
    assert result.pixels.shape == (50, 67)
    assert result.spacing == pytest.approx((1.5, 100 / 67))
    assert result.box_to_source(WHOLE) == pytest.approx((0, 0, 200, 100))
    assert (result.unit, result.window, result.detail is not None) == ("HU", Window(40, 400), True)
    assert result.pixels.mean() == pytest.approx(scan().pixels.mean(), rel=0.01)
    assert text == "Resampled to 67 x 50 pixels of 1.493 x 1.5 mm"
    finer, _ = resample(result, spacing_mm=0.25)  # of the finest pixels, not of those of the one before
    assert finer.pixels.shape == (300, 400)
    assert finer.pixels[60:180, 60:300].mean() == pytest.approx(40, abs=10)


def test_slices_become_as_dense_as_pixels(scan: Scan) -> None:
    image = scan(slices=12, frame=3)
    result, text = resample(image, spacing_mm=1.0, slice_mm=1.0)
    assert result.pixels.shape == (48, 75, 100)
    assert result.spacing == pytest.approx((1.0, 1.0, 1.0))
    assert result.frame == 14  # the middle of slice 3, 14 mm from the start
    assert "in 48 slices 1 mm apart" in text
    block = (result.pixels > -480).any((1, 2))
    assert block.sum() == 7 * 4
    fewer, _ = resample(image, spacing_mm=0.5, slice_mm=8.0)
    assert fewer.pixels.shape == (6, 150, 200)
    assert np.allclose(fewer.pixels[1], fewer.pixels[2], atol=1)
    assert fewer.pixels[4, 60, 100] == pytest.approx((40 - 1000) / 2, abs=1)
    kept, _ = resample(image, spacing_mm=0.5)
    assert kept.pixels.shape == (12, 150, 200)
    assert kept.spacing == pytest.approx((4.0, 0.5, 0.5))


def test_slices_are_the_same_with_any_number_of_threads() -> None:
    program = (
        "import hashlib; import numpy as np; from medvistagym_core.imaging import Image; "
        "from medvistagym_monai import resample; pixels = np.random.default_rng(0).normal(0, 600, (20, 119, 144)); "
        "image = Image(pixels=pixels.astype(np.float32), spacing=(4.0, 1.0, 1.0), modality='CT'); "
        "print([hashlib.sha256(resample(image, spacing_mm=1.0, slice_mm=mm)[0].pixels).hexdigest() for mm in (2.0, 9.0)])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(said) == 1


def test_masks_stay_masks_and_greys_stay_greys(scan: Scan) -> None:
    inside = Image(unit="mask", pixels=scan(slices=12).pixels > 0, spacing=(4.0, 0.75, 0.5))
    result, _ = resample(inside, spacing_mm=1.0, slice_mm=2.0)
    assert (result.pixels.dtype, result.unit) == (bool, "mask")
    size = result.pixels.sum() * np.prod(result.spacing or ())
    assert size == pytest.approx(inside.pixels.sum() * 4.0 * 0.75 * 0.5, rel=0.05)
    labels = Image(pixels=(inside.pixels * 7).astype(np.uint8)[0:5], unit="label", spacing=(4.0, 0.75, 0.5))
    assert set(np.unique(resample(labels, spacing_mm=0.3, slice_mm=1.0)[0].pixels)) == {0, 7}
    picture = Image(pixels=np.arange(64, dtype=np.uint8).reshape(8, 8), spacing=(1.0, 1.0))
    assert resample(picture, spacing_mm=2.0)[0].pixels.dtype == np.uint8
    colour = Image(pixels=np.full((8, 8, 3), 200, np.uint8), photometric="RGB", spacing=(1.0, 1.0))
    assert resample(colour, spacing_mm=0.5)[0].view().tolist() == np.full((16, 16, 3), 200).tolist()


def test_spacings_that_are_refused(scan: Scan, refusal: Refusal) -> None:
    assert "spacing of this image is not known" in refusal(resample, image=scan(spacing=None), spacing_mm=1.0)
    assert "more than the image measures (3 mm)" in refusal(resample, image=scan().crop(0, 0, 4, 4), spacing_mm=4.0)
    assert "this is a single frame" in refusal(resample, image=scan(), spacing_mm=1.0, slice_mm=1.0)
    for tiny in (0.005, 1e-300):
        assert "the most is 67,108,864; take a wider spacing" in refusal(resample, image=scan(), spacing_mm=tiny)
        assert "take a wider spacing" in refusal(resample, image=scan(slices=9), spacing_mm=0.1, slice_mm=tiny)
    with pytest.raises(ToolError, match="spacing_mm"):
        resample.validate({"image": 0, "spacing_mm": -1.0})
    with pytest.raises(ToolError, match="spacing_mm"):
        resample.validate({"image": 0, "spacing_mm": 1e6})


def test_uneven_slices_are_not_resampled_as_if_they_were_even(refusal: Refusal) -> None:
    stack = Image(
        pixels=np.zeros((4, 8, 8), np.int16), unit="HU", spacing=(2.0, 1.0, 1.0), attributes={"slice_offsets_mm": "0 2 4 30"}
    )  # fmt: skip
    assert "unevenly spaced" in refusal(resample, image=stack, spacing_mm=1.0, slice_mm=1.0)
    assert resample(stack, spacing_mm=2.0)[0].pixels.shape == (4, 4, 4)


@pytest.mark.parametrize("shape", [(8, 12, 3), (4, 8, 12, 3)], ids=str)
def test_colours_that_are_labels_take_the_nearest_pixel(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 9, shape, np.uint8)
    labels = Image(pixels=pixels, unit="label", photometric="RGB", spacing=(1.0, 1.0, 1.0)[: len(shape) - 1])
    finer, _ = resample(labels, spacing_mm=0.5)
    assert np.array_equal(finer.pixels, pixels.repeat(2, -3).repeat(2, -2))


def test_of_frames_that_are_no_volume_one_is_taken_and_that_is_told(scan: Scan) -> None:
    frames = scan().replace(pixels=np.stack([scan().pixels] * 3), frame=2)
    _, text = resample(frames, spacing_mm=1.5)
    assert text.endswith("; frame 2 of 0 to 2 alone, as no distance between them is known")
