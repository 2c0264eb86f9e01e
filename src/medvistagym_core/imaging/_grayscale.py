"""Grey levels of values: the arithmetic behind every picture, in passes that stay in the cache.

Whole numbers of 8 or 16 bits go through a table of all their values, which is the formula applied to each of them, so that both
give the same bits. Everything else goes through the formula a tile at a time, in a buffer that is used again. The formula is
that of a window or of a lookup table (`Display`).

OpenCV's table lookup is a little faster than twice a loop written for the purpose, numpy's five times; OpenCV is used where it
is loaded already, or where there are enough pictures to pay for loading it. A lookup has only one right result. Where the
kernels in C are installed (`native`), they apply the formula, and for windows a product that was found to give the bits of the
table.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, Literal

from medvistagym_core.imaging._native import is_supported_array, native_kernels

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from typing import Protocol

    import numpy as np

    Lookup = Callable[[np.ndarray, np.ndarray, np.ndarray], object]

    class Display(Hashable, Protocol):
        """What gives a grey level to any value."""

        @property
        def affine(self) -> tuple[float, float] | None:
            """What is taken from a value and what that is divided by, where the level is 255 times half more than that."""

        def apply_inplace(self, values: np.ndarray) -> None:
            """Replace float32 values by grey levels in 0 to 255, not rounded; NaN becomes 0."""


Function = Literal["linear", "linear_exact", "sigmoid"]
OPENCV_MIN_BATCH: Final = 8
"""So many pictures at once are worth loading OpenCV for."""
_TILE: Final = 2**16
_LUT_MIN_PIXELS: Final = 2**14  # for fewer pixels than this the formula is quicker than making a table
_KERNEL: Final = 2**17  # OpenCV shares work of 2**18 pixels among its own threads, and those are the executor's to give
_thread_buffers: Final = threading.local()


def apply_window_inplace(values: np.ndarray, center: float, width: float, function: Function) -> None:
    """Replace float32 values by grey levels in 0 to 255, not rounded; NaN becomes 0.

    Source: DICOM PS3.3 C.11.2.1.2 (linear), C.11.2.1.3.2 (linear exact), C.11.2.1.3.1 (sigmoid).
    """
    import numpy as np

    y = values
    # What leaves float32's range on the way is black or white in the end.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        c, w = np.float32(center), np.float32(width)
        if function == "sigmoid":
            np.subtract(y, c, out=y)
            np.multiply(y, np.float32(-4), out=y)
            np.divide(y, w, out=y)
            np.exp(y, out=y)
            np.add(y, np.float32(1), out=y)
            np.divide(np.float32(255), y, out=y)
        elif function == "linear" and w == 1:
            np.copyto(y, np.where(y > c - np.float32(0.5), np.float32(255), np.float32(0)))
        else:
            exact = function == "linear_exact"
            np.subtract(y, c if exact else c - np.float32(0.5), out=y)
            np.divide(y, w if exact else w - np.float32(1), out=y)
            np.add(y, np.float32(0.5), out=y)
            np.multiply(y, np.float32(255), out=y)
    _clip(y)


def apply_display(values: np.ndarray, display: Display) -> np.ndarray:
    """Float32 grey levels in 0 to 255 of values of any shape, not rounded; NaN becomes 0."""
    import numpy as np

    with np.errstate(over="ignore"):
        grey: np.ndarray = np.array(values, np.float32)
    display.apply_inplace(grey)
    return grey


def render_display(values: np.ndarray, out: np.ndarray, display: Display, *, inverted: bool) -> None:
    """Grey levels of values of any real dtype by a window or a lookup table, rounded to `out`, uint8 of the same shape."""
    if _is_small_integer(values) and values.size >= _LUT_MIN_PIXELS:
        product = _exact_affine(display, values.dtype.str)
        if product is None or not _try_native(values, out, *product, linear=False, inverted=inverted):
            _look_up(values, out, _table(display, values.dtype.str, inverted))
        return
    line = display.affine
    if line is not None and _try_native(values, out, *line, linear=True, inverted=inverted):
        return
    for tile, target in _tiles(values, out):
        display.apply_inplace(tile)
        _quantize(tile, target, inverted)


def render_min_max(values: np.ndarray, out: np.ndarray, low: float, high: float, *, inverted: bool) -> None:
    """Grey levels of values, the least of which is `low` and the greatest `high`, rounded to `out`; NaN becomes 0."""
    import numpy as np

    scale = float(np.float32(255 / (high - low) if high > low else 0.0))
    if _try_native(values, out, low, scale, linear=False, inverted=inverted):
        return
    kind = values.dtype
    if _is_small_integer(values) and values.size >= 2 * (high - low) + _LUT_MIN_PIXELS:
        span_ = np.arange(int(low), int(high) + 1).astype(kind)
        table = np.zeros(2 ** (8 * kind.itemsize), np.uint8)
        levels = np.empty(span_.shape, np.uint8)
        render_min_max(span_.astype(np.float32), levels, low, high, inverted=inverted)
        table[span_.view(f"u{kind.itemsize}")] = levels
        _look_up(values, out, table)
        return
    for tile, target in _tiles(values, out):
        with np.errstate(invalid="ignore", over="ignore"):
            np.subtract(tile, np.float32(low), out=tile)
            np.multiply(tile, np.float32(scale), out=tile)
        _clip(tile)
        _quantize(tile, target, inverted)


def finite_range(values: np.ndarray) -> tuple[float, float]:
    """The least and the greatest finite value, rounded to float32; 0 and 1 where there is none."""
    import numpy as np

    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            values = values.astype(np.float32, copy=False)
        low, high = float(values.min()), float(values.max())
        if np.isfinite(low) and np.isfinite(high):
            return low, high
        values = values[np.isfinite(values)]
        if not values.size:
            return 0.0, 1.0
    return float(np.float32(values.min())), float(np.float32(values.max()))


def render_rounded(values: np.ndarray, out: np.ndarray, *, inverted: bool) -> None:
    """Values that are grey levels already, 0 to 255, rounded to `out`."""
    import numpy as np

    if values.dtype == np.uint8:
        np.subtract(255, values, out=out) if inverted else np.copyto(out, values)
        return
    for tile, target in _tiles(values, out):
        _quantize(tile, target, inverted)


def load_opencv() -> None:
    """Make table lookups as fast as they can be, where OpenCV is installed."""
    if importlib.util.find_spec("cv2"):
        import cv2  # noqa: F401


def _is_small_integer(values: np.ndarray) -> bool:
    """Whether a table of all values of its dtype is of a size to be made."""
    return values.dtype.kind in "iu" and values.dtype.itemsize <= 2 and values.dtype.isnative


def _try_native(values: np.ndarray, out: np.ndarray, low: float, scale: float, *, linear: bool, inverted: bool) -> bool:
    """Whether a kernel in C has written the levels of a formula (`levels` there)."""
    c = native_kernels()
    if c is None or not is_supported_array(values, "hHbBf"):
        return False
    if values.flags.c_contiguous and out.flags.c_contiguous:
        values, out = values.reshape(1, -1), out.reshape(1, -1)
    elif values.ndim != 2 or values.strides[1] != values.itemsize or out.strides[1] != 1:
        return False
    c.levels(values, out, low, scale, linear, inverted)
    return True


@functools.lru_cache(maxsize=64)
def _exact_affine(display: Display, kind: str) -> tuple[float, float] | None:
    """What is taken from a value and what that is multiplied by: quicker; None if a value of the dtype gets other bits so."""
    import numpy as np

    line = display.affine
    if line is None or line[1] == 0 or native_kernels() is None:
        return None
    product = line[0] - line[1] / 2, 255 / line[1]
    every = _all_values(kind)
    levels = np.empty(every.shape, np.uint8)
    if not _try_native(every, levels, *product, linear=False, inverted=False):
        return None
    return product if np.array_equal(levels, _table(display, kind, False)) else None


def _clip(tile: np.ndarray) -> None:
    import numpy as np

    np.maximum(tile, np.float32(0), out=tile)  # several times as fast as np.fmax, which drops NaN
    np.minimum(tile, np.float32(255), out=tile)
    if tile.size and np.isnan(tile.max()):
        np.copyto(tile, np.float32(0), where=np.isnan(tile))


def _quantize(tile: np.ndarray, target: np.ndarray, inverted: bool) -> None:
    import numpy as np

    np.rint(tile, out=tile)
    np.copyto(target, tile, casting="unsafe")
    if inverted:
        np.subtract(255, target, out=target)


def _tiles(values: np.ndarray, out: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of values as float32 that may be written to, and where their levels go."""
    import numpy as np

    if values.flags.c_contiguous and out.flags.c_contiguous:
        values, out = values.reshape(-1), out.reshape(-1)
    step = max(1, _TILE * len(values) // max(1, values.size))
    size = step * (values.size // len(values))
    scratch = getattr(_thread_buffers, "buffer", None)
    if scratch is None or scratch.size < size:
        scratch = _thread_buffers.buffer = np.empty(max(size, _TILE), np.float32)
    for k in range(0, len(values), step):
        rows = values[k : k + step]
        tile = scratch[: rows.size].reshape(rows.shape)
        with np.errstate(over="ignore"):
            np.copyto(tile, rows, casting="unsafe")
        yield tile, out[k : k + step]


@functools.lru_cache(maxsize=64)
def _table(display: Display, kind: str, inverted: bool) -> np.ndarray:
    """The level of every value of a dtype, by the value's bits."""
    import numpy as np

    every = _all_values(kind)
    levels = np.empty(every.shape, np.uint8)
    for tile, target in _tiles(every, levels):
        display.apply_inplace(tile)
        _quantize(tile, target, inverted)
    levels.flags.writeable = False
    return levels


def _all_values(kind: str) -> np.ndarray:
    """All values of a dtype, by their bits."""
    import numpy as np

    dtype = np.dtype(kind)
    return np.arange(2 ** (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}").view(dtype)


def _look_up(values: np.ndarray, out: np.ndarray, table: np.ndarray) -> None:
    if not (values.ndim == 2 and values.strides[1] == values.itemsize):
        import numpy as np

        values = np.ascontiguousarray(values).reshape(len(values), -1)
    bits = values.view(f"u{values.itemsize}")
    look_up = _opencv() if "cv2" in sys.modules else None
    # A single column may be contiguous with any strides to numpy, not so to OpenCV.
    levels = out.reshape(bits.shape) if out.flags.c_contiguous and bits.shape[1] > 1 else None
    step = max(1, _KERNEL // max(1, bits.shape[1]))
    for k in range(0, len(bits), step):
        rows = bits[k : k + step]
        if look_up is not None and levels is not None:
            look_up(rows, table, levels[k : k + step])
        else:
            target = out[k : k + step]
            table.take(rows.reshape(target.shape), out=target, mode="clip")


@functools.cache
def _opencv() -> Lookup | None:
    """OpenCV's lookup, if it is there and knows tables of 16 bits."""
    import numpy as np

    try:
        import cv2

        table = np.arange(2**16, dtype=np.uint16).view(np.uint8)[::2].copy()
        probe, out = np.array([[0, 258, 65535]], np.uint16), np.empty((1, 3), np.uint8)
        cv2.LUT(probe, table, dst=out)
        if out.tolist() != [[0, 2, 255]]:
            return None
    except Exception:  # noqa: BLE001 - an OpenCV that cannot do it says so in its own ways
        return None
    lut: Any = cv2.LUT
    return lambda rows, table, target: lut(rows, table, dst=target)
