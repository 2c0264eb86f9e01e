"""How an object asks to be displayed: its windows, its VOI lookup table, or a window of our own if it has neither."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

from medvistagym_core.imaging import LookupTable, Window
from medvistagym_dicom.reading._dataset import DicomDataset
from medvistagym_dicom.reading._deidentified_attributes import WINDOW_NAMES
from medvistagym_dicom.reading._errors import DicomError
from medvistagym_dicom.reading._functional_groups import functional_group
from medvistagym_dicom.reading._lookup_table import read_lut
from medvistagym_dicom.reading._modality_lut import PhysicalValues, Rescale, rescale_slope_intercept
from medvistagym_dicom.reading._pixel_format import PixelFormat

if TYPE_CHECKING:
    import numpy as np

_MAX_TABLES: Final = 16  # of an object are looked at in search of a whole one
_MAX_WINDOWS: Final = 64
_MAX_NUMBER: Final = 1e30
_MAX_SAMPLES: Final = 500_000
_FUNCTIONS: Final[dict[str, Literal["linear", "linear_exact", "sigmoid"]]] = {
    "LINEAR_EXACT": "linear_exact",
    "SIGMOID": "sigmoid",
}


def voi_windows(dataset: DicomDataset, frame: int, display: Rescale) -> tuple[Window, ...]:
    """Valid windows of a frame, or of the object where frames have none of their own (PS3.3 C.11.2.1.2).

    Centers, widths and explanations belong together by their place; a pair of which one is empty is none.

    Args:
        dataset: The object.
        frame: Which frame.
        display: What turns the values that windows mean into those of the image.
    """
    own = functional_group(dataset, frame, "FrameVOILUTSequence")
    source = own if own is not None and own.numbers("WindowCenter") else dataset
    function = _FUNCTIONS.get(source.string("VOILUTFunction").upper(), "linear")
    names = source.strings("WindowCenterWidthExplanation")
    windows = []
    pairs = zip(source.components("WindowCenter"), source.components("WindowWidth"), strict=False)
    for k, (center, width) in enumerate(list(pairs)[:_MAX_WINDOWS]):
        if center is None or width is None:
            continue
        center, width = center * display.slope + display.intercept, width * abs(display.slope)
        name = names[k].upper() if k < len(names) else ""
        # Widths below 1, against the standard, are common with fractional values; only the exact function can take them.
        kind = "linear_exact" if function == "linear" and 0 < width < 1 else function
        if 1 / _MAX_NUMBER < width < _MAX_NUMBER and abs(center) < _MAX_NUMBER:
            windows.append(Window(center, width, kind, name.lower() if name in WINDOW_NAMES else None))
    return tuple(windows)


def voi_lut_items(dataset: DicomDataset, frame: int) -> list[DicomDataset]:
    """VOI lookup tables of an object, whole or damaged; of the given frame where frames have their own."""
    own = functional_group(dataset, frame, "FrameVOILUTSequence")
    return (own.items("VOILUTSequence") if own is not None else []) or dataset.items("VOILUTSequence")


def voi_lut(dataset: DicomDataset, pixel_format: PixelFormat, frame: int) -> LookupTable | None:
    """The first VOI lookup table that is whole (PS3.3 C.11.2.1.1); None where there is none.

    Its output goes up to the most that its bits can hold, or to its greatest entry if that is more than they can, or if
    their number is impossible. A table of one level only shows nothing and does not count.
    """
    for item in voi_lut_items(dataset, frame)[:_MAX_TABLES]:
        descriptor, data = item.numbers("LUTDescriptor"), item.bytes_value("LUTData")
        try:
            is_signed = len(descriptor) == 3 and _is_signed(
                descriptor[1], *_modality_output_range(dataset, pixel_format, frame)
            )
            lut = read_lut(descriptor, data, is_signed=is_signed, is_little=item.is_little_endian, name="")
        except DicomError:
            continue
        least, greatest = int(lut.entries.min()), int(lut.entries.max())
        if least < greatest:
            top = 2**lut.bits - 1 if 1 <= lut.bits <= 16 else 0
            return LookupTable(lut.first, lut.entries.astype("<u2").tobytes(), max(top, greatest), "lookup table")
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


def _modality_output_range(dataset: DicomDataset, pixel_format: PixelFormat, frame: int) -> tuple[float, float]:
    """The least and the greatest value that the modality transformation can give."""
    if pixel_format.is_float:
        return -math.inf, math.inf
    if dataset.items("ModalityLUTSequence"):
        return 0.0, 65535.0
    slope, intercept = rescale_slope_intercept(dataset, frame)
    span = 2.0**pixel_format.bits_stored
    least = -span / 2 if pixel_format.is_signed else 0.0
    low, high = sorted((slope * least, slope * (least + span - 1)))
    return low + intercept, high + intercept


def default_window(physical: PhysicalValues, pixel_format: PixelFormat) -> Window | None:
    """A window for an object without one and without a lookup table.

    40/400 for HU, the whole of a bit mask, none for 8-bit greys, otherwise the 0.5th to 99.5th percentile of the values
    that are not padding.
    """
    import numpy as np

    values = physical.values
    if physical.unit == "HU":
        return Window(40, 400, name="soft tissue")
    if pixel_format.bits_allocated == 1:
        return Window(0.5, 1, "linear_exact", "mask")
    if values.dtype == np.uint8:
        return None
    flat = values.reshape(-1)
    flat = flat[:: max(1, flat.size // _MAX_SAMPLES)]
    flat = flat[np.isfinite(flat)]
    if physical.padding is not None:
        low, high = physical.padding
        valid = flat[(flat < low) | (flat > high)]
        flat = valid if valid.size else flat
    if flat.size == 0:
        return Window(0.5, 1, "linear_exact", "percentile")
    low, high = _percentiles(flat)
    return Window((low + high) / 2, (high - low) or 1.0, "linear_exact", "percentile")


def _percentiles(flat: np.ndarray) -> tuple[float, float]:
    import numpy as np

    low, high = (float(v) for v in np.percentile(flat, (0.5, 99.5)))
    return (low, high) if low < high else (float(flat.min()), float(flat.max()))
