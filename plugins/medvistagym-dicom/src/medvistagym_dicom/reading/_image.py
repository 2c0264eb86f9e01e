"""Frames of objects as one image: values, geometry, display and facts, without identifiers."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Literal

from medvistagym_core.imaging import Image, LookupTable, Window
from medvistagym_dicom.reading._decoders import read_stored_values
from medvistagym_dicom.reading._deidentified_attributes import deidentified_attributes, modality
from medvistagym_dicom.reading._errors import DicomError, call_safely
from medvistagym_dicom.reading._frames import Frame
from medvistagym_dicom.reading._functional_groups import frame_number
from medvistagym_dicom.reading._modality_lut import PhysicalValues, Rescale, apply_modality_lut
from medvistagym_dicom.reading._overlay import overlay_graphics
from medvistagym_dicom.reading._palette import apply_palette_lut
from medvistagym_dicom.reading._patient_geometry import (
    dot,
    median_spacing,
    patient_geometry_attributes,
    spacing_between_frames,
    unit_normal,
)
from medvistagym_dicom.reading._pixel_spacing import Calibration, frame_spacing, read_calibration
from medvistagym_dicom.reading._tiles import assemble_tiles, is_tiled
from medvistagym_dicom.reading._units import is_segmentation
from medvistagym_dicom.reading._voi_lut import default_window, voi_lut, voi_lut_items, voi_windows
from medvistagym_dicom.reading._volumes import VolumePlan

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass
class DecodedObject:
    """The stored values of the object that was decoded last, which several images may be made of."""

    dataset_id: int = 0
    stored: np.ndarray | None = None

    def read(self, frame: Frame) -> np.ndarray:
        """Stored values of all frames of an object."""
        if self.stored is None or self.dataset_id != id(frame.dataset):
            self.stored = None  # before the next is allocated
            self.stored = read_stored_values(frame.dataset, frame.pixel_format)
            self.dataset_id = id(frame.dataset)
        return self.stored


def build_image(plan: VolumePlan, decoded: DecodedObject, *, overlays: bool) -> tuple[Image, list[DicomError]]:
    """The image of a volume, and why objects of it were left out that could not be decoded.

    Raises:
        DicomError: No frame of it can be decoded.
    """
    runs, failures = _read_runs(plan, decoded)
    if not runs:
        raise failures[0]
    frames = [frame for run, _ in runs for frame in run]
    physical = _join([values for _, values in runs])
    middle = frames[len(frames) // 2]
    attributes = deidentified_attributes(middle.dataset, middle.index)
    if physical.padding is not None:
        attributes["padding"] = " ".join(f"{end:.9g}" for end in physical.padding)
    is_colour = physical.values.ndim == 4
    spacing, geometry = _geometry(plan, frames)
    attributes |= geometry | _series_attributes(plan, frames, failures)
    window, windows, lut_attributes = _display(middle, physical, is_colour=is_colour)
    values = assemble_tiles(physical.values, frames) if is_tiled(frames) else physical.values
    values = values if len(values) > 1 else values[0]
    image = Image(
        pixels=values, unit=physical.unit, spacing=spacing, modality=modality(middle.dataset),
        photometric="RGB" if is_colour else _grey_photometric(frames[0]),
        window=window, windows=windows,
        overlay=overlay_graphics(middle.dataset, middle.pixel_format) if overlays else None,
        attributes=attributes | lut_attributes,
    )  # fmt: skip
    return image, failures


def _grey_photometric(frame: Frame) -> Literal["MONOCHROME1", "MONOCHROME2"]:
    return "MONOCHROME1" if frame.pixel_format.photometric == "MONOCHROME1" else "MONOCHROME2"


# -- values


def _read_runs(
    plan: VolumePlan, decoded: DecodedObject
) -> tuple[list[tuple[list[Frame], PhysicalValues]], list[DicomError]]:
    """Values of successive frames of one object each, of those objects that can be decoded."""
    runs: list[list[Frame]] = []
    for frame in plan.frames:
        if runs and runs[-1][0].dataset is frame.dataset:
            runs[-1].append(frame)
        else:
            runs.append([frame])
    read: list[tuple[list[Frame], PhysicalValues]] = []
    failures: list[DicomError] = []
    for run in runs:
        physical = functools.partial(_physical_values, run, decoded)
        try:
            read.append((run, call_safely(physical, run[0].dataset.source.name)))
        except DicomError as error:
            failures.append(error)
    return read, failures


def _physical_values(run: list[Frame], decoded: DecodedObject) -> PhysicalValues:
    dataset, pixel_format, stored = run[0].dataset, run[0].pixel_format, decoded.read(run[0])
    indices = [frame.index for frame in run]
    if indices != list(range(len(stored))):
        stored = stored[indices]
    if pixel_format.photometric == "PALETTE COLOR" and not is_segmentation(dataset):
        return PhysicalValues(apply_palette_lut(dataset, pixel_format, stored), "grey", None, Rescale())
    if pixel_format.samples == 3:
        return PhysicalValues(stored, "grey" if stored.dtype.str == "|u1" else "raw", None, Rescale())
    return apply_modality_lut(dataset, pixel_format, stored, indices)


def _join(parts: list[PhysicalValues]) -> PhysicalValues:
    """Values of all frames; padding as NaN where its value differs."""
    import numpy as np

    if len(parts) == 1:
        return parts[0]
    middle = parts[len(parts) // 2]
    kind = np.result_type(*{part.values.dtype for part in parts})
    is_padding_same = len({part.padding for part in parts}) == 1
    if not is_padding_same:
        kind = np.result_type(kind, np.float32)
    out = np.empty((sum(len(part.values) for part in parts), *middle.values.shape[1:]), kind)
    at = 0
    for part in parts:
        target = out[at : at + len(part.values)]
        target[...] = part.values
        if not is_padding_same and part.padding is not None:
            target[(part.values >= part.padding[0]) & (part.values <= part.padding[1])] = np.nan
        at += len(part.values)
    return middle._replace(values=out, padding=middle.padding if is_padding_same else None)


# -- geometry


def _geometry(plan: VolumePlan, frames: list[Frame]) -> tuple[tuple[float, ...] | None, dict[str, str]]:
    """Spacing of the image, and the attributes that place it and say where lengths are true."""
    calibration = read_calibration(frames[0].dataset, frames[0].pixel_format, frames[0].index)
    if len({frame_spacing(frame.dataset, frame.index) for frame in frames}) > 1 and _is_one_object(frames):
        calibration = Calibration(None, "unknown", {})  # frames of one object that differ in it
    attributes = dict(calibration.attributes)
    if calibration.spacing is not None and calibration.location != "patient":
        attributes["spacing_at"] = calibration.location
    spacing: tuple[float, ...] | None = calibration.spacing
    orientation = frames[0].orientation
    if len(frames) == 1:
        return spacing, attributes | patient_geometry_attributes(orientation, [frames[0].position])
    if plan.is_volume and orientation is not None:
        normal = unit_normal(orientation)
        step, is_regular = median_spacing([dot(frame.position or (), normal) for frame in frames])
        if not is_regular:
            attributes["slice_spacing"] = "irregular"
        attributes |= patient_geometry_attributes(orientation, [frame.position for frame in frames])
    else:
        step = spacing_between_frames(frames[0].dataset) if _has_no_positions(frames) else None
        untold = [None] * (len(frames) - 1)
        attributes |= patient_geometry_attributes(orientation, [frames[0].position, *untold])
        if plan.part[1] == 1 and _repeats_places(frames):
            attributes["slice_order"] = "unknown"
    return ((step, *spacing) if spacing is not None and step else spacing), attributes


def _has_no_positions(frames: list[Frame]) -> bool:
    """Whether the frames of one object have no place of their own, so that only the distance between them is told."""
    return _is_one_object(frames) and len({frame.position for frame in frames}) == 1


def _is_one_object(frames: list[Frame]) -> bool:
    return all(frame.dataset is frames[0].dataset for frame in frames)


def _repeats_places(frames: list[Frame]) -> bool:
    """Whether frames lie at several places, and several at one, and nothing tells which belong together."""
    positions = [frame.position for frame in frames]
    return None not in positions and 1 < len(set(positions)) < len(positions)


def _series_attributes(plan: VolumePlan, frames: list[Frame], failures: list[DicomError]) -> dict[str, str]:
    """What is told of an image among others of its series or object, and of what is missing in it."""
    attributes = {}
    if plan.part[1] > 1:
        attributes["part"] = f"{plan.part[0]} of {plan.part[1]}"
        attributes["told_apart_by"] = ", ".join(plan.differs_by) or "direction or place"
    if plan.missing:
        attributes["missing_slices"] = f"{plan.missing} of {plan.missing + len(plan.frames)}"
    if failures:
        attributes["unreadable_slices"] = f"{len(failures)} of {len(failures) + len(frames)}"
    if is_segmentation(frames[0].dataset):
        segment = frame_number(
            frames[0].dataset, frames[0].index, "SegmentIdentificationSequence", "ReferencedSegmentNumber"
        )
        if segment is not None and 0 < segment <= 65535:
            attributes["segment"] = f"{segment:g}"
    return attributes


# -- display


def _display(
    middle: Frame, physical: PhysicalValues, *, is_colour: bool
) -> tuple[Window | LookupTable | None, tuple[Window, ...], dict[str, str]]:
    """The window or table that the image is shown with, all windows, and the attributes that tell of a table."""
    dataset, pixel_format = middle.dataset, middle.pixel_format
    if is_colour:
        if physical.values.dtype.str == "|u1":
            return None, (), {}
        full = float(1 << pixel_format.bits_stored)
        return Window(full / 2, full, "linear_exact", "full range"), (), {}
    windows = voi_windows(dataset, middle.index, physical.display)
    table = voi_lut(dataset, pixel_format, middle.index) if physical.display == Rescale() else None
    attributes = {}
    if voi_lut_items(dataset, middle.index):
        source = "a damaged table" if table is None else "a table besides the windows" if windows else "a table"
        attributes["voi_lut"] = source
    window = windows[0] if windows else table or default_window(physical, pixel_format)
    return window, windows, attributes
