"""`components`: the parts of a mask by size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from medvistagym_core.imaging import Image
from medvistagym_monai import components

Refusal = Callable[..., str]


def parts() -> np.ndarray:
    """Of 30 x 40 pixels: squares of 100, 25 and 25 with a corner in common, and one pixel."""
    result = np.zeros((30, 40), bool)
    result[2:12, 3:13] = True
    result[15:20, 20:25] = result[20:25, 25:30] = True
    result[28, 38] = True
    return result


def test_parts_are_listed_by_size_and_one_is_kept(refusal: Refusal) -> None:
    image = Image(unit="mask", pixels=parts(), spacing=(0.5, 2.0))
    largest, text, data = components(image)
    assert np.array_equal(largest.pixels, parts() & (np.arange(30) < 12)[:, None])
    assert (largest.unit, largest.spacing) == ("mask", (0.5, 2.0))
    assert data["parts"] == 4
    assert [part["area_mm2"] for part in data["listed"]] == [100, 25, 25, 1]
    assert data["area_mm2"] == 100
    assert data["listed"][3]["box"] == [950, 933, 975, 967]
    assert text.startswith("part 1 of 4: 100 mm2")
    assert "4: 1.0 mm2 at [950, 933, 975, 967]" in text
    second, _, _ = components(image, keep=2)
    assert second.pixels[15:20, 20:25].all()
    assert second.pixels.sum() == 25
    assert "there is no part 5" in refusal(components, mask=image, keep=5)


def test_parts_of_a_volume_reach_across_slices() -> None:
    volume = np.zeros((6, 10, 10), bool)
    volume[0:3, 1:4, 1:4] = True
    volume[3, 3:9, 3:9] = True  # touches the one below at a single pixel
    volume[5, 0, 0] = True
    image = Image(unit="mask", pixels=volume, spacing=(5.0, 2.0, 1.0))
    kept, _, data = components(image)
    assert data["parts"] == 2
    assert data["volume_ml"] == pytest.approx((27 + 36) * 10 / 1000)
    assert data["slices"] == [0, 3]
    assert data["listed"][1]["slices"] == [5, 5]
    assert kept.frame == 3
    last, _, _ = components(image, keep=2)
    assert last.frame == 5


def test_many_parts_are_counted_and_ten_are_listed() -> None:
    dots = np.zeros((60, 60), bool)
    dots[::2, ::2] = True
    _, text, data = components(Image(unit="mask", pixels=dots), keep=900)
    assert data["parts"] == 900
    assert len(data["listed"]) == 10
    assert text.endswith("; 890 more")


def test_all_frames_of_a_mask_are_kept_where_no_distance_between_them_is_known() -> None:
    pixels = np.zeros((6, 10, 10), bool)
    pixels[0:3, 1:4, 1:4] = pixels[5, 0, 0] = True
    for spacing in (None, (2.0, 1.0)):
        kept, text, data = components(Image(unit="mask", pixels=pixels, spacing=spacing))
        assert kept.pixels.shape == (6, 10, 10)
        assert (data["parts"], data["pixels"], data["slices"]) == (2, 27, [0, 2])
        assert "27 pixels (no size in mm known)" in text
        assert not {"volume_ml", "area_mm2"} & {*data, *data["listed"][1]}
