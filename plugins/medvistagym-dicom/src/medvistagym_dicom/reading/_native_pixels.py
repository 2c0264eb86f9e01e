"""Uncompressed pixel data as arrays of stored values (PS3.5 section 8)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from medvistagym_dicom.reading._color import ycbcr_to_rgb
from medvistagym_dicom.reading._dataset import DicomDataset
from medvistagym_dicom.reading._errors import DicomError
from medvistagym_dicom.reading._pixel_format import PixelFormat

if TYPE_CHECKING:
    import numpy as np


def read_native_pixels(dataset: DicomDataset, pixel_format: PixelFormat) -> np.ndarray:
    """Stored values `(frames, rows, columns)`, or RGB `(frames, rows, columns, 3)`, in the type of the format; maybe read-only.

    Bits that are not stored are cleared and signs extended; YBR colours are converted to RGB, palette colours stay indices.

    Raises:
        DicomError: The data are cut off, or stored in a way that is not supported.
    """
    import numpy as np

    name, element = dataset.source.name, dataset.pixel_data
    assert element is not None
    raw, is_halved = _read_samples(dataset, pixel_format)
    if pixel_format.bits_allocated == 1:
        return np.unpackbits(raw, bitorder="little", count=_pixels(pixel_format)).reshape(pixel_format.shape)
    order = "<" if dataset.is_little_endian else ">"
    values = raw.view(order + pixel_format.dtype) if raw.dtype == np.uint8 else raw
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if not pixel_format.is_float:
        values = extract_stored_bits(values, pixel_format)
    if is_halved:
        quads = values.reshape(-1, 4)
        values = np.stack([quads[:, [0, 2, 3]], quads[:, [1, 2, 3]]], 1)
    elif pixel_format.is_planar:
        values = np.moveaxis(values.reshape(pixel_format.frames, 3, pixel_format.rows, pixel_format.columns), 1, -1)
    values = values.reshape(pixel_format.shape)
    if not pixel_format.photometric.startswith("YBR"):
        return values
    if pixel_format.photometric not in ("YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422") or pixel_format.is_signed:
        text = f"uncompressed {pixel_format.photometric} with {pixel_format.bits_allocated} bits is not supported"
        raise DicomError("unsupported", f"{name}: {text}")
    return ycbcr_to_rgb(values, pixel_format.bits_stored, is_partial="PARTIAL" in pixel_format.photometric)


def _pixels(pixel_format: PixelFormat) -> int:
    return pixel_format.rows * pixel_format.columns * pixel_format.frames * pixel_format.samples


def _read_samples(dataset: DicomDataset, pixel_format: PixelFormat) -> tuple[np.ndarray, bool]:
    """The bytes of the samples, and whether two luminances share a pair of chrominances (4:2:2)."""
    import numpy as np

    element = dataset.pixel_data
    assert element is not None
    assert element.length is not None
    count, allocated = _pixels(pixel_format), pixel_format.bits_allocated
    is_halved = pixel_format.photometric.endswith("_422") and element.length < count * allocated // 8
    if is_halved:
        count = count // 3 * 2
    need = (count * allocated + 7) // 8
    # Bytes of OW lie in words of two, swapped in a big-endian file (PS3.5 7.3).
    is_swapped = not dataset.is_little_endian and element.vr == "OW" and allocated in (1, 8)
    padded = need + need % 2 if is_swapped else need
    with contextlib.closing(dataset.source.open()) as stream:
        stream.seek(element.offset)
        data = stream.read(min(padded, element.length))
    if len(data) < need:
        held = f"its pixel data hold {len(data)} of the {need} bytes that its header promises"
        raise DicomError("truncated", f"{dataset.source.name}: {held}")
    raw = np.frombuffer(data, np.uint8)
    if is_swapped and len(raw) % 2 == 0:
        raw = raw.reshape(-1, 2)[:, ::-1].reshape(-1)
    return raw[:need], is_halved


def extract_stored_bits(values: np.ndarray, pixel_format: PixelFormat) -> np.ndarray:
    """Values of the stored bits alone, with the sign extended."""
    right = pixel_format.bits_allocated - pixel_format.bits_stored
    if not right:
        return values
    return (values << (pixel_format.bits_allocated - 1 - pixel_format.high_bit)) >> right
