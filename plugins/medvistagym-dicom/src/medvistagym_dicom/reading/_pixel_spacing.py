"""How far apart pixels are, and where that is true: in the patient, at the detector, on a film, or in a part of the picture.

A projection image is larger than what it shows. Its spacing is that of the detector until somebody corrects or
calibrates it, and the object says which (PS3.3 10.7.1). An ultrasound image says it for each region of its picture
(C.8.5.5).
"""

from __future__ import annotations

import math
from typing import Final, Literal, NamedTuple

from medvistagym_dicom.reading._dataset import DicomDataset
from medvistagym_dicom.reading._functional_groups import frame_numbers
from medvistagym_dicom.reading._pixel_format import PixelFormat

Spacing = tuple[float, float]
Location = Literal["patient", "detector", "film", "unknown"]
_CENTIMETRES: Final = 3  # PhysicalUnitsXDirection
_MAX_REGIONS: Final = 64
_IN_BEAM: Final = "ObjectPixelSpacingInCenterOfBeam"  # of an enhanced XA image, in the patient (PS3.3 C.8.19.6.9)
# Modalities whose images are projections unless they lie in the patient's coordinates.
_PROJECTIONS: Final = frozenset("CR DX IO MG PX RF RG RTIMAGE XA".split())  # noqa: SIM905


class Calibration(NamedTuple):
    """Spacing of rows and of columns in mm, where it is true, and what is told of it.

    Attributes:
        spacing: None when unknown, or when parts of the picture differ.
        location: Where lengths are those of the spacing.
        attributes: `regions` holds calibrated parts of the picture, each "left top right bottom row-spacing column-spacing" in
            pixels (exclusive right and bottom) and mm, 0 0 where it has no lengths; `pixel_aspect` the height of a
            pixel over its width where nothing else is known; `calibration` and `magnification` how a projection was
            corrected.
    """

    spacing: Spacing | None
    location: Location
    attributes: dict[str, str]


def read_calibration(dataset: DicomDataset, pixel_format: PixelFormat, frame: int = 0) -> Calibration:
    """The calibration of a frame."""
    regions = _ultrasound_regions(dataset, pixel_format)
    if regions:
        spacings = {(down, across) for *_, down, across in regions if down}
        text = "; ".join(f"{x0} {y0} {x1} {y1} {down:.9g} {across:.9g}" for x0, y0, x1, y1, down, across in regions)
        spacing = spacings.pop() if len(spacings) == 1 else None
        return Calibration(spacing, "patient", {"regions": text})
    calibration = _projection_or_plane(dataset, pixel_format, frame)
    if calibration.spacing is None and (ratio := _aspect_ratio(dataset)) is not None:
        return calibration._replace(attributes={"pixel_aspect": f"{ratio:.6g}"})
    return calibration


def frame_spacing(dataset: DicomDataset, frame: int) -> Spacing | None:
    """Pixel Spacing of a frame; None where it is not told, or impossible."""
    return _valid(frame_numbers(dataset, frame, "PixelMeasuresSequence", "PixelSpacing", 2))


def _projection_or_plane(dataset: DicomDataset, pixel_format: PixelFormat, frame: int) -> Calibration:
    patient = frame_spacing(dataset, frame)
    uncorrected, location = _uncorrected(dataset, frame)
    method = dataset.string("PixelSpacingCalibrationType").upper()
    if patient is not None:
        attributes = {"calibration": method.lower()} if method in ("GEOMETRY", "FIDUCIAL") else {}
        if uncorrected is None:
            is_untold = not attributes and _is_projection(dataset)
            return Calibration(patient, "unknown" if is_untold else "patient", attributes)
        if attributes or not _is_same(patient, uncorrected, pixel_format):
            return Calibration(patient, "patient", attributes)
    in_beam = _valid(frame_numbers(dataset, frame, "ProjectionPixelCalibrationSequence", _IN_BEAM, 2))
    if in_beam is not None:
        return Calibration(in_beam, "patient", {"calibration": "geometry"})
    if uncorrected is None:
        return Calibration(None, "unknown", {})
    magnification = dataset.number("EstimatedRadiographicMagnificationFactor")
    if magnification is not None and 1 <= magnification < 20 and location == "detector":
        spacing = (uncorrected[0] / magnification, uncorrected[1] / magnification)
        return Calibration(spacing, "patient", {"magnification": f"{magnification:.4g}"})
    return Calibration(uncorrected, location, {})


