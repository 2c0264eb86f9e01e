"""An image as a DICOM secondary capture (PS3.3 A.8): its values, unit, window and place, and no patient.

One frame is a Secondary Capture Image, several are one of the Multi-frame Secondary Capture classes (A.8.3 to A.8.5). Whole
numbers of 16 bits are stored as they are; others are scaled to 16 bits by Rescale Slope and Intercept (C.11.1.1.2), whose
step is what is lost. Identifiers are made of the image's own content, so that an equal image is an equal file.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from medvistagym_core.imaging import (
    HU_WINDOW,
    Image,
    PatientGeometry,
    Window,
    fitting_window,
    patient_geometry,
)
from medvistagym_core.storage import write_atomically

STATEMENT: Final = "Made by MedVistaGym for research only. Not for clinical use."
"""What every file says of itself, in its Derivation Description and Image Comments."""
_SINGLE: Final = "1.2.840.10008.5.1.4.1.1.7"
_MULTI_BYTE: Final = "1.2.840.10008.5.1.4.1.1.7.2"
_MULTI_WORD: Final = "1.2.840.10008.5.1.4.1.1.7.3"
_MULTI_COLOR: Final = "1.2.840.10008.5.1.4.1.1.7.4"
_RESCALE_TYPES: Final = {"HU": "HU", "%": "PCT", "mg/ml": "MGML", "mOD": "OD"}  # units that a Rescale Type names
_MAX_BYTES: Final = 2**32 - 2**16  # the length of a native pixel element has 32 bits


def write_secondary_capture(image: Image, path: Path) -> None:
    """Write an image as a DICOM file.

    Args:
        image: A frame or a stack, grey or RGB.
        path: The file. It is written aside and renamed, so that it is never there by half.

    Raises:
        ValueError: A value is not finite, or the pixels are more than a file of DICOM holds.
        OSError: The file cannot be written.
    """
    stored, slope, intercept = _stored_values(image)
    if stored.nbytes > _MAX_BYTES:
        raise ValueError(
            f"DICOM holds 4 GiB of pixels, and this image has {stored.nbytes / 2**30:.1f} GiB; write .nii.gz"
        )
    dataset = Dataset()
    _identify(dataset, image)
    _describe_pixels(dataset, image, stored)
    if image.photometric != "RGB":
        _describe_values(dataset, image, slope, intercept)
    _write_geometry(dataset, image)
    dataset.PixelData = stored.tobytes() + (b"\0" if stored.nbytes % 2 else b"")
    dataset["PixelData"].VR = "OW" if stored.dtype.itemsize == 2 else "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    with write_atomically(path) as part:
        dataset.save_as(part, enforce_file_format=True)


def _stored_values(image: Image) -> tuple[np.ndarray, float, float]:
    """The values as DICOM stores them, little-endian, and the slope and intercept that lead back."""
    pixels = image.pixels
    if image.photometric == "RGB":
        if pixels.dtype != np.uint8:
            raise ValueError(f"a secondary capture of colours holds 8 bits a colour, not {pixels.dtype}")
        return np.ascontiguousarray(pixels), 1.0, 0.0
    if pixels.dtype in (np.uint8, bool):
        return np.ascontiguousarray(pixels.astype(np.uint8)), 1.0, 0.0
    low, high = float(pixels.min()), float(pixels.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("DICOM stores whole numbers, and some values are not finite; write .nii.gz")
    whole = pixels.dtype.kind in "iu" or np.array_equal(pixels, np.rint(pixels))
    if whole and low >= -32768 and high <= 32767:
        return np.ascontiguousarray(pixels.astype("<i2")), 1.0, 0.0
    if whole and low >= 0 and high <= 65535:
        return np.ascontiguousarray(pixels.astype("<u2")), 1.0, 0.0
    slope = float(f"{(high - low) / 65535 or 1.0:.9g}")
    scaled = np.rint((pixels.astype(np.float64) - low) / slope).clip(0, 65535)
    return np.ascontiguousarray(scaled.astype("<u2")), slope, float(f"{low:.9g}")


def _identify(dataset: Dataset, image: Image) -> None:
    """Who and what it is: no patient, and identifiers that follow from the content."""
    colour, word = image.photometric == "RGB", image.pixels.dtype not in (np.uint8, bool)
    several = _MULTI_COLOR if colour else _MULTI_WORD if word else _MULTI_BYTE
    dataset.SOPClassUID = several if image.is_stack else _SINGLE
    dataset.SOPInstanceUID = _uid(image, "instance")
    dataset.StudyInstanceUID = _uid(image, "study")
    dataset.SeriesInstanceUID = _uid(image, "series")
    dataset.Modality = image.modality or "OT"
    dataset.ConversionType = "WSD"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.DerivationDescription = STATEMENT
    dataset.ImageComments = STATEMENT
    dataset.SeriesDescription = "Research only, not for clinical use"
    dataset.Manufacturer = "MedVistaGym"
    # Type 2: there, and empty. The patient is not known here, by design.
    for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
                 "ReferringPhysicianName", "AccessionNumber", "SeriesNumber", "PatientOrientation"):  # fmt: skip
        setattr(dataset, name, None)
    dataset.InstanceNumber = 1
    dataset.BurnedInAnnotation = "YES"  # nobody has looked for text in the pixels


def _uid(image: Image, level: str) -> str:
    """A UID of the form that a UUID gives (PS3.5 B.2), made of the image's content."""
    digest = hashlib.sha256(f"{level}/{image.digest}".encode()).digest()[:16]
    return f"2.25.{int.from_bytes(digest, 'big')}"


