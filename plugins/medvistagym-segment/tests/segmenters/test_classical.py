"""The quick ways for planes give what SimpleITK's filters give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import SimpleITK

from medvistagym_core import Image
from medvistagym_core.imaging import SegmentationPrompt
from medvistagym_segment import load_segmenter
from medvistagym_segment.segmenters._components import largest_component

itk: Any = SimpleITK  # it has no types


def otsu_by_simpleitk(values: np.ndarray) -> np.ndarray:
    smooth = itk.DiscreteGaussian(itk.GetImageFromArray(values), [1.0, 1.0], 5, [0.05, 0.05], False)
    bright = itk.OtsuThreshold(smooth, 0, 1, 256)
    largest = itk.RelabelComponent(itk.ConnectedComponent(bright)) == 1
    mask: np.ndarray = itk.GetArrayFromImage(itk.BinaryFillhole(largest)).astype(bool)
    return mask


@pytest.mark.parametrize("shape", [(200, 170), (64, 300), (5, 5), (1, 40)])
@pytest.mark.parametrize("seed", range(4))
def test_otsu(shape: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    blobs = sum(
        np.exp(-((x - cx * shape[1]) ** 2 + (y - cy * shape[0]) ** 2) / (2 * (0.08 * max(shape)) ** 2))
        for cx, cy in rng.uniform(0, 1, (5, 2))
    )
    pixels = np.rint(1000 * blobs + rng.normal(0, 60, shape)).astype(np.int16)
    mask = load_segmenter("otsu", "cpu").segment(Image(pixels=pixels, unit="raw"), SegmentationPrompt())
    assert np.array_equal(mask, otsu_by_simpleitk(pixels.astype(np.float32)))


def test_the_largest_component_by_faces() -> None:
    mask = np.zeros((30, 40), bool)
    mask[2:6, 2:6] = mask[10:16, 10:16] = mask[16:20, 16:19] = True  # the last touches by a corner
    component = largest_component(mask)
    assert component.sum() == 36
    assert component[10:16, 10:16].all()
    assert not largest_component(np.zeros((4, 4), bool)).any()
    noise = np.random.default_rng(0).random((700, 700)) > 0.5
    noise[::2] = noise[:, ::2] = False
    noise[300:303, 300:303] = True  # more than 2**16 components, and this the largest
    assert largest_component(noise)[300:303, 300:303].all()
