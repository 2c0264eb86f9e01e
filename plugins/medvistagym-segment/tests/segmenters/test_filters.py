"""Filters of planes and volumes give what ITK's filters of the same names give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import SimpleITK

from medvistagym_segment import label_components
from medvistagym_segment.segmenters._filters import close_mask, median, open_mask, smooth_gaussian, triangle_threshold

itk: Any = SimpleITK  # it has no types
SHAPES = [((60, 70), (3, 4)), ((12, 40, 50), (1, 3, 5)), ((9, 30, 30), (0, 4, 4))]


def blobs(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Smooth random values, float32."""
    noise = np.random.default_rng(seed).normal(0, 1000, shape).astype(np.float32)
    return smooth_gaussian(noise, (2.0,) * len(shape))


@pytest.mark.parametrize(("shape", "radii"), SHAPES)
@pytest.mark.parametrize("seed", range(2))
def test_morphology(shape: tuple[int, ...], radii: tuple[int, ...], seed: int) -> None:
    mask = blobs(shape, seed) > 10
    image, reach = itk.GetImageFromArray(mask.astype(np.uint8)), list(radii[::-1])
    opened = itk.GetArrayFromImage(itk.BinaryMorphologicalOpening(image, reach, itk.sitkBall)).astype(bool)
    assert np.array_equal(open_mask(mask, radii), opened)
    padded = itk.ConstantPad(image, reach, reach, 0)
    closed = itk.Crop(itk.BinaryMorphologicalClosing(padded, reach, itk.sitkBall), reach, reach)
    assert np.array_equal(close_mask(mask, radii), itk.GetArrayFromImage(closed).astype(bool))


@pytest.mark.parametrize("shape", [(60, 70), (12, 40, 50)])
def test_components_are_numbered_as_itk_numbers_them(shape: tuple[int, ...]) -> None:
    mask = np.random.default_rng(0).random(shape) > 0.6
    mask.flags.writeable = False
    labels = itk.GetArrayFromImage(itk.ConnectedComponent(itk.GetImageFromArray(mask.astype(np.uint8))))
    assert np.array_equal(label_components(mask), labels)


@pytest.mark.parametrize("shape", [(60, 70), (12, 40, 50)])
@pytest.mark.parametrize("peak", [-300, 0, 300])
def test_triangle_threshold(shape: tuple[int, ...], peak: float) -> None:
    values = blobs(shape, 3) + np.float32(peak) * (blobs(shape, 4) > 0)
    threshold = itk.TriangleThresholdImageFilter()
    threshold.SetNumberOfHistogramBins(256)
    threshold.Execute(itk.GetImageFromArray(values))
    assert triangle_threshold(values) == pytest.approx(threshold.GetThreshold(), abs=1e-2)


@pytest.mark.parametrize("shape", [(60, 70), (12, 40, 50)])
def test_smoothing(shape: tuple[int, ...]) -> None:
    values = blobs(shape, 5)
    image = itk.GetImageFromArray(values)
    assert np.array_equal(median(values), itk.GetArrayFromImage(itk.Median(image, [1, 1, 0][: len(shape)])))
    gaussian = itk.GetArrayFromImage(itk.SmoothingRecursiveGaussian(image, 1.0))  # ITK's is an approximation
    assert np.abs(smooth_gaussian(values, (1.0,) * len(shape)) - gaussian).max() < 0.01 * np.ptp(values)
