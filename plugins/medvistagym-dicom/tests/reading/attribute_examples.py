"""For each attribute that the reader reads: objects that differ in it alone, so that a test can see what it does.

An example is a pair of lists of objects, each the elements of one. `stored` are its pixels; `overlays` asks for graphics.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from openjpeg.utils import encode_array
from pydicom.dataset import Dataset
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    EnhancedMRImageStorage,
    EnhancedXAImageStorage,
    JPEG2000Lossless,
    MRImageStorage,
    NuclearMedicineImageStorage,
    PositronEmissionTomographyImageStorage,
    RTDoseStorage,
    RTImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    UltrasoundImageStorage,
    VLWholeSlideMicroscopyImageStorage,
)

Elements = dict[str, Any]
AXIAL = [1, 0, 0, 0, 1, 0]
RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8)


class Example(NamedTuple):
    """Objects without and with an attribute, or with two values of it; and elements of an object that is refused for it."""

    without: list[Elements]
    having: list[Elements]
    refused: Elements | None = None


def one(keyword: str, value: Any, base: Elements | None = None, refused: Any = None) -> Example:
    """An object without an attribute, and with it."""
    base = base or {}
    return Example([base], [{**base, keyword: value}], None if refused is None else {**base, keyword: refused})


def two(keyword: str, first: Any, second: Any, base: Elements | None = None) -> Example:
    """An object with two values of an attribute."""
    base = base or {}
    return Example([{**base, keyword: first}], [{**base, keyword: second}])


def of_two(make: Callable[[Any], list[Elements]], first: Any, second: Any) -> Example:
    return Example(make(first), make(second))


def slices(keyword: str, values: tuple[Any, Any], base: Elements | None = None) -> Example:
    """Two slices at each of two places; those of each place differ in the attribute, or do not."""

    def series(differ: bool) -> list[Elements]:
        return [
            {
                "stored": np.full((8, 8), 10 * side + k, np.int16), "SeriesInstanceUID": "1.2.3", "InstanceNumber": 1,
                "ImagePositionPatient": [0, 0, 5 * k], "ImageOrientationPatient": AXIAL, "PixelSpacing": [1, 1],
                keyword: values[side if differ else 0], **(base or {}),
            }
            for k in range(2) for side in range(2)
        ]  # fmt: skip

    return Example(series(False), series(True))


def item(**attributes: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


ENHANCED: Elements = {"SOPClassUID": EnhancedMRImageStorage, "Modality": "MR"}


def enhanced(values: tuple[Dataset, Dataset], macro: str) -> list[Elements]:
    """Four frames at two places, whose two at a place have these items of a functional group."""
    groups = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, 5 * k])],
            PlaneOrientationSequence=[item(ImageOrientationPatient=AXIAL)], **{macro: [values[side]]},
        )
        for k in range(2) for side in range(2)
    ]  # fmt: skip
    stored = np.stack([np.full((8, 8), value, np.uint16) for value in (0, 10, 1, 11)])
    return [{**ENHANCED, "stored": stored, "PixelSpacing": [1, 1], "PerFrameFunctionalGroupsSequence": groups}]


def frames(macro: str, keyword: str, values: tuple[Any, Any]) -> Example:
    first, second = (item(**{keyword: value}) for value in values)
    return Example(enhanced((first, first), macro), enhanced((first, second), macro))


def shared(macro: str, without: Dataset | None, having: Dataset, base: Elements | None = None) -> Example:
    """One frame whose functional group is not there, or another."""
    base = {**ENHANCED, **(base or {})}
    before = item(**{macro: [without]}) if without is not None else item()
    return Example(
        [{**base, "SharedFunctionalGroupsSequence": [before]}],
        [{**base, "SharedFunctionalGroupsSequence": [item(**{macro: [having]})]}],
    )


def parts(second_uid: str, offsets: tuple[int, int]) -> list[Elements]:
    """Two objects of two frames each, of which the first is a part of the object "1.1"."""
    return [
        {
            "stored": np.stack([RAMP + 2 * k, RAMP + 2 * k + 1]), "SeriesInstanceUID": "1.2.3", "InstanceNumber": 1,
            "ConcatenationUID": uid, "ConcatenationFrameOffsetNumber": offset,
        }
        for k, (uid, offset) in enumerate(zip(("1.1", second_uid), offsets, strict=True))
    ]  # fmt: skip


def slide(places: tuple[tuple[int, int], ...] = (), **changes: int) -> Elements:
    """Four tiles of a slide; where they lie is told, or follows from their order."""
    groups = [
        item(PlanePositionSlideSequence=[
            item(ColumnPositionInTotalImagePixelMatrix=left, RowPositionInTotalImagePixelMatrix=top)
        ])
        for left, top in places
    ]  # fmt: skip
    told = {"PerFrameFunctionalGroupsSequence": groups} if groups else {}
    stored = np.stack([RAMP.astype(np.uint8) + k for k in range(4)])
    return {
        "SOPClassUID": VLWholeSlideMicroscopyImageStorage, "Modality": "SM", "stored": stored,
        "TotalPixelMatrixColumns": 16, "TotalPixelMatrixRows": 16, **changes, **told,
    }  # fmt: skip


def vector(keyword: str) -> Example:
    detector = item(ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=AXIAL)
    base = {
        "SOPClassUID": NuclearMedicineImageStorage, "Modality": "NM", "PixelSpacing": [1, 1], "SpacingBetweenSlices": 4,
        "stored": np.stack([RAMP + k for k in range(4)]), "SliceVector": [1, 2, 1, 2],
        "DetectorInformationSequence": [detector],
    }  # fmt: skip
    return two(keyword, [1, 1, 1, 1], [1, 1, 2, 2], base)


def palette(**changes: Any) -> Elements:
    entries = np.arange(64, dtype="<u2")
    elements: Elements = {"stored": RAMP.astype(np.uint8), "PhotometricInterpretation": "PALETTE COLOR"}
    for colour in ("Red", "Green", "Blue"):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [64, 0, 8]
        elements[f"{colour}PaletteColorLookupTableData"] = entries.tobytes()
    return {**elements, **changes}


def table(**changes: Any) -> Dataset:
    data = (np.arange(64, dtype="<u2") * 3).tobytes()
    return item(**{"LUTDescriptor": [64, 0, 8], "LUTData": data, "ModalityLUTType": "US", **changes})


def region(**changes: Any) -> Elements:
    attributes = {
        "RegionFlags": 0, "RegionLocationMinX0": 0, "RegionLocationMinY0": 0, "RegionLocationMaxX1": 7,
        "RegionLocationMaxY1": 7, "PhysicalUnitsXDirection": 3, "PhysicalUnitsYDirection": 3, "PhysicalDeltaX": 0.1,
        "PhysicalDeltaY": 0.1,
    }  # fmt: skip
    other = item(**{**attributes, "PhysicalDeltaX": 0.5, "RegionLocationMaxX1": 1})
    return {**ULTRASOUND, "SequenceOfUltrasoundRegions": [item(**{**attributes, **changes}), other]}


def regions(keyword: str, first: Any, second: Any) -> Example:
    return Example([region(**{keyword: first})], [region(**{keyword: second})])


def mapping(**changes: Any) -> Elements:
    attributes = {
        "RealWorldValueSlope": 2.0, "RealWorldValueIntercept": 1.0, "RealWorldValueFirstValueMapped": 0,
        "RealWorldValueLastValueMapped": 63, "MeasurementUnitsCodeSequence": [item(CodeValue="ms")],
    }  # fmt: skip
    one_mapping = item(**{k: v for k, v in {**attributes, **changes}.items() if v is not None})
    return {"SOPClassUID": MRImageStorage, "Modality": "MR", "RealWorldValueMappingSequence": [one_mapping]}


def overlay(keyword: str, tag: int, vr: str, first: Any, second: Any) -> Example:
    elements = {
        0x60000010: ("US", 8), 0x60000011: ("US", 8), 0x60000050: ("SS", [1, 1]), 0x60003000: ("OW", b"\x0f\xf0" * 4),
    }  # fmt: skip
    base: Elements = {"overlays": True, "BitsStored": 12, "HighBit": 11}
    return of_two(lambda value: [{**base, "raw": {**elements, tag: (vr, value)}}], first, second)


FRAMES = [np.arange(1024, dtype=np.uint8).reshape(32, 32) + k for k in (0, 9)]
CODES = [
    code + b"\0" * (len(code) % 2)
    for frame in FRAMES
    if (code := bytes(encode_array(frame, photometric_interpretation=2)))
]


def extended(offsets: tuple[int, int], lengths: tuple[int, int]) -> list[Elements]:
    """Two frames in three fragments, which nothing but an extended offset table tells apart."""
    third = CODES[1][:40] + b"\0\0"
    return [{
        "stored": np.zeros((2, 32, 32), np.uint8), "syntax": JPEG2000Lossless, "fragments": [b"", *CODES, third],
        "raw": {0x7FE00001: ("OV", struct.pack("<2Q", *offsets)), 0x7FE00002: ("OV", struct.pack("<2Q", *lengths))},
    }]  # fmt: skip


HU: Elements = {"RescaleSlope": 1, "RescaleIntercept": -24}
FILM: Elements = {"SOPClassUID": DigitalXRayImageStorageForPresentation, "Modality": "DX"}
IMAGER: Elements = {**FILM, "ImagerPixelSpacing": [0.2, 0.2]}
ANGIOGRAM: Elements = {"SOPClassUID": EnhancedXAImageStorage, "Modality": "XA"}
BEAM: Elements = {"SOPClassUID": RTImageStorage, "Modality": "RTIMAGE", "ImagePlanePixelSpacing": [0.4, 0.4]}
ULTRASOUND: Elements = {"SOPClassUID": UltrasoundImageStorage, "Modality": "US", "stored": RAMP.astype(np.uint8)}
MR: Elements = {"SOPClassUID": MRImageStorage, "Modality": "MR"}
PET: Elements = {"SOPClassUID": PositronEmissionTomographyImageStorage, "Modality": "PT"}
DOSE: Elements = {"SOPClassUID": RTDoseStorage, "Modality": "RTDOSE", "DoseUnits": "GY", "DoseGridScaling": "0.5"}
SEGMENTS: Elements = {"SOPClassUID": SegmentationStorage, "Modality": "SEG", "stored": RAMP.astype(np.uint8)}
FRACTIONS: Elements = {
    **SEGMENTS, "SegmentationType": "FRACTIONAL", "SegmentationFractionalType": "PROBABILITY", "MaximumFractionalValue": 64,
}  # fmt: skip
COLOURS: Elements = {"stored": np.arange(192, dtype=np.uint8).reshape(8, 8, 3), "colour": True}
WINDOW: Elements = {"WindowCenter": 30, "WindowWidth": 20}
FLOATS: Elements = {"stored": RAMP.astype(np.float32), "Modality": "OT", "SOPClassUID": SecondaryCaptureImageStorage}
DOUBLES: Elements = {**FLOATS, "stored": RAMP.astype(np.float64)}
SEGMENTED = np.array([0, 1, 0, 1, 63, 200], "<u2").tobytes()
CARDIAC, RESPIRATORY = "CardiacSynchronizationSequence", "RespiratorySynchronizationSequence"
TIMING, CONTENT = "MRTimingAndRelatedParametersSequence", "FrameContentSequence"
GRADIENTS = tuple(
    item(DiffusionBValue=1000.0, DiffusionGradientDirectionSequence=[item(DiffusionGradientOrientation=direction)])
    for direction in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
)
COPY: Elements = {
    "stored": RAMP, "SeriesInstanceUID": "1.2.3", "ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": AXIAL,
}  # fmt: skip
PLACED: Elements = {"ImageOrientationPatient": AXIAL, "ImagePositionPatient": [0, 0, 5], "PixelSpacing": [1, 1]}
STACK: Elements = {"stored": np.stack([RAMP, RAMP + 1]), "PixelSpacing": [1, 1]}


def _pair(base: Elements, first: Elements, second: Elements) -> list[Elements]:
    return [{**base, **first}, {**base, **second}]


EXAMPLES: dict[str, Example] = {
    "SOPClassUID": two("SOPClassUID", SecondaryCaptureImageStorage, "1.2.840.10008.5.1.4.1.1.2", HU),
    "SOPInstanceUID": Example(
        _pair(COPY, {"SOPInstanceUID": "1.2.3"}, {"SOPInstanceUID": "1.2.4"}), [{**COPY, "SOPInstanceUID": "1.2.3"}] * 2
    ),
    "InstanceNumber": of_two(
        lambda first: _pair(
            {"SeriesInstanceUID": "1.2.3"}, {"stored": RAMP, "InstanceNumber": first},
            {"stored": RAMP + 1, "InstanceNumber": 3 - first},
        ), 1, 2,
    ),
    "Modality": two("Modality", "CT", "MR"),
    "SeriesInstanceUID": of_two(
        lambda uid: _pair(
            PLACED, {"SeriesInstanceUID": "1.2.3"}, {"SeriesInstanceUID": uid, "ImagePositionPatient": [0, 0, 9]}
        ), "1.2.3", "1.2.4",
    ),
    "PatientPosition": one("PatientPosition", "FFP"),
    "BodyPartExamined": one("BodyPartExamined", "CHEST"),
    "Laterality": one("Laterality", "L"),
    "AcquisitionNumber": slices("AcquisitionNumber", (1, 2)),
    "AcquisitionDate": slices("AcquisitionDate", ("20200101", "20200102"), {"AcquisitionTime": "100000"}),
    "AcquisitionTime": slices("AcquisitionTime", ("100000", "100010")),
    "AcquisitionDateTime": slices("AcquisitionDateTime", ("20200101100000", "20200101100010")),
    "ImageType": one("ImageType", ["DERIVED", "SECONDARY", "LOCALIZER"], HU),
    "ContentDate": slices("ContentDate", ("20200101", "20200102"), {"ContentTime": "100000"}),
    "ContentTime": slices("ContentTime", ("100000", "100010")),
    "PatientOrientation": one("PatientOrientation", ["A", "FL"]),
    "ImageLaterality": one("ImageLaterality", "R"),
    "BurnedInAnnotation": one("BurnedInAnnotation", "YES"),
    "LossyImageCompression": one("LossyImageCompression", "01"),
    "FrameOfReferenceUID": of_two(
        lambda uid: _pair(
            {**PLACED, "SeriesInstanceUID": "1.2.3"}, {"FrameOfReferenceUID": "1.1"},
            {"FrameOfReferenceUID": uid, "ImagePositionPatient": [0, 0, 9]},
        ), "1.1", "1.2",
    ),
    "PixelSpacing": one("PixelSpacing", [0.5, 0.5]),
    "ImageOrientationPatient": two("ImageOrientationPatient", AXIAL, [0, 1, 0, 0, 0, -1]),
    "ImagePositionPatient": two("ImagePositionPatient", [0, 0, 0], [0, 0, 7]),
    "SliceThickness": one("SliceThickness", 5),
    "SpacingBetweenSlices": one("SpacingBetweenSlices", 3, STACK),
    "SliceLocation": of_two(
        lambda first: _pair(
            {"SeriesInstanceUID": "1.2.3", "InstanceNumber": 1}, {"stored": RAMP, "SliceLocation": first},
            {"stored": RAMP + 1, "SliceLocation": 3 - first},
        ), 1, 2,
    ),
    "SamplesPerPixel": Example([{}], [COLOURS]),
    "PhotometricInterpretation": two("PhotometricInterpretation", "MONOCHROME1", "MONOCHROME2")._replace(
        refused={"PhotometricInterpretation": "HSV"}
    ),
    "PlanarConfiguration": two("PlanarConfiguration", 0, 1, COLOURS),
    "Rows": two("Rows", 8, 4),
    "Columns": two("Columns", 8, 4),
    "PixelAspectRatio": one("PixelAspectRatio", [2, 1]),
    "BitsAllocated": two("BitsAllocated", 16, 8, {"BitsStored": 8, "HighBit": 7})._replace(refused={"BitsAllocated": 12}),
    "BitsStored": two("BitsStored", 16, 4, {"HighBit": 15}),
    "HighBit": two("HighBit", 7, 15, {"BitsStored": 8, "stored": RAMP * 3 + 4096}),
    "PixelRepresentation": two("PixelRepresentation", 0, 1, {"stored": RAMP * 1000}),
    "PixelPaddingValue": one("PixelPaddingValue", 63),
    "PixelPaddingRangeLimit": one("PixelPaddingRangeLimit", 40, {"PixelPaddingValue": 63}),
    **{
        f"{colour}PaletteColorLookupTable{part}": Example(
            [palette()], [palette(**{f"{colour}PaletteColorLookupTable{part}": value})]
        )
        for colour in ("Red", "Green", "Blue")
        for part, value in (("Descriptor", [64, 9, 8]), ("Data", np.arange(64, 0, -1, dtype="<u2").tobytes()))
    },
    **{
        f"Segmented{colour}PaletteColorLookupTableData": Example(
            [palette()],
            [palette(**{
                f"{colour}PaletteColorLookupTableData": None, f"{colour}PaletteColorLookupTableDescriptor": [64, 0, 16],
                f"Segmented{colour}PaletteColorLookupTableData": SEGMENTED,
            })],
        )
        for colour in ("Red", "Green", "Blue")
    },
    "PixelPresentation": one("PixelPresentation", "COLOR", ENHANCED),
    "FloatPixelPaddingValue": one("FloatPixelPaddingValue", 63.0, FLOATS),
    "FloatPixelPaddingRangeLimit": one("FloatPixelPaddingRangeLimit", 40.0, {**FLOATS, "FloatPixelPaddingValue": 63.0}),
    "DoubleFloatPixelPaddingValue": one("DoubleFloatPixelPaddingValue", 63.0, DOUBLES),
    "DoubleFloatPixelPaddingRangeLimit": one(
        "DoubleFloatPixelPaddingRangeLimit", 40.0, {**DOUBLES, "DoubleFloatPixelPaddingValue": 63.0}
    ),
    "NumberOfFrames": two("NumberOfFrames", 1, 2, {"stored": np.stack([RAMP, RAMP])})._replace(
        refused={"NumberOfFrames": 200_000, "Rows": 1, "Columns": 1}
    ),
    "ExtendedOffsetTable": Example(
        extended((0, 8 + len(CODES[0])), (len(CODES[0]), len(CODES[1]))), extended((0, 0), (len(CODES[0]), len(CODES[0])))
    ),
    "ExtendedOffsetTableLengths": Example(
        extended((0, 8 + len(CODES[0])), (len(CODES[0]), len(CODES[1]))), extended((0, 8 + len(CODES[0])), (2**40, 2**40))
    ),
    "DimensionIndexValues": frames(CONTENT, "DimensionIndexValues", ([1, 1], [1, 2])),
    "ConcatenationUID": of_two(lambda uid: parts(uid, (0, 2)), "1.1", "1.2"),
    "ConcatenationFrameOffsetNumber": of_two(lambda first: parts("1.1", (first, 2 - first)), 0, 2),
    "FrameTime": one("FrameTime", 33.3, STACK),
    "VolumetricProperties": one("VolumetricProperties", "DISTORTED", ENHANCED),
    "RescaleIntercept": two("RescaleIntercept", 0, -5, {"RescaleSlope": 1}),
    "RescaleSlope": two("RescaleSlope", 1, 2, {"RescaleIntercept": 0}),
    "RescaleType": two("RescaleType", "HU", "MGML", HU),
    "ModalityLUTSequence": one("ModalityLUTSequence", [table()]),
    "ModalityLUTType": two("ModalityLUTSequence", [table()], [table(ModalityLUTType="OD")]),
    "LUTDescriptor": two("ModalityLUTSequence", [table()], [table(LUTDescriptor=[64, 5, 8])]),
    "LUTData": two("ModalityLUTSequence", [table()], [table(LUTData=bytes(128))]),
    "WindowCenter": two("WindowCenter", 30, 50, {"WindowWidth": 20}),
    "WindowWidth": two("WindowWidth", 30, 50, {"WindowCenter": 20}),
    "WindowCenterWidthExplanation": one("WindowCenterWidthExplanation", "BONE", WINDOW),
    "VOILUTFunction": two("VOILUTFunction", "LINEAR", "SIGMOID", WINDOW),
    "VOILUTSequence": one("VOILUTSequence", [table()]),
    "PixelSpacingCalibrationType": one("PixelSpacingCalibrationType", "GEOMETRY", {**IMAGER, "PixelSpacing": [0.2, 0.2]}),
    "ImagerPixelSpacing": one("ImagerPixelSpacing", [0.2, 0.2], FILM),
    "NominalScannedPixelSpacing": one("NominalScannedPixelSpacing", [0.2, 0.2], FILM),
    "EstimatedRadiographicMagnificationFactor": one("EstimatedRadiographicMagnificationFactor", 1.25, IMAGER),
    "ViewPosition": one("ViewPosition", "PA", FILM),
    "PixelIntensityRelationship": one("PixelIntensityRelationship", "LOG", FILM),
    "PresentationIntentType": one("PresentationIntentType", "FOR PROCESSING", FILM),
    "FramePixelDataPropertiesSequence": shared(
        "FramePixelDataPropertiesSequence", None, item(ImagerPixelSpacing=[0.2, 0.2]), ANGIOGRAM
    ),
    "ProjectionPixelCalibrationSequence": shared(
        "ProjectionPixelCalibrationSequence", None, item(ObjectPixelSpacingInCenterOfBeam=[0.15, 0.15]), ANGIOGRAM
    ),
    "ObjectPixelSpacingInCenterOfBeam": shared(
        "ProjectionPixelCalibrationSequence", item(), item(ObjectPixelSpacingInCenterOfBeam=[0.15, 0.15]), ANGIOGRAM
    ),
    "ImagePlanePixelSpacing": two("ImagePlanePixelSpacing", [0.4, 0.4], [0.3, 0.3], BEAM),
    "RTImageSID": two("RTImageSID", 1000, 1600, {**BEAM, "RadiationMachineSAD": 1000}),
    "RadiationMachineSAD": one("RadiationMachineSAD", 1000, {**BEAM, "RTImageSID": 1600}),
    "KVP": slices("KVP", (80, 140)),
    "XRayTubeCurrent": one("XRayTubeCurrent", 200),
    "Exposure": one("Exposure", 100),
    "ConvolutionKernel": slices("ConvolutionKernel", ("B30f", "B70f")),
    "GantryDetectorTilt": one("GantryDetectorTilt", -12),
    "MultienergyCTAcquisition": one("MultienergyCTAcquisition", "YES", HU),
    "ScanningSequence": one("ScanningSequence", ["GR", "IR"], MR),
    "MRAcquisitionType": one("MRAcquisitionType", "3D", MR),
    "RepetitionTime": slices("RepetitionTime", (500, 900), MR),
    "EchoTime": slices("EchoTime", (4.6, 9.2), MR),
    "EchoNumbers": slices("EchoNumbers", (1, 2), MR),
    "InversionTime": slices("InversionTime", (100, 500), MR),
    "FlipAngle": slices("FlipAngle", (5, 20), MR),
    "MagneticFieldStrength": one("MagneticFieldStrength", 3, MR),
    "TriggerTime": slices("TriggerTime", (10, 400), MR),
    "TemporalPositionIdentifier": slices("TemporalPositionIdentifier", (1, 2), MR),
    "DiffusionBValue": slices("DiffusionBValue", (0.0, 1000.0), MR),
    "ComplexImageComponent": slices("ComplexImageComponent", ("MAGNITUDE", "PHASE"), MR),
    "Units": one("Units", "BQML", PET),
    "SUVType": one("SUVType", "BW", PET),
    "FrameReferenceTime": slices("FrameReferenceTime", (0, 5000), PET),
    "DecayCorrection": one("DecayCorrection", "START", PET),
    **{
        f"{name}Vector": vector(f"{name}Vector")
        for name in ("EnergyWindow", "Detector", "Phase", "Rotation", "RRInterval", "TimeSlot", "AngularView", "TimeSlice")
    },
    "SliceVector": two("SliceVector", [1, 2], [1, 3], {**STACK, "SpacingBetweenSlices": 4, **PLACED}),
    "DetectorInformationSequence": one(
        "DetectorInformationSequence", [item(ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=AXIAL)],
        {"SOPClassUID": NuclearMedicineImageStorage, "Modality": "NM"},
    ),
    "SequenceOfUltrasoundRegions": Example([ULTRASOUND], [region()]),
    "RegionFlags": regions("RegionFlags", 0, 1),
    "RegionLocationMinX0": regions("RegionLocationMinX0", 0, 2),
    "RegionLocationMinY0": regions("RegionLocationMinY0", 0, 2),
    "RegionLocationMaxX1": regions("RegionLocationMaxX1", 7, 5),
    "RegionLocationMaxY1": regions("RegionLocationMaxY1", 7, 5),
    "PhysicalUnitsXDirection": regions("PhysicalUnitsXDirection", 3, 4),
    "PhysicalUnitsYDirection": regions("PhysicalUnitsYDirection", 3, 7),
    "PhysicalDeltaX": regions("PhysicalDeltaX", 0.1, 0.2),
    "PhysicalDeltaY": regions("PhysicalDeltaY", 0.1, 0.2),
    "ConversionType": one("ConversionType", "WSD"),
    "TotalPixelMatrixColumns": Example([slide(TotalPixelMatrixColumns=16)], [slide(TotalPixelMatrixColumns=14)]),
    "TotalPixelMatrixRows": Example([slide(TotalPixelMatrixRows=16)], [slide(TotalPixelMatrixRows=13)]),
    **dict.fromkeys(
        (
            "PlanePositionSlideSequence", "ColumnPositionInTotalImagePixelMatrix", "RowPositionInTotalImagePixelMatrix",
        ),
        Example([slide()], [slide(places=((9, 9), (1, 9), (9, 1), (1, 1)))]),
    ),
    "DoseUnits": two("DoseUnits", "GY", "RELATIVE", DOSE),
    "DoseType": one("DoseType", "EFFECTIVE", DOSE),
    "DoseGridScaling": two("DoseGridScaling", "0.5", "0.25", DOSE),
    "GridFrameOffsetVector": one("GridFrameOffsetVector", [0, 3], {**DOSE, **STACK, **PLACED}),
    "SegmentationType": Example([{**FRACTIONS, "SegmentationType": "BINARY"}], [FRACTIONS]),
    "SegmentationFractionalType": two("SegmentationFractionalType", "PROBABILITY", "OCCUPANCY", FRACTIONS),
    "MaximumFractionalValue": two("MaximumFractionalValue", 64, 128, FRACTIONS),
    "SegmentIdentificationSequence": frames("SegmentIdentificationSequence", "ReferencedSegmentNumber", (1, 2)),
    "ReferencedSegmentNumber": frames("SegmentIdentificationSequence", "ReferencedSegmentNumber", (1, 2)),
    "SharedFunctionalGroupsSequence": shared("PixelMeasuresSequence", None, item(PixelSpacing=[1, 1])),
    "PerFrameFunctionalGroupsSequence": frames(CONTENT, "TemporalPositionIndex", (1, 2)),
    "PixelMeasuresSequence": shared("PixelMeasuresSequence", None, item(PixelSpacing=[1, 1])),
    "PlanePositionSequence": shared("PlanePositionSequence", None, item(ImagePositionPatient=[1, 2, 3])),
    "PlaneOrientationSequence": shared("PlaneOrientationSequence", None, item(ImageOrientationPatient=AXIAL)),
    "FrameVOILUTSequence": shared("FrameVOILUTSequence", None, item(**WINDOW)),
    "PixelValueTransformationSequence": shared(
        "PixelValueTransformationSequence", None, item(RescaleSlope=2, RescaleIntercept=1, RescaleType="US")
    ),
    "FrameContentSequence": frames(CONTENT, "TemporalPositionIndex", (1, 2)),
    "StackID": frames(CONTENT, "StackID", ("A", "B")),
    "TemporalPositionIndex": frames(CONTENT, "TemporalPositionIndex", (1, 2)),
    "FrameAcquisitionDateTime": frames(CONTENT, "FrameAcquisitionDateTime", ("20200101100000", "20200101110000")),
    "FrameReferenceDateTime": frames(CONTENT, "FrameReferenceDateTime", ("20200101100000", "20200101110000")),
    "FrameAcquisitionNumber": frames(CONTENT, "FrameAcquisitionNumber", (1, 2)),
    **dict.fromkeys(
        ("TemporalPositionSequence", "TemporalPositionTimeOffset"),
        frames("TemporalPositionSequence", "TemporalPositionTimeOffset", (0.0, 5.0)),
    ),
    "FrameAnatomySequence": shared("FrameAnatomySequence", None, item(FrameLaterality="L")),
    "FrameLaterality": shared("FrameAnatomySequence", item(FrameLaterality="R"), item(FrameLaterality="L")),
    "CardiacSynchronizationSequence": frames(CARDIAC, "NominalPercentageOfCardiacPhase", (40.0, 75.0)),
    "NominalPercentageOfCardiacPhase": frames(CARDIAC, "NominalPercentageOfCardiacPhase", (40.0, 75.0)),
    "NominalCardiacTriggerDelayTime": frames(CARDIAC, "NominalCardiacTriggerDelayTime", (100.0, 300.0)),
    "ActualCardiacTriggerDelayTime": frames(CARDIAC, "ActualCardiacTriggerDelayTime", (100.0, 300.0)),
    "RespiratorySynchronizationSequence": frames(RESPIRATORY, "NominalPercentageOfRespiratoryPhase", (0.0, 50.0)),
    "NominalPercentageOfRespiratoryPhase": frames(RESPIRATORY, "NominalPercentageOfRespiratoryPhase", (0.0, 50.0)),
    "MRTimingAndRelatedParametersSequence": frames(TIMING, "FlipAngle", (5.0, 20.0)),
    "MREchoSequence": frames("MREchoSequence", "EffectiveEchoTime", (4.6, 9.2)),
    "EffectiveEchoTime": frames("MREchoSequence", "EffectiveEchoTime", (4.6, 9.2)),
    "MRDiffusionSequence": frames("MRDiffusionSequence", "DiffusionBValue", (0.0, 1000.0)),
    **dict.fromkeys(
        ("DiffusionGradientDirectionSequence", "DiffusionGradientOrientation"),
        Example(
            enhanced((GRADIENTS[0], GRADIENTS[0]), "MRDiffusionSequence"),
            enhanced((GRADIENTS[0], GRADIENTS[1]), "MRDiffusionSequence"),
        ),
    ),
    **{
        keyword: frames(macro, attribute, values)
        for macro, attribute, values in (
            ("MRModifierSequence", "InversionTimes", ([100.0], [900.0])),
            ("MRVelocityEncodingSequence", "VelocityEncodingDirection", ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])),
            ("MRArterialSpinLabelingSequence", "ASLContext", ("LABEL", "CONTROL")),
            ("CTReconstructionSequence", "ConvolutionKernel", ("B30f", "B70f")),
            ("CTXRayDetailsSequence", "KVP", (80.0, 140.0)),
            ("ContrastBolusUsageSequence", "ContrastBolusAgentNumber", (1, 2)),
            ("ContrastBolusUsageSequence", "ContrastBolusAgentAdministered", ("NO", "YES")),
            ("ContrastBolusUsageSequence", "ContrastBolusAgentDetected", ("NO", "YES")),
            ("ContrastBolusUsageSequence", "ContrastBolusAgentPhase", ("PRE_CONTRAST", "POST_CONTRAST")),
        )
        for keyword in (macro, attribute) if keyword not in ("ConvolutionKernel", "KVP")
    },
    **{
        sequence: frames(sequence, "FrameType", (["ORIGINAL", "A"], ["DERIVED", "B"]))
        for sequence in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence")
    },
    "FrameType": frames("MRImageFrameTypeSequence", "FrameType", (["ORIGINAL", "A"], ["DERIVED", "B"])),
    "RealWorldValueMappingSequence": Example([MR], [mapping()]),
    "RealWorldValueFirstValueMapped": Example([mapping()], [mapping(RealWorldValueFirstValueMapped=20)]),
    "RealWorldValueLastValueMapped": Example([mapping()], [mapping(RealWorldValueLastValueMapped=50)]),
    "DoubleFloatRealWorldValueFirstValueMapped": Example(
        [mapping()], [mapping(DoubleFloatRealWorldValueFirstValueMapped=20.0)]
    ),
    "DoubleFloatRealWorldValueLastValueMapped": Example(
        [mapping()], [mapping(DoubleFloatRealWorldValueLastValueMapped=50.0)]
    ),
    "RealWorldValueSlope": Example([mapping()], [mapping(RealWorldValueSlope=3.0)]),
    "RealWorldValueIntercept": Example([mapping()], [mapping(RealWorldValueIntercept=7.0)]),
    "MeasurementUnitsCodeSequence": Example([mapping(MeasurementUnitsCodeSequence=None)], [mapping()]),
    "CodeValue": Example([mapping()], [mapping(MeasurementUnitsCodeSequence=[item(CodeValue="s")])]),
    "OverlayRows": overlay("OverlayRows", 0x60000010, "US", 8, 4),
    "OverlayColumns": overlay("OverlayColumns", 0x60000011, "US", 8, 4),
    "OverlayOrigin": overlay("OverlayOrigin", 0x60000050, "SS", [1, 1], [3, 3]),
    "OverlayData": overlay("OverlayData", 0x60003000, "OW", b"\x0f\xf0" * 4, b"\xff\xff" * 4),
    "OverlayBitPosition": of_two(
        lambda position: [{
            "stored": RAMP | RAMP << 12, "overlays": True, "BitsStored": 12, "HighBit": 11,
            "raw": {0x60000010: ("US", 8), 0x60000011: ("US", 8), 0x60000102: ("US", position)},
        }], 12, 13,
    ),
}  # fmt: skip
