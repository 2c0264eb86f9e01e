"""Filters of planes `(H, W)` and volumes `(N, H, W)`, on OpenCV plane by plane: morphology, smoothing, thresholds.

They give what ITK's filters of the same names give (the tests compare them with SimpleITK), at a tenth of its size on disk.
Lengths in mm become pixels through the spacing. OpenCV is set to one thread a call: the executor runs calls side by side, and
its pool would fight it for the same cores.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from medvistagym_core.imaging import Image
from medvistagym_core.tools import use_one_thread

use_one_thread("cv2")

_BINS: Final = 256
_PERCENTILE: Final = 0.01
_REACH: Final = 4.0  # standard deviations after which a Gaussian is cut off


def pixel_spacing(image: Image) -> tuple[float, ...]:
    """The spacing of each axis in mm; 1 where it is not known."""
    count = 3 if image.is_stack else 2
    return (1.0,) * count if image.spacing is None else tuple(image.spacing[-count:])


def radius_in_pixels(image: Image, radius_mm: float) -> tuple[int, ...]:
    """A radius in pixels of each axis; at most an eighth of the image."""
    radii = [round(radius_mm / step) for step in pixel_spacing(image)]
    return tuple(min(radius, max(0, n // 8)) for radius, n in zip(radii, image.pixels.shape, strict=False))


def dilate(mask: np.ndarray, radii: Sequence[int]) -> np.ndarray:
    """A mask grown by a ball of these radii, an ellipsoid with axes half a pixel longer; nothing is outside of the image."""
    planes = mask.astype(np.uint8, copy=False).reshape(-1, *mask.shape[-2:])
    ball = _ball((0, *radii)[-3:])
    reach = len(ball) // 2
    grown = np.zeros(planes.shape, np.uint8)
    for offset in range(reach + 1):
        kernel = np.ascontiguousarray(ball[reach + offset])
        for z, plane in enumerate(planes):
            if not plane.any():
                continue
            wide = cv2.dilate(plane, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=[0])
            for there in {z - offset, z + offset}:
                if 0 <= there < len(planes):
                    np.bitwise_or(grown[there], wide, out=grown[there])
    return grown.reshape(mask.shape).astype(bool)


def erode(mask: np.ndarray, radii: Sequence[int]) -> np.ndarray:
    """A mask that has lost its rim, by the same ball; the border of the image takes nothing away."""
    return ~dilate(~mask.astype(bool, copy=False), radii)


def open_mask(mask: np.ndarray, radii: Sequence[int]) -> np.ndarray:
    """What of a mask a ball fits into."""
    return dilate(erode(mask, radii), radii)


def close_mask(mask: np.ndarray, radii: Sequence[int]) -> np.ndarray:
    """A mask and the gaps of it that no ball fits into."""
    margin = [(radius, radius) for radius in radii]  # zeros, so that the border is treated as the inside
    closed = erode(dilate(np.pad(mask, margin), radii), radii)
    return closed[tuple(slice(radius, n - radius) for radius, n in zip(radii, closed.shape, strict=True))]


@functools.lru_cache(maxsize=32)
def _ball(radii: tuple[int, ...]) -> np.ndarray:
    places = np.meshgrid(*(np.arange(-radius, radius + 1) / (radius + 0.5) for radius in radii), indexing="ij")
    ball: np.ndarray = (np.sum([place**2 for place in places], axis=0) <= 1).astype(np.uint8)
    return ball


def smooth_gaussian(values: np.ndarray, sigmas: Sequence[float]) -> np.ndarray:
    """Values smoothed by a Gaussian of these standard deviations in pixels, float32; the border goes on outside.

    Raises:
        ValueError: One is more than a quarter of its axis: next to nothing would be left of the values.
    """
    reaches = list(zip(sigmas, values.shape, strict=True))
    if any(sigma > n / 4 for sigma, n in reaches if n > 1):
        raise ValueError("a Gaussian that wide leaves nothing of the values")
    return convolve(values, [_gaussian_taps(sigma) if n > 1 else np.ones(1) for sigma, n in reaches])


def convolve(values: np.ndarray, taps: Sequence[np.ndarray]) -> np.ndarray:
    """Values convolved along each axis with taps of their own, an odd number each, float32; the border goes on outside."""
    planes = values.astype(np.float32, copy=False).reshape(-1, *values.shape[-2:])
    smooth = np.empty(planes.shape, np.float32)
    for z, plane in enumerate(planes):
        cv2.sepFilter2D(plane, cv2.CV_32F, taps[-1], taps[-2], smooth[z], borderType=cv2.BORDER_REPLICATE)
    if values.ndim == 2:
        plane_smoothed: np.ndarray = smooth[0]
        return plane_smoothed
    reach = len(taps[0]) // 2
    places = np.arange(len(smooth))
    summed = np.zeros(smooth.shape, np.float32)
    for tap, offset in zip(taps[0], range(-reach, reach + 1), strict=True):
        summed += np.float32(tap) * smooth[np.clip(places + offset, 0, len(smooth) - 1)]
    return summed


def _gaussian_taps(sigma: float) -> np.ndarray:
    reach = math.ceil(_REACH * sigma)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    normalized: np.ndarray = taps / taps.sum()
    return normalized


def median(values: np.ndarray) -> np.ndarray:
    """The median of 3 x 3 pixels of each plane, float32."""
    planes = values.astype(np.float32, copy=False).reshape(-1, *values.shape[-2:])
    return np.stack([cv2.medianBlur(plane, 3) for plane in planes]).reshape(values.shape)


def triangle_threshold(values: np.ndarray) -> float:
    """The threshold farthest below the line from the peak of the histogram of 256 bins to its farther end.

    The ends are the 1st and the 99th percentile. Source: Zack, Rogers and Latt, Automatic measurement of sister chromatid
    exchange frequency, J Histochem Cytochem 25(7), 1977.

    Raises:
        ValueError: All values are the same, or too far apart to be counted in bins.
    """
    low, high = float(values.min()), float(values.max())
    if not 0 < high - low < math.inf:
        raise ValueError("no threshold divides values that do not differ")
    width = (high - low) * (1 + 1 / (100 * _BINS)) / _BINS  # ITK widens the last bin by a hundredth of one
    bins = np.minimum(((values.astype(np.float64) - low) / width).astype(np.int64), _BINS - 1)
    counts = np.bincount(bins.ravel(), minlength=_BINS).astype(np.float64)
    total = counts.cumsum()
    peak = int(counts.argmax())
    first, last = (int(np.argmax(total > share * total[-1])) for share in (_PERCENTILE, 1 - _PERCENTILE))
    if abs(peak - first) > abs(peak - last):
        places = np.arange(first, peak)
        line = counts[peak] * (places - first) / (peak - first)
    else:
        places = np.arange(peak, last)
        line = counts[peak] * (1 - (places - peak) / max(1, last - peak))
    best = int(places[int((line - counts[places]).argmax())]) if places.size else peak
    return low + (best + 1.5) * width
