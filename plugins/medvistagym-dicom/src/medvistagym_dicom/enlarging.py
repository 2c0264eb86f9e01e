"""Parts of an image, enlarged."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import TYPE_CHECKING, Final

from medvistagym_core import buffers
from medvistagym_core.image import Image

if TYPE_CHECKING:
    import numpy as np

_SMALL: Final = 2**16


def enlarged(part: Image, height: int, width: int, source: Image) -> Image:
    """A part of `source` resampled to `(height, width)`: bilinear where it grows, area average where it shrinks.

    OpenCV does it in float32, five times as fast as Pillow, which does it in float64; they differ by a millionth of the range
    of values. Pillow keeps what OpenCV cannot take, what shrinks, and images of at most 256 x 256 pixels, where the time is
    not worth a bit.
    """
    h, w = part.shape
    grows = height >= h and width >= w
    plain = (
        part.pixels.dtype.kind in "iu" and not part.is_stack
    )  # floats may hold NaN, which each spreads in its own way
    if not grows or not plain or source.shape[0] * source.shape[1] <= _SMALL:
        return part.resized(height, width)
    return part.resized(height, width, _bilinear)


def _bilinear(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    import numpy as np

    cv2 = _opencv()
    values = buffers.empty((height, width, *pixels.shape[2:]), np.float32)
    cv2.resize(pixels.astype(np.float32), (width, height), values, interpolation=cv2.INTER_LINEAR)
    return values


@functools.cache
def _opencv() -> ModuleType:
    """OpenCV, on the thread that calls it: the executor runs calls side by side, and its own threads would fight those."""
    import cv2

    cv2.setNumThreads(1)
    return cv2
