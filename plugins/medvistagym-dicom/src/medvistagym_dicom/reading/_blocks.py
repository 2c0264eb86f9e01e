"""Arrays in blocks of rows, so that what is computed on the way takes little memory however large an image is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np

_BLOCK_PIXELS: Final = 1 << 20


def row_blocks(source: np.ndarray, target: np.ndarray, pixel_axes: int = 2) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Views of the same rows of two arrays that agree in all axes up to the columns.

    Args:
        source: `(..., rows, columns)` and whatever follows.
        target: The same, of any type and with any axes behind the columns; contiguous, since it is written to.
        pixel_axes: 2, or 3 where both have a last axis of colours.
    """
    ends = pixel_axes - 2
    columns_axis = source.ndim - 1 - ends
    columns = source.shape[columns_axis]
    lines = source.reshape(-1, *source.shape[columns_axis:])
    out = target.reshape(-1, *target.shape[columns_axis:])
    step = max(1, _BLOCK_PIXELS // max(1, columns))
    for first in range(0, len(lines), step):
        yield lines[first : first + step], out[first : first + step]
