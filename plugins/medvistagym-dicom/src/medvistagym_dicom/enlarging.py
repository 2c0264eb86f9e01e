"""Parts of an image, enlarged."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from medvistagym_core.imaging import Image, is_supported_array, native_kernels, pooled_empty

if TYPE_CHECKING:
    import numpy as np

_SMALL: Final = 2**16


def enlarged(part: Image, height: int, width: int, source: Image) -> Image:
    """A part of `source` resampled to `(height, width)`: bilinear where it grows, area average where it shrinks.

    Whole numbers that grow are interpolated here, in float32: the same bits on every machine, with and without the kernels in
    C. Pillow, which does it in float64 and five times as slowly, keeps floats, which may hold NaN, what shrinks, and images of
    at most 256 x 256 pixels, where the time is not worth a bit; they differ by a millionth of the range of values.
    """
    h, w = part.shape
    grows = height >= h and width >= w
    plain = is_supported_array(part.pixels) and not part.is_stack
    if not grows or not plain or source.shape[0] * source.shape[1] <= _SMALL:
        return part.resized(height, width)
    return part.resized(height, width, bilinear)


def bilinear(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Integers `(H, W)` or `(H, W, 3)` of 8 or 16 bits, interpolated: float32 of that height and width, both no smaller.

    Pixel centres lie at halves, as in OpenCV and torch; beyond those of the edges the edge goes on.
    """
    import numpy as np

    values = pooled_empty((height, width, *pixels.shape[2:]), np.float32)
    c = native_kernels()
    if c is not None and pixels.ndim == 2 and pixels.strides[1] == pixels.itemsize:
        c.enlarge(pixels, values)
        return values
    lines = _between(pixels.astype(np.float32), 1, width)
    return _between(lines, 0, height, values)


def _between(values: np.ndarray, axis: int, length: int, out: np.ndarray | None = None) -> np.ndarray:
    """Values interpolated along an axis, to a length of it."""
    import numpy as np

    before, after, beyond = _places(values.shape[axis], length)
    beyond = beyond.reshape(-1, *(1,) * (values.ndim - 1 - axis))
    kept, added = values.take(before, axis, out, "clip"), values.take(after, axis, mode="clip")
    kept *= np.float32(1) - beyond
    added *= beyond
    kept += added
    return kept


@functools.lru_cache(maxsize=64)
def _places(short: int, long: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each place of a longer line lies on a shorter one: the places before and after it, and how far beyond the first."""
    import numpy as np

    at = (np.arange(long) + 0.5) * (1 / (long / short)) - 0.5
    before = np.floor(at)
    beyond = (at - before).astype(np.float32)
    beyond[(before < 0) | (before >= short - 1)] = 0
    place = np.clip(before, 0, short - 1).astype(np.intp)
    return place, np.minimum(place + 1, short - 1), beyond
