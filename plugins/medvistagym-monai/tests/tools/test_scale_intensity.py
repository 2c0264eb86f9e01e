"""`scale_intensity`: values of any scale as greys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import Image
from medvistagym_monai import resample, scale_intensity

Scan = Callable[..., Image]
Refusal = Callable[..., str]


@pytest.mark.parametrize("method", ["percentiles", "range", "zscore"])
def test_values_of_any_scale_become_greys(method: Any) -> None:
    values = np.random.default_rng(0).normal(1000, 100, (64, 48))
    image = Image(pixels=values.astype(np.float32), unit="raw", spacing=(1.0, 1.0)).crop(4, 4, 44, 60)
    values = values[4:60, 4:44]
    ends = {
        "percentiles": np.percentile(values, (1, 99)),
        "range": (900, 1200),
        "zscore": (values.mean() - 3 * values.std(), values.mean() + 3 * values.std()),
    }[method]
    low, high = (900.0, 1200.0) if method == "range" else (None, None)
    result, text = scale_intensity(image, method=method, low=low, high=high)
    wanted = np.clip((values - ends[0]) / (ends[1] - ends[0]), 0, 1) * 255
    assert np.abs(result.pixels - wanted).max() < 0.51
    assert (result.unit, result.window, result.pixels.dtype) == ("grey", None, np.uint8)
    assert (result.to_source, result.spacing) == (image.to_source, image.spacing)
    assert np.array_equal(result.view(), result.pixels)
    assert "no unit" in text


def test_low_is_bright_becomes_usual(scan: Scan) -> None:
    image = scan(photometric="MONOCHROME1")
    result, text = scale_intensity(image, method="range", low=-1000.0, high=40.0)
    assert result.photometric == "MONOCHROME2"
    assert result.pixels[0, 0] == 255
    assert result.pixels[30, 60] == 0
    assert text.startswith("Black is 40 HU, white is -1000 HU")


def test_scales_that_are_refused(scan: Scan, refusal: Refusal) -> None:
    assert "needs low and high" in refusal(scale_intensity, image=scan(), method="range", low=0.0)
    assert "low must be below high" in refusal(scale_intensity, image=scan(), method="zscore", low=2.0, high=1.0)
    assert "within 0 to 100" in refusal(scale_intensity, image=scan(), method="percentiles", high=101.0)
    assert "alike" in refusal(scale_intensity, image=scan(), method="percentiles", high=50.0)
    colour = Image(pixels=np.zeros((4, 4, 3), np.uint8), photometric="RGB")
    assert "colours" in refusal(scale_intensity, image=colour)
    for low, high in ((0.0, 1e-308), (-1e308, 1e308), (1e300, 2e300)):
        assert "too close together or too far apart" in refusal(
            scale_intensity, image=scan(), method="range", low=low, high=high
        )


def test_values_beyond_float32_are_black_or_white_or_refused(refusal: Refusal) -> None:
    values = np.array([[-3e38, 0.0], [5.0, 3e38]], np.float32)
    result, _ = scale_intensity(Image(pixels=values, unit="raw"), method="range", low=0.0, high=10.0)
    assert result.pixels.tolist() == [[0, 0], [128, 255]]
    beyond = Image(pixels=np.full((4, 4), 1e300), unit="raw", spacing=(1.0, 1.0))
    assert "have no value" in refusal(resample, image=beyond, spacing_mm=2.0)


def test_the_finest_pixels_are_scaled(scan: Scan) -> None:
    overview = scan().resized(8, 8)
    result, _ = scale_intensity(overview)
    assert result.shape == scan().shape
