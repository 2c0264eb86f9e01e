"""How a DICOM object asks to be displayed: its windows, its lookup table, a window if it has neither, its overlay graphics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from medvistagym_core.imaging import LookupTable, Window
from medvistagym_dicom import attributes as facts
from medvistagym_dicom.errors import DicomError
from medvistagym_dicom.geometry import macro
from medvistagym_dicom.header import Header
from medvistagym_dicom.pixels import Layout
from medvistagym_dicom.values import entries_of, scale

if TYPE_CHECKING:
    import numpy as np

_TABLES: Final = 16  # of a file are looked at in search of a whole one


def windows_of(header: Header, frame: int) -> tuple[Window, ...]:
    """Valid windows of a file; of the given frame where frames have their own (PS3.3 C.11.2.1.2)."""
    own = macro(header, frame, "FrameVOILUTSequence")
    source = own if own.numbers("WindowCenter") else header
    function = {"LINEAR_EXACT": "linear_exact", "SIGMOID": "sigmoid"}.get(
        source.word("VOILUTFunction").upper(), "linear"
    )
    names = source.words("WindowCenterWidthExplanation")
    windows = []
    for k, (center, width) in enumerate(
        zip(source.numbers("WindowCenter"), source.numbers("WindowWidth"), strict=False)
    ):
        name = names[k].upper() if k < len(names) else ""
        # Widths below 1, against the standard, are common with fractional values; only the exact function can take them.
        kind = "linear_exact" if function == "linear" and 0 < width < 1 else function
        if 1e-30 < width < 1e30 and abs(center) < 1e30:
            windows.append(Window(center, width, kind, name.lower() if name in facts.WINDOW_NAMES else None))  # type: ignore[arg-type]
    return tuple(windows)


def tables_of(header: Header, frame: int) -> list[Header]:
    """VOI lookup tables of a file, whole or damaged; of the given frame where frames have their own."""
    return macro(header, frame, "FrameVOILUTSequence").items("VOILUTSequence") or header.items("VOILUTSequence")


def table_of(header: Header, shape: Layout, frame: int) -> LookupTable | None:
    """The first VOI lookup table of a file that is whole (PS3.3 C.11.2.1.1); None where there is none.

    Its output goes up to the most that its bits can hold, or to its greatest entry if that is more than they can, or if
    their number is impossible. A table of one level only shows nothing and does not count.
    """
    for table in tables_of(header, frame)[:_TABLES]:
        descriptor, data = table.numbers("LUTDescriptor"), table.raw("LUTData")
        try:
            signed = len(descriptor) == 3 and _is_signed(descriptor[1], *_possible(header, shape, frame))
            first, entries = entries_of(descriptor, data, signed=signed, little=table.little, name="")
        except DicomError:
            continue
        least, greatest, bits = int(entries.min()), int(entries.max()), int(descriptor[2])
        if least < greatest:
            top = 2**bits - 1 if 1 <= bits <= 16 else 0
            return LookupTable(first, entries.astype("<u2").tobytes(), max(top, greatest), "lookup table")
    return None


def _is_signed(first: float, least: float, greatest: float) -> bool:
    """Whether the first value that a VOI lookup table maps, read as unsigned, is meant as signed.

    It is where values can be negative, unless it would lie below all of them as signed and among them as it was read.

    Args:
        first: As it was read.
        least: The least value that can be.
        greatest: The greatest one.
    """
    return least < 0 and (first > greatest or first - 65536 >= least)


def _possible(header: Header, shape: Layout, frame: int) -> tuple[float, float]:
    """The least and the greatest value that the modality transformation can give."""
    if shape.floating:
        return -math.inf, math.inf
    if header.items("ModalityLUTSequence"):
        return 0.0, 65535.0
    transform = macro(header, frame, "PixelValueTransformationSequence")
    slope, intercept = scale(transform if transform.numbers("RescaleSlope") else header)
    span = 2.0**shape.stored
    least = -span / 2 if shape.signed else 0.0
    low, high = sorted((slope * least, slope * (least + span - 1)))
    return low + intercept, high + intercept


def default_window(header: Header, shape: Layout, values: np.ndarray, unit: str) -> Window | None:
    """A window for a file without one and without a lookup table: 40/400 for HU, the whole of a bit mask, none for 8-bit greys,
    otherwise the 0.5th to 99.5th percentile of the values that are not padding.
    """
    import numpy as np

    if unit == "HU":
        return Window(40, 400, name="soft tissue")
    if shape.allocated == 1:
        return Window(0.5, 1, "linear_exact", "mask")
    if values.dtype == np.uint8:
        return None
    flat = values.reshape(-1)
    flat = flat[:: max(1, flat.size // 500_000)]
    flat = flat[np.isfinite(flat)]
    padding = padding_of(header, shape)
    if padding is not None and values.dtype.kind != "f":
        low, high = padding
        kept = flat[(flat < low) | (flat > high)]
        flat = kept if kept.size else flat
    if flat.size == 0:
        return Window(0.5, 1, "linear_exact", "percentile")
    low, high = (float(v) for v in np.percentile(flat, (0.5, 99.5)))
    if high <= low:
        low, high = float(flat.min()), float(flat.max())
    return Window((low + high) / 2, (high - low) or 1.0, "linear_exact", "percentile")


def padding_of(header: Header, shape: Layout) -> tuple[float, float] | None:
    """Least and greatest value that stands for "nothing here" after rescaling (PS3.3 C.7.5.1.1.2); None where there is none."""
    padding = header.numbers("PixelPaddingValue")
    if not padding or shape.floating or header.items("ModalityLUTSequence") or abs(padding[0]) > 65535:
        return None
    slope, intercept = scale(header)
    edge = (header.numbers("PixelPaddingRangeLimit") or padding)[0]
    low, high = sorted(_signed(v, shape) * slope + intercept for v in (padding[0], edge))
    return low, high


def _signed(value: float, shape: Layout) -> float:
    return value - 65536 if shape.signed and value > 32767 else value


def overlay_of(header: Header, shape: Layout) -> np.ndarray | None:
    """All overlay planes of the first frame united, as `(rows, columns)` booleans (PS3.3 C.9.2); None when there is none."""
    import numpy as np

    united = np.zeros((shape.rows, shape.columns), bool)
    found = False
    for group in range(0x6000, 0x6020, 2):
        rows, columns = header.integer(f"OverlayRows{group:04X}", 0), header.integer(f"OverlayColumns{group:04X}", 0)
        data = header.raw(f"OverlayData{group:04X}")
        if rows < 1 or columns < 1 or len(data) * 8 < rows * columns:
            continue
        plane = np.unpackbits(np.frombuffer(data, np.uint8), count=rows * columns, bitorder="little").reshape(
            rows, columns
        )
        origin = header.numbers(f"OverlayOrigin{group:04X}")
        top, left = (int(origin[0]) - 1, int(origin[1]) - 1) if len(origin) == 2 else (0, 0)
        y0, x0 = max(0, top), max(0, left)
        y1, x1 = min(shape.rows, top + rows), min(shape.columns, left + columns)
        if y0 < y1 and x0 < x1:
            united[y0:y1, x0:x1] |= plane[y0 - top : y1 - top, x0 - left : x1 - left].astype(bool)
            found = True
    return united if found else None
