"""Connected components of masks and what they enclose.

Components are connected by faces. Planes go through the kernels in C where they are installed, else through OpenCV; volumes go
through cc3d.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from medvistagym_core.imaging import Image, native_kernels, pooled_empty
from medvistagym_segment.segmenters._filters import pixel_spacing
from medvistagym_segment.segmenters._labels import label_components

_SPECK_MM: Final = 6.0  # a smaller component than a cube, or square, of this side is dropped


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest component of a mask `(H, W)` or `(N, H, W)`; of equal ones the first."""
    if mask.ndim == 3:
        labels = label_components(mask)
        sizes = np.bincount(labels.ravel())[1:]
        first: np.ndarray = labels == 1 + int(sizes.argmax()) if sizes.size else np.zeros(mask.shape, bool)
        return first
    if (c := native_kernels()) is not None:
        component = pooled_empty(mask.shape, bool)
        c.largest(np.ascontiguousarray(mask, bool), component)
        return component
    plane = pooled_empty(mask.shape, np.int32)
    count, _ = cv2.connectedComponents(mask.astype(bool, copy=False).view(np.uint8), plane, 4, cv2.CV_32S)
    if count < 2:
        return np.zeros(mask.shape, bool)
    sizes = np.bincount(plane.ravel())[1:]
    largest: np.ndarray = plane == 1 + int(sizes.argmax())
    return largest


def keep_large_components(mask: np.ndarray, image: Image, min_share: float) -> np.ndarray:
    """The components of a mask that are at least `min_share` of the largest, and no specks."""
    labels = label_components(mask)
    sizes = np.bincount(labels.ravel())
    if len(sizes) < 2:
        return np.zeros(mask.shape, bool)
    sizes[0], largest = 0, int(sizes[1:].max())
    speck = _SPECK_MM**mask.ndim / float(np.prod(pixel_spacing(image)))
    large: np.ndarray = (sizes >= max(min_share * largest, min(speck, largest)))[labels]
    return large


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """A mask with its holes filled, slice by slice: in 3-D the airways would leave the lungs open."""
    return np.stack([_fill_holes_2d(plane) for plane in mask]) if mask.ndim == 3 else _fill_holes_2d(mask)


def _fill_holes_2d(mask: np.ndarray) -> np.ndarray:
    if (c := native_kernels()) is not None:
        filled = pooled_empty(mask.shape, bool)
        c.filled(np.ascontiguousarray(mask, bool), filled)
        return filled
    rimmed = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.uint8)
    rimmed[1:-1, 1:-1] = mask
    cv2.floodFill(rimmed, None, (0, 0), 2)
    not_outside: np.ndarray = rimmed[1:-1, 1:-1] != 2
    return not_outside
