"""From stored values to physical ones: rescaling, modality lookup tables, real world values, dose and segment scaling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from medvistagym_dicom.reading._dataset import DicomDataset
from medvistagym_dicom.reading._errors import DicomError
from medvistagym_dicom.reading._functional_groups import functional_group
from medvistagym_dicom.reading._lookup_table import apply_lut, read_lut
from medvistagym_dicom.reading._padding import stored_padding_range
from medvistagym_dicom.reading._pixel_format import PixelFormat
from medvistagym_dicom.reading._units import RESCALE_UNITS, UCUM_UNITS, is_dose, rescale_unit

if TYPE_CHECKING:
    import numpy as np


_NO_UNIT: Final = "1"  # in UCUM


class Rescale(NamedTuple):
    """`slope * stored + intercept`, defined for stored values from `low` to `high`."""

    slope: float = 1.0
    intercept: float = 0.0
    low: float = float("-inf")
    high: float = float("inf")


class PhysicalValues(NamedTuple):
    """Values of some frames of an object.

    Attributes:
        values: `(frames, rows, columns)`; integers where stored ones are rescaled by integers, else float32.
        unit: Of the values; "raw" where the object tells none, "grey" for 8 bits that are not rescaled.
        padding: Least and greatest value that stands for padding; None where there is none, or where it was made NaN.
        display: What turns values as windows mean them, after the modality transformation, into `values`.
    """

    values: np.ndarray
    unit: str
    padding: tuple[float, float] | None
    display: Rescale


def apply_modality_lut(
    dataset: DicomDataset, pixel_format: PixelFormat, stored: np.ndarray, frames: list[int]
) -> PhysicalValues:
    """Values after the modality transformation (PS3.3 C.11.1), or the real world values that replace it (C.7.6.16.2.11).

    Args:
        dataset: The object.
        pixel_format: Its format.
        stored: Stored values of the frames, `(len(frames), rows, columns)`.
        frames: Which frames of the object they are.
    """
    table = _modality_table(dataset, pixel_format, stored)
    if table is not None:
        return table
    first = frames[0]
    unit = rescale_unit(dataset, pixel_format, first)
    rescales = [_rescale(dataset, frame) for frame in frames]
    display = Rescale()
    if unit == "raw":
        mappings = [_real_world_mapping(dataset, frame) for frame in frames]
        units = {None if mapping is None else mapping[1] for mapping in mappings}
        if len(units) == 1 and None not in units:
            real = [mapping[0] for mapping in mappings if mapping is not None]
            middle = len(frames) // 2
            display = _between(rescales[middle], real[middle])
            rescales, unit = real, units.pop() or unit
    if unit == "label" and (fraction := _segment_fraction(dataset)) is not None:
        rescales, unit = [Rescale(fraction)] * len(frames), _fraction_unit(dataset)
    if unit == "raw" and stored.dtype.str == "|u1" and set(rescales) == {Rescale()}:
        unit = "grey"
    for rescale in set(rescales):
        _check_reach(dataset, stored, rescale)
    values, padding = _rescale_frames(stored, rescales, stored_padding_range(dataset, pixel_format))
    return PhysicalValues(values, unit, padding, display)


def rescale_slope_intercept(dataset: DicomDataset, frame: int) -> tuple[float, float]:
    """Slope and intercept of a frame's rescaling; 1 and 0 where the object has none."""
    transform = functional_group(dataset, frame, "PixelValueTransformationSequence")
    source = transform if transform is not None and transform.number("RescaleSlope") is not None else dataset
    _check_number(source, "RescaleSlope")
    _check_number(source, "RescaleIntercept")
    slope, intercept = source.number("RescaleSlope"), source.number("RescaleIntercept")
    return float(slope or 1.0), float(intercept or 0.0)  # a slope of 0 would make all values equal, and is not believed


def _check_number(dataset: DicomDataset, keyword: str) -> None:
    """Refuse what values are scaled by if it is there and is no number: without it they would be wrong, and not said to be."""
    if dataset.is_no_number(keyword):
        raise DicomError("corrupt", f"{dataset.source.name}: its {keyword} is not a number")


def _check_reach(dataset: DicomDataset, stored: np.ndarray, rescale: Rescale) -> None:
    """Refuse a rescaling that makes infinities of stored numbers."""
    import numpy as np

    def is_beyond(stored_value: float) -> bool:
        value = abs(rescale.slope) * stored_value + abs(rescale.intercept)
        return value > float(np.finfo(np.float32).max)

    is_float = stored.dtype.kind == "f"
    if rescale[:2] == (1.0, 0.0) or not (is_float or is_beyond(2.0 ** (8 * stored.dtype.itemsize))):
        return
    for frame in stored:
        if is_beyond(float(np.abs(frame.astype(np.float64)).max(initial=0.0, where=np.isfinite(frame)))):
            raise DicomError(
                "corrupt",
                f"{dataset.source.name}: its rescaling by {rescale.slope:g} and {rescale.intercept:g} makes infinite values",
            )


def _rescale(dataset: DicomDataset, frame: int) -> Rescale:
    if is_dose(dataset):
        _check_number(dataset, "DoseGridScaling")
        return Rescale(float(dataset.number("DoseGridScaling") or 1.0))
    return Rescale(*rescale_slope_intercept(dataset, frame))


