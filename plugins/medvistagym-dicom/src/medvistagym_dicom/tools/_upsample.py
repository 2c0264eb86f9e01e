"""Enlarging a part of an image by bilinear interpolation."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from medvistagym_core.imaging import Image, is_supported_array, native_kernels, pooled_empty
from medvistagym_dicom.reformatting import resize_around_padding

if TYPE_CHECKING:
    import numpy as np

_MAX_PILLOW_PIXELS: Final = 2**16


def upsample(crop: Image, height: int, width: int, source: Image) -> Image:
    """A part of `source` resampled to `(height, width)`: bilinear where it grows, area average where it shrinks.

    Values are not mixed with padding.

    Integers that grow are interpolated here, in float32: the same bits on every machine, with and without the kernels in C.
    Pillow, which computes in float64 and takes five times as long, keeps floats, which may hold NaN, what shrinks, and images
    of at most 256 x 256 pixels, where the time saved does not matter; the two differ by a millionth of the range of values.

    Args:
        crop: What is resampled: a frame, or a stack, whose frames are resampled each for itself.
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        source: The image that `crop` was cut from; its size decides whether Pillow does the work.
    """
    around_padding = resize_around_padding(crop, height, width)
    if around_padding is not None:
        return around_padding
    h, w = crop.shape
    grows = height >= h and width >= w
    is_plain = is_supported_array(crop.pixels) and not crop.is_stack
    if not grows or not is_plain or source.shape[0] * source.shape[1] <= _MAX_PILLOW_PIXELS:
        return crop.resized(height, width)
    return crop.resized(height, width, resize_bilinear)


def resize_bilinear(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Integers `(H, W)` or `(H, W, 3)` of 8 or 16 bits, interpolated: float32 of that height and width, both no smaller.

    Pixel centres lie at halves, as in OpenCV and torch; beyond the outermost centres the edge values are repeated.
    """
    import numpy as np

    values = pooled_empty((height, width, *pixels.shape[2:]), np.float32)
    c = native_kernels()
    if c is not None and pixels.ndim == 2 and pixels.strides[1] == pixels.itemsize:
        c.enlarge(pixels, values)
        return values
    lines = _interpolate_axis(pixels.astype(np.float32), 1, width)
    return _interpolate_axis(lines, 0, height, values)


def _interpolate_axis(values: np.ndarray, axis: int, length: int, out: np.ndarray | None = None) -> np.ndarray:
    """Values interpolated along an axis, to a length of it."""
    import numpy as np

    before, after, fraction = _axis_weights(values.shape[axis], length)
    fraction = fraction.reshape(-1, *(1,) * (values.ndim - 1 - axis))
    result, second = values.take(before, axis, out, "clip"), values.take(after, axis, mode="clip")
    result *= np.float32(1) - fraction
    second *= fraction
    result += second
    return result


@functools.lru_cache(maxsize=64)
def _axis_weights(short: int, long: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each position of a longer line: the indices before and after it on a shorter one, and the weight of the second."""
    import numpy as np

    at = (np.arange(long) + 0.5) * (1 / (long / short)) - 0.5
    before = np.floor(at)
    fraction = (at - before).astype(np.float32)
    fraction[(before < 0) | (before >= short - 1)] = 0
    index = np.clip(before, 0, short - 1).astype(np.intp)
    return index, np.minimum(index + 1, short - 1), fraction
