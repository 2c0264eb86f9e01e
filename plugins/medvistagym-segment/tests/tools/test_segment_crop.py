"""`segment_crop`: `segment` and `crop_to_mask` in one call, in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest

from medvistagym_core.imaging import Image
from medvistagym_core.tools import Tool
from medvistagym_segment import Segment, SegmentCrop, crop_to_mask

Chest = Callable[..., Image]
segment, segment_crop = cast(Tool, Segment), cast(Tool, SegmentCrop)


def test_one_call_gives_what_two_give(chest: Chest) -> None:
    image = chest(spacing=(2.0, 0.5))
    mask, text, data = segment(image, method="lung")
    part, crop_text = crop_to_mask(image, mask, margin_mm=4.0)
    once, once_text, once_data = segment_crop(image, method="lung", margin_mm=4.0)
    assert once.digest == part.digest
    assert once_text == f"{text}. {crop_text}"
    assert once_data == {**data, "crop": once_data["crop"]}


def test_a_volume_is_cut_in_three_directions(chest: Chest) -> None:
    part, text, data = segment_crop(chest(slices=20), method="lung", margin_mm=4.0)
    assert part.frames == 15 + 2 * 2
    assert part.attributes["slices"] == "1-19"
    assert part.frame == 10 - 1
    assert f"x {part.frames * 2.0:.1f} mm" in text
    inner, _, _ = segment_crop(part, method="lung", margin_mm=0.0, mask_out=True)
    assert inner.attributes["slices"] == "3-17"
    assert inner.pixels.max() < 0
    assert data["slices"] == [3, 17]


def test_masking_out_leaves_only_the_structure(chest: Chest) -> None:
    image = chest()
    part, _, _ = segment_crop(image, method="lung", margin_mm=10.0, mask_out=True)
    assert part.pixels[0, 0] == image.pixels.min()
    assert (part.pixels > -300).mean() < 0.01
    low = chest(unit="raw").replace(pixels=-image.pixels, photometric="MONOCHROME1", window=None)
    dark, _, _ = segment_crop(low, method="otsu", margin_mm=10.0, mask_out=True)
    assert dark.view()[0, 0] == 0
    colour = Image(pixels=np.repeat(image.view()[..., None], 3, -1), photometric="RGB")
    black, _, _ = segment_crop(colour, method="otsu", margin_mm=10.0, mask_out=True)
    assert black.pixels[0, 0].tolist() == [0, 0, 0]


def test_without_spacing_the_margin_is_in_pixels_and_the_text_says_so(chest: Chest) -> None:
    part, text, data = segment_crop(chest(spacing=None), method="bone", margin_mm=3.0)
    assert "the margin is 3 pixels" in text
    assert "area_mm2" not in data
    assert part.shape == pytest.approx((19 + 6, 19 + 6), abs=2)
