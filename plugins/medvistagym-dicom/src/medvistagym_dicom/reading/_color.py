"""YCbCr to RGB (PS3.3 C.7.6.3.1.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvistagym_dicom.reading._blocks import row_blocks

if TYPE_CHECKING:
    import numpy as np


def ycbcr_to_rgb(values: np.ndarray, bits: int, *, is_partial: bool = False) -> np.ndarray:
    """YCbCr `(..., 3)` of unsigned integers as RGB of the same type.

    Args:
        values: Luminance and the two chrominances.
        bits: Bits of a sample; chrominance zero is in the middle of their range.
        is_partial: Whether luminance goes from 16 to 235 and chrominance from 16 to 240 (of 8 bits; ITU-R BT.601), as in
            YBR_PARTIAL_422, and not over the full range.
    """
    import numpy as np

    top, middle = float(2**bits - 1), float(2 ** (bits - 1))
    out = np.empty(values.shape, values.dtype)
    for block, converted in row_blocks(values, out, 3):
        y, cb, cr = (block[..., k].astype(np.float32) for k in range(3))
        cb -= middle
        cr -= middle
        if is_partial:
            y = (y - 16 * middle / 128) * (255 / 219)
            cb *= 255 / 224
            cr *= 255 / 224
        for k, colour in enumerate((y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb)):
            converted[..., k] = np.clip(np.rint(colour), 0, top)
    return out