def _uncorrected(dataset: DicomDataset, frame: int) -> tuple[Spacing | None, Location]:
    """The spacing at the detector, in the plane of an RT image, or on a film that was scanned."""
    imager = _valid(frame_numbers(dataset, frame, "FramePixelDataPropertiesSequence", "ImagerPixelSpacing", 2))
    if imager is not None:
        return imager, "detector"
    if (spacing := _valid(dataset.numbers("ImagePlanePixelSpacing"))) is not None:
        return _at_isocentre(dataset, spacing)
    return _valid(dataset.numbers("NominalScannedPixelSpacing")), "film"


def _at_isocentre(dataset: DicomDataset, spacing: Spacing) -> tuple[Spacing, Location]:
    """Spacing of an RT image in the plane of the isocentre, where the patient is, if the distances are told (PS3.3 C.8.8.2)."""
    image_distance, axis_distance = dataset.number("RTImageSID"), dataset.number("RadiationMachineSAD")
    if (
        image_distance is None
        or axis_distance is None
        or not 0 < axis_distance < 10_000
        or not 0 < image_distance < 10_000
    ):
        return spacing, "detector"
    scale = axis_distance / image_distance
    return (spacing[0] * scale, spacing[1] * scale), "patient"


def _valid(numbers: tuple[float, ...] | None) -> Spacing | None:
    if numbers is None or len(numbers) != 2 or not all(1e-6 < v < 1e4 for v in numbers):
        return None
    return numbers[0], numbers[1]


def _is_same(a: Spacing, b: Spacing, pixel_format: PixelFormat) -> bool:
    """Whether two spacings place no pixel of the image half a pixel apart."""
    rows, columns = abs(a[0] - b[0]) * pixel_format.rows, abs(a[1] - b[1]) * pixel_format.columns
    return rows <= b[0] / 2 and columns <= b[1] / 2


def _is_projection(dataset: DicomDataset) -> bool:
    in_patient = "ImageOrientationPatient" in dataset or bool(dataset.items("SharedFunctionalGroupsSequence"))
    return dataset.string("Modality").upper() in _PROJECTIONS and not in_patient


def _aspect_ratio(dataset: DicomDataset) -> float | None:
    """Height of a pixel over its width (PS3.3 C.7.6.3.1.7); None where it is not told, or 1."""
    numbers = dataset.numbers("PixelAspectRatio")
    if len(numbers) != 2 or not all(0 < v < 1e4 for v in numbers) or not 0.05 <= numbers[0] / numbers[1] <= 20:
        return None
    return None if math.isclose(numbers[0], numbers[1], rel_tol=1e-3) else numbers[0] / numbers[1]


def _ultrasound_regions(
    dataset: DicomDataset, pixel_format: PixelFormat
) -> list[tuple[int, int, int, int, float, float]]:
    """Regions of an ultrasound picture with their spacing in mm (PS3.3 C.8.5.5); those of high priority first.

    Regions whose axes are no lengths, as those of spectra and of motion over time, have a spacing of 0.
    """
    regions = []
    for item in dataset.items("SequenceOfUltrasoundRegions")[:_MAX_REGIONS]:
        ends = [item.integer(f"RegionLocation{end}", -1) for end in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
        x0, y0, x1, y1 = ends[0], ends[1], min(ends[2] + 1, pixel_format.columns), min(ends[3] + 1, pixel_format.rows)
        if not (0 <= x0 < x1 and 0 <= y0 < y1):
            continue
        units = [item.integer(f"PhysicalUnits{axis}Direction", 0) for axis in "XY"]
        across, down = (abs(item.number(f"PhysicalDelta{axis}") or 0.0) * 10 for axis in "XY")
        if units != [_CENTIMETRES, _CENTIMETRES] or _valid((down, across)) is None:
            down = across = 0.0
        is_low_priority = not item.integer("RegionFlags", 0) & 1
        regions.append((is_low_priority, x0, y0, x1, y1, down, across))
    return [region[1:] for region in sorted(regions, key=lambda r: (r[0], (r[3] - r[1]) * (r[4] - r[2])))]