def _describe_pixels(dataset: Dataset, image: Image, stored: np.ndarray) -> None:
    colour = image.photometric == "RGB"
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else image.photometric
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = image.shape
    dataset.BitsAllocated = dataset.BitsStored = 8 * stored.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 1 if stored.dtype.kind == "i" else 0
    if image.is_stack:
        dataset.NumberOfFrames = image.frames


def _describe_values(dataset: Dataset, image: Image, slope: float, intercept: float) -> None:
    """The unit of the values and how they are shown (PS3.3 C.11.1, C.11.2)."""
    dataset.RescaleSlope, dataset.RescaleIntercept = f"{slope:.9g}", f"{intercept:.9g}"
    dataset.RescaleType = _RESCALE_TYPES.get(image.unit, "US")
    dataset.PresentationLUTShape = "INVERSE" if image.photometric == "MONOCHROME1" else "IDENTITY"
    window = image.window if isinstance(image.window, Window) else fitting_window(image.pixels, image.unit)
    window = window or (HU_WINDOW if image.unit == "HU" else None)
    if window is not None:
        dataset.WindowCenter, dataset.WindowWidth = f"{window.center:.9g}", f"{window.width:.9g}"
        dataset.VOILUTFunction = window.function.upper()


def _write_geometry(dataset: Dataset, image: Image) -> None:
    """Spacing, and where the frames lie in the patient, as far as the image says."""
    if image.spacing is None:
        return
    spacing = [f"{length:.8g}" for length in image.spacing[-2:]]
    depth = image.spacing[0] if len(image.spacing) == 3 else None
    # beside an equal one of these, Pixel Spacing is not that of the patient (PS3.3 10.7.1.3)
    match image.attributes.get("spacing_at"):
        case "film":
            dataset.NominalScannedPixelSpacing = spacing
        case "detector":
            dataset.ImagerPixelSpacing = spacing
    if calibration := image.attributes.get("calibration"):
        dataset.PixelSpacingCalibrationType = calibration.upper()
    geometry = patient_geometry(image) if "slice_offsets_mm" not in image.attributes else None
    oriented = geometry is not None and geometry.is_oriented
    if oriented:
        dataset.FrameOfReferenceUID = _uid(image, "frame of reference")
        dataset.PositionReferenceIndicator = None
    if not image.is_stack:
        dataset.PixelSpacing = spacing
        if oriented and geometry is not None:
            dataset.ImageOrientationPatient = _cosines(geometry)
            dataset.ImagePositionPatient = _point(geometry, 0)
        return
    measures = Dataset()
    measures.PixelSpacing = spacing
    if depth is not None:
        measures.SliceThickness = measures.SpacingBetweenSlices = f"{depth:.8g}"
    shared = Dataset()
    shared.PixelMeasuresSequence = Sequence([measures])
    frames: list[Any] = []
    if oriented and geometry is not None:
        orientation = Dataset()
        orientation.ImageOrientationPatient = _cosines(geometry)
        shared.PlaneOrientationSequence = Sequence([orientation])
        for number in range(image.frames):
            position, frame = Dataset(), Dataset()
            position.ImagePositionPatient = _point(geometry, number)
            frame.PlanePositionSequence = Sequence([position])
            frames.append(frame)
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames or [Dataset() for _ in range(image.frames)])


def _cosines(geometry: PatientGeometry) -> list[str]:
    lengths = [math.hypot(*step) for step in geometry.steps[:2]]
    return [f"{v / length:.9g}" for step, length in zip(geometry.steps[:2], lengths, strict=True) for v in step]


def _point(geometry: PatientGeometry, frame: int) -> list[str]:
    return [f"{p + step * frame:.9g}" for p, step in zip(geometry.position, geometry.steps[2], strict=True)]
