"""How a DICOM object asks to be displayed: its windows, a window where it has none, and its overlay graphics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from medvistagym_core.image import Window
from medvistagym_dicom import attributes as facts
from medvistagym_dicom.geometry import macro
from medvistagym_dicom.header import Header
from medvistagym_dicom.pixels import Layout
from medvistagym_dicom.values import scale

if TYPE_CHECKING:
    import numpy as np


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


def default_window(header: Header, shape: Layout, values: np.ndarray, unit: str, table: list[Header]) -> Window | None:
    """A window for a file without one: the one closest to its VOI lookup table, 40/400 for HU, the whole of a bit mask, none
    for 8-bit greys, otherwise the 0.5th to 99.5th percentile of the values that are not padding.
    """
    import numpy as np

    if table and len(table[0].numbers("LUTDescriptor")) == 3:
        return _closest(table[0], shape)
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


def _closest(table: Header, shape: Layout) -> Window:
    """The window that shows values most like a VOI lookup table does (PS3.3 C.11.2.1.1): over its range, or a ramp or sigmoid
    through the places where its output passes 10 % and 90 %.
    """
    import numpy as np

    count, first, bits = (int(v) for v in table.numbers("LUTDescriptor"))
    count, first = count or 65536, first - 65536 if shape.signed and first > 32767 else first
    whole = Window(first + (count - 1) / 2, max(1, count - 1), "linear_exact", "lookup table")
    data = table.raw("LUTData")
    kind = ("<u2" if table.little else ">u2") if len(data) >= 2 * count else "u1"
    wanted = np.frombuffer(data, kind)[:count].astype(np.float32)
    if len(wanted) < 2 or wanted[-1] <= wanted[0]:
        return whole
    wanted *= 255 / max(float(wanted.max()), 2.0**bits - 1 if 0 < bits <= 16 else 1.0)
    values = first + np.arange(len(wanted), dtype=np.float32)
    low, high = (float(values[np.argmax(wanted >= level)]) for level in (25.5, 229.5))
    choices = [whole]
    if wanted.max() >= 229.5 and high > low:
        center = (low + high) / 2
        choices.append(Window(center, (high - low) / 0.8, "linear_exact", "lookup table"))
        choices.append(Window(center, 2 * (high - low) / math.log(9), "sigmoid", "lookup table"))
    return min(choices, key=lambda one: float(np.abs(one.apply(values) - wanted).mean()))


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
