"""Segmenters without training, on OpenCV and cc3d.

Values are in HU for lung and bone; body takes its threshold from them where there are any. Lengths are in mm through the
spacing, and in pixels where that is not known. A single frame is worked on in 2-D, a volume in 3-D, except that holes are
filled slice by slice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np

from medvistagym_core.imaging import (
    Image,
    SegmentationPrompt,
    Segmenter,
    native_kernels,
    pooled_empty,
    to_grayscale_array,
)
from medvistagym_segment._segmenter import FunctionSegmenter
from medvistagym_segment.segmenters._components import (
    fill_holes,
    keep_large_components,
    largest_component,
)
from medvistagym_segment.segmenters._filters import (
    close_mask,
    convolve,
    median,
    open_mask,
    pixel_spacing,
    radius_in_pixels,
    smooth_gaussian,
    triangle_threshold,
)
from medvistagym_segment.segmenters._labels import label_components

_BODY_HU: Final = -300.0
_AIR_HU: Final = -400.0
_BONE_HU: Final = 150.0
_BONE_SEED_HU: Final = 300.0
_MAX_VESSEL_MM: Final = 5.0
_TABLE_MM: Final = 3.0
_MIN_LUNG_SHARE: Final = 0.1  # of the largest part
_MAX_VALUE_RANGE: Final = 1e38  # float32 ends at 3e38
_MAX_FLOAT32: Final = float(np.finfo(np.float32).max)
_MIN_BIN_WIDTH: Final = 1 / _MAX_VALUE_RANGE
_CONFIDENCE_STD: Final = 2.5  # standard deviations
_CONFIDENCE_TURNS: Final = 6


def segment_body(image: Image, prompt: SegmentationPrompt) -> np.ndarray:
    """The patient without air around and table: above -300 HU, or by the triangle threshold; opened, largest part, filled.

    Source of the threshold: Zack, Rogers and Latt, Automatic measurement of sister chromatid exchange frequency, J Histochem
    Cytochem 25(7), 1977.
    """
    values = to_grayscale_array(image)
    if image.unit == "HU":
        bright = values > _BODY_HU
    else:
        _require_contrast(values)
        bright = _above_triangle(values, image)
    return fill_holes(largest_component(open_mask(bright, radius_in_pixels(image, _TABLE_MM))))


def segment_lung(image: Image, prompt: SegmentationPrompt) -> np.ndarray:
    """Air within the body, below -400 HU, vessels closed over 5 mm; parts below a tenth of the largest are dropped.

    The airways are part of it, and in a single abdominal slice so may gas in the bowel be.
    """
    values = _to_hounsfield(image, "lung")
    body = fill_holes(largest_component(values > _AIR_HU))
    air = keep_large_components((values < _AIR_HU) & body, image, _MIN_LUNG_SHARE)
    lungs: np.ndarray = fill_holes(close_mask(air, radius_in_pixels(image, _MAX_VESSEL_MM))) & body
    return lungs


def segment_bone(image: Image, prompt: SegmentationPrompt) -> np.ndarray:
    """Parts above 150 HU that reach 300 HU, within the body, without specks; contrast-filled vessels look the same."""
    values = _to_hounsfield(image, "bone")
    labels = label_components(values > _BONE_HU)
    seeds = np.unique(labels[values > _BONE_SEED_HU])
    bone = np.isin(labels, seeds[seeds > 0]) & segment_body(image, prompt)
    return keep_large_components(bone, image, 0.0)


def segment_otsu(image: Image, prompt: SegmentationPrompt) -> np.ndarray:
    """What is brighter than Otsu's threshold: its largest part, filled.

    Source: Otsu, A threshold selection method from gray-level histograms, IEEE TSMC 9(1), 1979.
    """
    values = to_grayscale_array(image)
    _require_contrast(values)
    return fill_holes(largest_component(_above_otsu(values)))


def region_grow(image: Image, prompt: SegmentationPrompt) -> np.ndarray:
    """What is connected with a point and alike in value, on values smoothed by a median within the slices.

    With a tolerance: within it of the value at the point. Without: within 2.5 standard deviations of the mean of a region that
    is grown so five times over in the slice of the point (ITK's confidence-connected filter). It leaks where a neighbour
    has the same values.
    """
    if prompt.point is None:
        raise ValueError('the method "region" needs a point inside the structure')
    values = to_grayscale_array(image)
    slices = values if image.is_stack else values[None]
    x, y = prompt.point
    z = (image.frames // 2 if image.frame is None else image.frame) if image.is_stack else 0
    smooth = median(slices)
    if prompt.tolerance is not None:
        low, high = float(smooth[z, y, x]) - prompt.tolerance, float(smooth[z, y, x]) + prompt.tolerance
    else:
        low, high = _confidence_range(smooth[z], x, y)
    low, high = max(low, -_MAX_FLOAT32), min(high, _MAX_FLOAT32)
    labels = label_components((smooth >= low) & (smooth <= high))
    mask = fill_holes((labels == labels[z, y, x]) & (labels > 0))
    return mask if image.is_stack else mask[0]


SEGMENTERS: Final[Mapping[str, Segmenter]] = {
    "body": FunctionSegmenter(segment_body),
    "bone": FunctionSegmenter(segment_bone),
    "lung": FunctionSegmenter(segment_lung),
    "otsu": FunctionSegmenter(segment_otsu),
    "region": FunctionSegmenter(region_grow),
}


def _to_hounsfield(image: Image, method: str) -> np.ndarray:
    if image.unit != "HU":
        raise ValueError(f'the method "{method}" needs a CT in HU, and this image is in {image.unit}; "otsu" takes any')
    return to_grayscale_array(image)


def _require_contrast(values: np.ndarray) -> None:
    if values.min() == values.max():
        raise ValueError("all pixels of the image have the same value; there is nothing to find")


def _above_triangle(values: np.ndarray, image: Image) -> np.ndarray:
    """What is above the triangle threshold of values smoothed by a Gaussian of 1 mm, where the image is large enough for one.

    Raises:
        ValueError: There is no threshold: smoothing has left next to nothing of the differences between the pixels.
    """
    try:
        smooth = values
        if min(image.shape) >= 8:
            smooth = smooth_gaussian(values, [1 / step for step in pixel_spacing(image)])
        bright: np.ndarray = smooth > triangle_threshold(smooth)
    except ValueError as error:
        raise ValueError(
            "no threshold divides the values of the image into a structure and its background: smoothed by 1 mm they "
            'hardly differ; the method "region" takes a point instead'
        ) from error
    return bright


def _confidence_range(plane: np.ndarray, x: int, y: int) -> tuple[float, float]:
    """Values within 2.5 standard deviations of the mean of the region that is grown from a point; its own value included."""
    height, width = plane.shape
    rows, columns = (np.clip(np.arange(at - 2, at + 3), 0, n - 1) for at, n in ((y, height), (x, width)))
    inside = plane[np.ix_(rows, columns)].astype(np.float64)  # at first the 5 x 5 pixels around the point
    value = float(plane[y, x])
    for _ in range(_CONFIDENCE_TURNS):
        if inside.size == 1:  # its surroundings are unlike the point itself
            raise ValueError(
                "the point lies on an edge or a speck; choose one well inside the structure, or give a tolerance"
            )
        reach = _CONFIDENCE_STD * float(inside.std(ddof=1))
        low, high = float(inside.mean()) - reach, float(inside.mean()) + reach
        alike = ((plane >= min(low, value)) & (plane <= max(high, value))).view(np.uint8)
        _, labels = cv2.connectedComponents(alike, connectivity=4)
        inside = plane[labels == labels[y, x]].astype(np.float64)
    # the rounding of float32 is added, so that a region of one value has a range
    reach = _CONFIDENCE_STD * float(inside.std()) + 1e-6 * float(np.abs(inside).max())
    return min(float(inside.mean()) - reach, value), max(float(inside.mean()) + reach, value)


def _above_otsu(values: np.ndarray) -> np.ndarray:
    """What ITK's discrete Gaussian (variance 1, 5 taps) and Otsu threshold (256 bins) give of a plane or a volume."""
    taps = np.array([0.05088224, 0.21183832, 0.47455888, 0.21183832, 0.05088224])
    if values.ndim == 2:
        smooth = pooled_empty(values.shape, np.float32)
        cv2.sepFilter2D(values, cv2.CV_32F, taps, taps, smooth, borderType=cv2.BORDER_REPLICATE)
    else:
        smooth = convolve(values, [taps] * 3)
    low, high = float(smooth.min()), float(smooth.max())
    if not high - low < _MAX_VALUE_RANGE:
        raise ValueError(
            f"the values of the image are more than {_MAX_VALUE_RANGE:g} apart; there is no threshold to find"
        )
    bin_width = (high - low) * (1 + 1 / 25600) / 256  # ITK widens the last bin by a hundredth of one
    if not bin_width > _MIN_BIN_WIDTH:
        return np.zeros(values.shape, bool)
    counts = _histogram(smooth, low, 1 / bin_width)
    below, total = counts.cumsum()[:-1], (counts * np.arange(256)).cumsum()
    above = counts.sum() - below
    # the first bin is not empty, so nothing is divided by 0
    between = below * above * (total[:-1] / below - (total[-1] - total[:-1]) / above) ** 2
    return smooth > np.float32(low + (int(between.argmax()) + 1) * bin_width)


def _histogram(values: np.ndarray, low: float, factor: float) -> np.ndarray:
    """How many values fall in each of 256 bins, float64: `(v - low) * factor`, which is in [0, 256)."""
    if (c := native_kernels()) is not None:
        counts = np.empty(256, np.int64)
        c.histogram(values.reshape(-1, values.shape[-1]), counts, low, factor)
        return counts.astype(np.float64)
    scaled, bins = pooled_empty(values.shape, np.float32), pooled_empty(values.shape, np.uint8)
    np.subtract(values, np.float32(low), out=scaled)
    np.multiply(scaled, np.float32(factor), out=scaled)
    np.copyto(bins, scaled, casting="unsafe")
    return np.bincount(bins.ravel(), minlength=256).astype(np.float64)
