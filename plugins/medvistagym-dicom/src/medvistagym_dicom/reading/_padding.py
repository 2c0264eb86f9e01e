"""Pixels that stand for "nothing here", and the values that they have after rescaling (PS3.3 C.7.5.1.1.2)."""

from __future__ import annotations

from medvistagym_dicom.reading._dataset import DicomDataset
from medvistagym_dicom.reading._pixel_format import PixelFormat


def stored_padding_range(dataset: DicomDataset, pixel_format: PixelFormat) -> tuple[float, float] | None:
    """Least and greatest stored value of padding; None where there is none."""
    if pixel_format.samples != 1 or pixel_format.photometric == "PALETTE COLOR":
        return None
    if pixel_format.is_float:
        prefix = "DoubleFloat" if pixel_format.bits_allocated == 64 else "Float"
        value = dataset.number(f"{prefix}PixelPaddingValue")
        limit = dataset.number(f"{prefix}PixelPaddingRangeLimit")
        return None if value is None else _order(value, value if limit is None else limit)
    value, limit = dataset.number("PixelPaddingValue"), dataset.number("PixelPaddingRangeLimit")
    if value is None or abs(value) > 65535:
        return None
    return _order(_as_stored(value, pixel_format), _as_stored(value if limit is None else limit, pixel_format))


def _order(a: float, b: float) -> tuple[float, float]:
    return (a, b) if a <= b else (b, a)


def _as_stored(value: float, pixel_format: PixelFormat) -> float:
    """A padding value as a stored one: writers give it the wrong sign, or more bits than are stored."""
    if not float(value).is_integer():
        return value
    span = 1 << pixel_format.bits_stored
    low = -span // 2 if pixel_format.is_signed else 0
    if low <= value < low + span or (value < 0 and pixel_format.is_signed):
        return value
    return float((int(value) - low) % span + low)
