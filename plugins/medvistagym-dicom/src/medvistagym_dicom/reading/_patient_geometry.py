"""Where frames lie in the patient, in millimetres (PS3.3 C.7.6.2.1.1)."""

from __future__ import annotations

import itertools
import math
from typing import Final

from medvistagym_dicom.reading._dataset import DicomDataset
from medvistagym_dicom.reading._functional_groups import frame_number, frame_numbers
from medvistagym_dicom.reading._units import is_mosaic

Vector = tuple[float, ...]
_MAX_SHEAR_DEG: Final = 0.5  # up to which the step between slices is taken to be along their normal
_MAX_POSITION_MM: Final = 1e5


def dot(a: Vector, b: Vector) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True))


def unit_normal(cosines: Vector) -> Vector:
    """Normal of a plane: the direction of a row crossed with that of a column."""
    (ax, ay, az), (bx, by, bz) = cosines[:3], cosines[3:]
    return (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)


def image_orientation(dataset: DicomDataset, frame: int) -> Vector | None:
    """Direction cosines of a frame's rows and columns; None when absent, or no pair of perpendicular unit vectors."""
    cosines = frame_numbers(dataset, frame, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    if cosines is None:
        detectors = dataset.items("DetectorInformationSequence")[:1]  # nuclear medicine
        cosines = next((v for d in detectors if len(v := d.numbers("ImageOrientationPatient")) == 6), None)
    if cosines is None:
        return None
    a, b = cosines[:3], cosines[3:]
    errors = (math.hypot(*a) - 1, math.hypot(*b) - 1, dot(a, b))
    return cosines if all(abs(error) < 0.02 for error in errors) else None


def image_position(dataset: DicomDataset, frame: int) -> Vector | None:
    """Centre of a frame's first pixel in patient coordinates, in mm; None where the object does not tell.

    Frames without positions of their own follow the first one: along the normal as the offsets of a dose grid
    (C.8.8.3.2), or as the slice numbers of nuclear medicine (C.8.4.8) and the distance between slices say.
    """
    if is_mosaic(dataset):
        return None
    own = frame_numbers(dataset, frame, "PlanePositionSequence", "ImagePositionPatient", 3)
    detectors = dataset.items("DetectorInformationSequence")[:1]
    if own is None:
        own = next((v for d in detectors if len(v := d.numbers("ImagePositionPatient")) == 3), None)
    if own is None or not all(abs(v) < _MAX_POSITION_MM for v in own):
        return None
    cosines = image_orientation(dataset, frame)
    if "GridFrameOffsetVector" in dataset:
        return _at_grid_offset(dataset, frame, own, cosines)
    slices, between = dataset.numbers("SliceVector"), dataset.number("SpacingBetweenSlices")
    if frame < len(slices) and between and cosines is not None:
        return _move(own, unit_normal(cosines), (slices[frame] - slices[0]) * between)
    return own


def _at_grid_offset(dataset: DicomDataset, frame: int, first: Vector, cosines: Vector | None) -> Vector | None:
    offsets = dataset.numbers("GridFrameOffsetVector")
    if frame >= len(offsets) or cosines is None:
        return first if frame == 0 else None
    normal = unit_normal(cosines)
    is_absolute = offsets[0] != 0 and abs(offsets[0] - first[2]) < 0.01 and abs(normal[2]) > 0.99
    return _move(first, (0.0, 0.0, 1.0) if is_absolute else normal, offsets[frame] - offsets[0])


def _move(position: Vector, direction: Vector, distance: float) -> Vector:
    return tuple(p + distance * d for p, d in zip(position, direction, strict=True))


def spacing_between_frames(dataset: DicomDataset) -> float | None:
    """The distance between the frames of an object that gives them no positions, in mm; None where it does not tell."""
    between = frame_number(dataset, 0, "PixelMeasuresSequence", "SpacingBetweenSlices")
    return abs(between) if between is not None and 1e-3 < abs(between) < 1e4 else None


def median_spacing(locations: list[float]) -> tuple[float | None, bool]:
    """Median distance between neighbours in mm, or None, and whether all are within 1 % and 0.01 mm of it.

    Locations that go to and fro, as those of a volume seen at several times do, have no distance: they are no volume.
    """
    signed = [b - a for a, b in itertools.pairwise(locations)]
    steps = sorted(map(abs, signed))
    if not steps or steps[len(steps) // 2] < 1e-3:
        return None, True
    if min(signed) <= 0 <= max(signed):
        return None, False
    middle = steps[len(steps) // 2]
    return middle, all(abs(step - middle) <= max(0.01, 0.01 * middle) for step in steps)


def patient_geometry_attributes(cosines: Vector | None, positions: list[Vector | None]) -> dict[str, str]:
    """Attributes that place an image in the patient.

    `direction` holds the direction cosines of a row, of a column and, with several slices, of the step between slices;
    `position_mm` the centre of the first pixel; `slice_offsets_mm` the locations of unevenly spaced slices along the normal;
    `shear_deg` the angle between the step and the normal of the slices, which a tilted gantry makes.

    Args:
        cosines: Of a row and a column; None when the file does not tell.
        positions: Of the first pixel of each slice in patient coordinates, in mm; None where the file does not tell.
    """
    attributes: dict[str, str] = {}
    first, last = positions[0], positions[-1]
    if first is not None and all(abs(v) < _MAX_POSITION_MM for v in first):
        attributes["position_mm"] = " ".join(f"{v:.7g}" for v in first)
    if cosines is None:
        return attributes
    axes = list(cosines)
    if len(positions) > 1:
        normal = unit_normal(cosines)
        step = normal
        if first is not None and last is not None and first != last:
            length = math.dist(first, last)
            step = tuple((b - a) / length for a, b in zip(first, last, strict=True))
            cosine = min(1.0, abs(dot(step, normal)))
            if cosine < math.cos(math.radians(_MAX_SHEAR_DEG)):
                attributes["shear_deg"] = f"{math.degrees(math.acos(cosine)):.1f}"
        axes += step
        locations = [dot(p, normal) for p in positions if p is not None]
        if len(locations) == len(positions) and not median_spacing(locations)[1]:
            attributes["slice_offsets_mm"] = " ".join(f"{abs(p - locations[0]):.3f}" for p in locations)
    attributes["direction"] = " ".join(f"{round(v, 6) + 0.0:g}" for v in axes)
    return attributes
