"""`crop_to_mask`: where a crop lies, and which masks serve which images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from medvistagym_core.imaging import Box, Image
from medvistagym_core.tools import Tool
from medvistagym_segment import Segment, crop_to_mask

Chest = Callable[..., Image]
Refusal = Callable[..., str]
segment = cast(Tool, Segment)  # to a type checker a decorated class is still the class


def test_a_crop_knows_where_it_lies(chest: Chest) -> None:
    image = chest(spacing=(2.0, 0.5))
    mask, _, _ = segment(image, method="lung")
    part, text = crop_to_mask(image, mask, margin_mm=4.0)
    y0, x0 = 75 - 35, 65 - 22
    left, top, right, bottom = part.box_to_source(Box(0, 0, 1000, 1000))
    assert (left, top) == pytest.approx((x0 - 8, y0 - 2), abs=2)
    assert (right, bottom) == pytest.approx((201 - x0 + 8, 151 - y0 + 2), abs=2)
    assert np.array_equal(part.pixels, image.pixels[int(top) : int(bottom), int(left) : int(right)])
    assert (part.unit, part.spacing, part.window) == ("HU", (2.0, 0.5), image.window)
    assert f"{part.shape[1] * 0.5:.1f} x {part.shape[0] * 2.0:.1f} mm" in text


def test_a_mask_serves_what_shows_the_same_region(chest: Chest) -> None:
    image = chest()
    mask, _, _ = segment(image, method="lung")
    small = image.resized(40, 50)
    assert crop_to_mask(small, mask, margin_mm=0.0)[0].digest == crop_to_mask(image, mask, margin_mm=0.0)[0].digest
    coarse = mask.resized(80, 100).replace(pixels=mask.pixels[::2, ::2], detail=None)
    assert crop_to_mask(image, coarse, margin_mm=0.0)[0].shape == pytest.approx((70, 114), abs=4)


def test_a_mask_of_another_region_is_refused(chest: Chest, refusal: Refusal) -> None:
    image = chest()
    mask, _, _ = segment(image, method="lung")
    assert "another region" in refusal(crop_to_mask, image=image, mask=mask.crop(0, 0, 100, 160))
    assert "another region" in refusal(crop_to_mask, image=image.crop(5, 5, 100, 100), mask=mask)


def test_what_is_no_mask_is_refused(chest: Chest, refusal: Refusal) -> None:
    image = chest()
    assert "one that segment made" in refusal(crop_to_mask, image=image, mask=image)
    empty = image.replace(pixels=np.zeros(image.shape, bool), unit="mask")
    assert "empty" in refusal(crop_to_mask, image=image, mask=empty)


def test_slices_of_a_mask_and_of_an_image_must_agree(chest: Chest, refusal: Refusal) -> None:
    volume = chest(slices=20)
    mask, _, _ = segment(volume, method="lung")
    assert "20 slices" in refusal(crop_to_mask, image=chest(), mask=mask)


@pytest.mark.parametrize("mask_out", [False, True])
def test_a_single_slice_of_a_mask_is_used_for_a_volume_and_that_is_told(
    chest: Chest, tmp_path: Path, mask_out: bool
) -> None:
    volume = chest(slices=20)
    mask, _, _ = segment(volume, method="lung")
    mask.save(tmp_path / "mask.png")  # a picture holds one slice
    part, text = crop_to_mask(volume, Image.open(tmp_path / "mask.png"), margin_mm=0.0, mask_out=mask_out)
    assert part.frames == 20
    assert text.endswith("; the mask is a single slice and was used for all 20 of the image")
    whole, text = crop_to_mask(volume, mask, margin_mm=0.0, mask_out=mask_out)
    assert whole.frames == 15
    assert "single slice" not in text


def test_the_mask_of_one_frame_does_not_serve_another(chest: Chest, refusal: Refusal) -> None:
    frames = chest().replace(pixels=np.stack([chest().pixels] * 4), frame=1)
    mask, _, _ = segment(frames, method="lung")
    assert crop_to_mask(frames, mask)[1].endswith("; frame 1 of 0 to 3 alone, as no distance between them is known")
    assert "the mask shows frame 1 and the image frame 2" in refusal(
        crop_to_mask, image=frames.replace(frame=2), mask=mask
    )
