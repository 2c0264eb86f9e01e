"""Overlay planes: graphics over the first frame (PS3.3 C.9.2)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from medvistagym_dicom.reading._dataset import DicomDataset
from medvistagym_dicom.reading._errors import DicomError
from medvistagym_dicom.reading._native_pixels import read_native_pixels
from medvistagym_dicom.reading._pixel_format import NATIVE_SYNTAXES, PixelFormat
from medvistagym_dicom.reading._tag_allowlist import OVERLAY_GROUPS

if TYPE_CHECKING:
    import numpy as np


def overlay_graphics(dataset: DicomDataset, pixel_format: PixelFormat) -> np.ndarray | None:
    """All overlay planes of the first frame united, as `(rows, columns)` booleans; None when there is none."""
    import numpy as np

    united = np.zeros((pixel_format.rows, pixel_format.columns), bool)
    has_graphics = False
    for group in OVERLAY_GROUPS:
        plane = _plane(dataset, pixel_format, group)
        if plane is None:
            continue
        rows, columns = plane.shape
        origin = dataset.numbers(f"OverlayOrigin{group:04X}")
        top, left = (int(origin[0]) - 1, int(origin[1]) - 1) if len(origin) == 2 else (0, 0)
        y0, x0 = max(0, top), max(0, left)
        y1, x1 = min(pixel_format.rows, top + rows), min(pixel_format.columns, left + columns)
        if y0 < y1 and x0 < x1:
            united[y0:y1, x0:x1] |= plane[y0 - top : y1 - top, x0 - left : x1 - left]
            has_graphics = True
    return united if has_graphics else None


def _plane(dataset: DicomDataset, pixel_format: PixelFormat, group: int) -> np.ndarray | None:
    import numpy as np

    rows, columns = dataset.integer(f"OverlayRows{group:04X}", 0), dataset.integer(f"OverlayColumns{group:04X}", 0)
    if rows < 1 or columns < 1:
        return None
    if f"OverlayData{group:04X}" in dataset:
        data = dataset.leading_bytes(f"OverlayData{group:04X}", (rows * columns + 7) // 8)
        if len(data) * 8 < rows * columns:
            return None
        bits = np.unpackbits(np.frombuffer(data, np.uint8), count=rows * columns, bitorder="little")
        return bits.reshape(rows, columns).astype(bool)
    return _embedded_plane(dataset, pixel_format, group)


def _embedded_plane(dataset: DicomDataset, pixel_format: PixelFormat, group: int) -> np.ndarray | None:
    """A plane in a bit of the pixels that carries no value, as objects of before 2004 have it (PS3.5 8.1.2)."""
    position = dataset.integer(f"OverlayBitPosition{group:04X}", 0)
    lowest = pixel_format.high_bit - pixel_format.bits_stored + 1
    is_free = pixel_format.high_bit < position < pixel_format.bits_allocated or 0 <= position < lowest
    is_native = dataset.transfer_syntax in NATIVE_SYNTAXES and not pixel_format.is_float and pixel_format.samples == 1
    if not is_free or not is_native or dataset.pixel_data is None or dataset.pixel_data.length is None:
        return None
    whole = dataclasses.replace(
        pixel_format, frames=1, bits_stored=pixel_format.bits_allocated, high_bit=pixel_format.bits_allocated - 1
    )
    try:
        words = read_native_pixels(dataset, whole)[0]
    except DicomError:
        return None
    plane: np.ndarray = (words >> position & 1).astype(bool)
    return plane