def _modality_table(dataset: DicomDataset, pixel_format: PixelFormat, stored: np.ndarray) -> PhysicalValues | None:
    """Values through a lookup table, padding as NaN; None where the object has no table."""
    import numpy as np

    for item in dataset.items("ModalityLUTSequence")[:1]:
        if pixel_format.is_float:
            continue
        lut = read_lut(
            item.numbers("LUTDescriptor"), item.bytes_value("LUTData"), is_signed=pixel_format.is_signed,
            is_little=dataset.is_little_endian, name=dataset.source.name,
        )  # fmt: skip
        unit = RESCALE_UNITS.get(item.string("ModalityLUTType").upper(), "raw")
        values = apply_lut(stored, lut)
        padding = stored_padding_range(dataset, pixel_format)
        if padding is not None and (is_padding := (stored >= padding[0]) & (stored <= padding[1])).any():
            values = values.astype(np.float32)  # the table may give padding a value that pixels have as well
            values[is_padding] = np.nan
        return PhysicalValues(values, unit, None, Rescale())
    return None


def _real_world_mapping(dataset: DicomDataset, frame: int) -> tuple[Rescale, str] | None:
    """The first mapping of a frame's stored values to a unit that is known, by slope and intercept."""
    own = dataset.items("PerFrameFunctionalGroupsSequence")[frame : frame + 1]
    groups = [*own, *dataset.items("SharedFunctionalGroupsSequence")[:1], dataset]
    for item in next((items for group in groups if (items := group.items("RealWorldValueMappingSequence"))), []):
        code = next((unit.string("CodeValue") for unit in item.items("MeasurementUnitsCodeSequence")), "")
        slope, intercept = item.number("RealWorldValueSlope"), item.number("RealWorldValueIntercept")
        # Of no unit are parametric maps, and images whose makers repeat their rescaling here
        unit = "ratio" if code == _NO_UNIT and "RescaleSlope" not in dataset else UCUM_UNITS.get(code)
        if unit is None or slope is None or slope == 0:
            continue
        bounds = [
            next(
                (v for prefix in ("DoubleFloat", "") if (v := item.number(f"{prefix}RealWorldValue{end}")) is not None),
                None,
            )
            for end in ("FirstValueMapped", "LastValueMapped")
        ]
        low, high = (bounds[0], bounds[1]) if None not in bounds else (None, None)
        mapping = Rescale(slope, intercept or 0.0)
        if low is not None and high is not None and low < high:
            mapping = mapping._replace(low=low, high=high)
        return mapping, unit
    return None


def _between(modality: Rescale, real: Rescale) -> Rescale:
    """What turns values after the modality transformation into real world values, for windows."""
    slope = real.slope / modality.slope
    return Rescale(slope, real.intercept - slope * modality.intercept)


def _segment_fraction(dataset: DicomDataset) -> float | None:
    """What a stored value of a fractional segmentation is multiplied by (PS3.3 C.8.20.2); None for others."""
    if dataset.string("SegmentationType").upper() != "FRACTIONAL":
        return None
    most = dataset.number("MaximumFractionalValue")
    return 1 / most if most and 0 < most <= 65535 else None


def _fraction_unit(dataset: DicomDataset) -> str:
    kind = dataset.string("SegmentationFractionalType").upper()
    return {"PROBABILITY": "probability", "OCCUPANCY": "occupancy"}.get(kind, "fraction")


def _rescale_frames(
    stored: np.ndarray, rescales: list[Rescale], padding: tuple[float, float] | None
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Values of all frames, and those of padding; it becomes NaN where frames are rescaled differently."""
    import numpy as np

    if len(set(rescales)) == 1:
        values = _apply_rescale(stored, rescales[0])
        if padding is None:
            return values, None
        ends = np.array([padding], np.float64) * rescales[0].slope + rescales[0].intercept
        with np.errstate(over="ignore"):  # then the values of the pixels are infinite too
            low, high = sorted(float(v) for v in (ends.astype(values.dtype) if values.dtype.kind == "f" else ends)[0])
        return values, (low, high)
    values = np.empty(stored.shape, np.float32)
    for source, target, rescale in zip(stored, values, rescales, strict=True):
        target[...] = _apply_rescale(source, rescale)
        if padding is not None:
            target[(source >= padding[0]) & (source <= padding[1])] = np.nan
    return values, None


def _apply_rescale(stored: np.ndarray, rescale: Rescale) -> np.ndarray:
    """The least of int16, int32 and int64 when all are integers, otherwise float32; NaN where the mapping is not defined."""
    import numpy as np

    slope, intercept, low, high = rescale
    least, greatest = (float(stored.min()), float(stored.max())) if np.isfinite([low, high]).any() else (low, high)
    is_defined = not (least < low or greatest > high)
    if (slope, intercept) == (1.0, 0.0) and is_defined:
        return stored
    if is_defined and stored.dtype.kind != "f" and slope.is_integer() and intercept.is_integer():
        ends = [int(stored.min()), int(stored.max())]
        ends += [int(slope) * end + int(intercept) for end in ends] + [int(slope), int(intercept)]
        for kind in (np.int16, np.int32, np.int64):
            limits = np.iinfo(kind)
            most = abs(int(slope)) * max(map(abs, ends))
            if limits.min <= min(ends) and max(ends) <= limits.max and most <= limits.max:
                whole = np.multiply(stored, int(slope), dtype=kind, casting="unsafe")
                whole += kind(intercept)
                return np.asarray(whole)
    values = np.empty(stored.shape, np.float32)
    for source, target in zip(
        stored, values, strict=True
    ):  # rows or frames, one by one, to bound the memory of the doubles
        with np.errstate(over="ignore", invalid="ignore"):
            target[...] = source.astype(np.float64) * slope + intercept
        if not is_defined:
            target[(source < low) | (source > high)] = np.nan
    return values
