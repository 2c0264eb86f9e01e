"""`denoise`: noise goes, values, edges and places stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest

from medvistagym_core.imaging import Image
from medvistagym_core.tools import Tool
from medvistagym_kornia import Denoise

denoise = cast(Tool, Denoise)  # to a type checker a decorated class is still the class


@pytest.mark.parametrize("method", ["median", "bilateral", "gaussian"])
def test_flat_parts_become_calm_and_unit_type_and_place_stay(scan: Callable[..., Image], method: str) -> None:
    image = scan()
    calm = denoise(image, method=method, radius=2)
    flat = (slice(0, 20), slice(0, 20))
    assert calm.pixels.dtype == image.pixels.dtype
    assert calm.pixels[flat].std() < 0.6 * image.pixels[flat].std()
    assert abs(calm.pixels[flat].mean() - image.pixels[flat].mean()) < 2
    for name in ("unit", "spacing", "window", "to_source", "source_shape", "modality"):
        assert getattr(calm, name) == getattr(image, name)


def test_a_median_drops_specks_and_a_bilateral_filter_keeps_edges() -> None:
    pixels = np.zeros((40, 40), np.float32)
    pixels[:, 20:] = 1000
    specked = pixels.copy()
    specked[10, 10] = 5000
    assert np.array_equal(denoise(Image(pixels=specked), method="median").pixels, pixels)
    noisy = pixels + np.random.default_rng(1).normal(0, 10, pixels.shape).astype(np.float32)
    smooth = denoise(Image(pixels=noisy), method="bilateral", radius=2).pixels
    assert abs(smooth[:, 19].mean()) < 5
    assert abs(smooth[:, 20].mean() - 1000) < 5


def test_a_mask_stays_a_mask() -> None:
    pixels = np.zeros((16, 16), bool)
    pixels[4:12, 4:12] = True
    assert denoise(Image(pixels=pixels)).pixels.dtype == bool
