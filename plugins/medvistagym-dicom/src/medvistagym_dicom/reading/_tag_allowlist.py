"""The attributes that are read from DICOM files at all, by the module of PS3.3 that defines them.

pydicom's reader steps over every other attribute without decoding it, so no name, date of birth, identifier, description or
private data can leave the reader. `docs/dicom.md` says of each attribute listed here what is done with it. Tags and value
representations are those of pydicom's dictionary.
"""

from __future__ import annotations

import functools
from typing import Final, NamedTuple

MODULES: Final[dict[str, tuple[str, ...]]] = {
    "SOP Common": ("SOPClassUID", "SOPInstanceUID", "InstanceNumber"),
    "General Series": ("Modality", "SeriesInstanceUID", "PatientPosition", "BodyPartExamined", "Laterality"),
    "General Acquisition": ("AcquisitionNumber", "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime"),
    "General Image": (
        "ImageType", "ContentDate", "ContentTime", "PatientOrientation", "ImageLaterality", "BurnedInAnnotation",
        "LossyImageCompression",
    ),
    "Frame of Reference": ("FrameOfReferenceUID",),
    "Image Plane": (
        "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "SliceThickness", "SpacingBetweenSlices",
        "SliceLocation",
    ),
    "Image Pixel": (
        "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "PixelAspectRatio",
        "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit",
        "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
        "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
        "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
        "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData", "PixelPresentation",
    ),
    "Floating Point Image Pixel": (
        "FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit", "DoubleFloatPixelPaddingValue",
        "DoubleFloatPixelPaddingRangeLimit",
    ),
    "Multi-frame": ("NumberOfFrames", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    "Multi-frame Dimension": ("DimensionIndexValues",),
    "Concatenation": ("ConcatenationUID", "ConcatenationFrameOffsetNumber"),
    "Cine": ("FrameTime",),
    "Common image description": ("VolumetricProperties",),
    "Modality LUT": (
        "RescaleIntercept", "RescaleSlope", "RescaleType", "ModalityLUTSequence", "ModalityLUTType", "LUTDescriptor", "LUTData",
    ),
    "VOI LUT": ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction", "VOILUTSequence"),
    "Basic Pixel Spacing Calibration": ("PixelSpacingCalibrationType",),
    "X-Ray projection": (
        "ImagerPixelSpacing", "NominalScannedPixelSpacing", "EstimatedRadiographicMagnificationFactor", "ViewPosition",
        "PixelIntensityRelationship", "PresentationIntentType", "FramePixelDataPropertiesSequence",
        "ProjectionPixelCalibrationSequence", "ObjectPixelSpacingInCenterOfBeam",
    ),
    "RT Image": ("ImagePlanePixelSpacing", "RTImageSID", "RadiationMachineSAD"),
    "CT Image": (
        "KVP", "XRayTubeCurrent", "Exposure", "ConvolutionKernel", "GantryDetectorTilt", "MultienergyCTAcquisition",
    ),
    "MR Image": (
        "ScanningSequence", "MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoNumbers", "InversionTime", "FlipAngle",
        "MagneticFieldStrength", "TriggerTime", "TemporalPositionIdentifier", "DiffusionBValue", "ComplexImageComponent",
    ),
    "PET Image": ("Units", "SUVType", "FrameReferenceTime", "DecayCorrection"),
    "NM Multi-frame": (
        "EnergyWindowVector", "DetectorVector", "PhaseVector", "RotationVector", "RRIntervalVector", "TimeSlotVector",
        "SliceVector", "AngularViewVector", "TimeSliceVector", "DetectorInformationSequence",
    ),
    "US Region Calibration": (
        "SequenceOfUltrasoundRegions", "RegionFlags", "RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1",
        "RegionLocationMaxY1", "PhysicalUnitsXDirection", "PhysicalUnitsYDirection", "PhysicalDeltaX", "PhysicalDeltaY",
    ),
    "SC Image": ("ConversionType",),
    "Whole Slide Microscopy": (
        "TotalPixelMatrixColumns", "TotalPixelMatrixRows", "PlanePositionSlideSequence",
        "ColumnPositionInTotalImagePixelMatrix", "RowPositionInTotalImagePixelMatrix",
    ),
    "RT Dose": ("DoseUnits", "DoseType", "DoseGridScaling", "GridFrameOffsetVector"),
    "Segmentation Image": (
        "SegmentationType", "SegmentationFractionalType", "MaximumFractionalValue", "SegmentIdentificationSequence",
        "ReferencedSegmentNumber",
    ),
    "Multi-frame Functional Groups": ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    "Functional group macros": (
        "PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence", "FrameVOILUTSequence",
        "PixelValueTransformationSequence", "FrameContentSequence", "StackID", "TemporalPositionIndex",
        "FrameAcquisitionDateTime", "FrameReferenceDateTime", "FrameAcquisitionNumber", "TemporalPositionSequence",
        "TemporalPositionTimeOffset", "FrameAnatomySequence", "FrameLaterality",
        "CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase", "NominalCardiacTriggerDelayTime",
        "ActualCardiacTriggerDelayTime", "RespiratorySynchronizationSequence", "NominalPercentageOfRespiratoryPhase",
        "MRTimingAndRelatedParametersSequence", "MREchoSequence", "EffectiveEchoTime", "MRDiffusionSequence",
        "DiffusionGradientDirectionSequence", "DiffusionGradientOrientation", "MRModifierSequence", "InversionTimes",
        "MRVelocityEncodingSequence", "VelocityEncodingDirection", "MRArterialSpinLabelingSequence", "ASLContext",
        "CTReconstructionSequence", "CTXRayDetailsSequence",
        "ContrastBolusUsageSequence", "ContrastBolusAgentNumber", "ContrastBolusAgentAdministered",
        "ContrastBolusAgentDetected", "ContrastBolusAgentPhase",
        "MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence", "FrameType",
    ),
    "Real World Value Mapping": (
        "RealWorldValueMappingSequence", "RealWorldValueFirstValueMapped", "RealWorldValueLastValueMapped",
        "DoubleFloatRealWorldValueFirstValueMapped", "DoubleFloatRealWorldValueLastValueMapped", "RealWorldValueSlope",
        "RealWorldValueIntercept", "MeasurementUnitsCodeSequence", "CodeValue",
    ),
    "Overlay Plane": ("OverlayRows", "OverlayColumns", "OverlayOrigin", "OverlayBitPosition", "OverlayData"),
}  # fmt: skip

OVERLAY_GROUPS: Final = range(
    0x6000, 0x6020, 2
)  # overlay planes repeat over them (PS3.3 C.9.2); keywords get the group's number
PIXEL_DATA: Final[dict[int, str]] = {
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
    0x7FE00010: "PixelData",
}

MAX_VALUE_BYTES: Final = 1 << 16
# Attributes that hold a value for each frame or entry and may be longer than `MAX_VALUE_BYTES`.
_LONG: Final = {
    "GridFrameOffsetVector": 1 << 21,
    "ExtendedOffsetTable": 1 << 20,
    "ExtendedOffsetTableLengths": 1 << 20,
    "LUTData": 1 << 18,
    "OverlayData": 1 << 30,  # only as many bytes as the plane needs are read
    **dict.fromkeys((k for k in MODULES["NM Multi-frame"] if k.endswith("Vector")), 1 << 18),
    **dict.fromkeys((k for k in MODULES["Image Pixel"] if k.endswith("LookupTableData")), 1 << 18),
}


class AllowedTag(NamedTuple):
    """An attribute that is read.

    Attributes:
        keyword: Of pydicom's dictionary; of an overlay plane with the number of its group, as in "OverlayRows6002".
        vr: Its value representation; the first one where the dictionary offers several.
        max_bytes: Longest value that is accepted.
    """

    keyword: str
    vr: str
    max_bytes: int


@functools.cache
def allowed_tags() -> dict[int, AllowedTag]:
    """The attributes that are read, by tag."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    allowed: dict[int, AllowedTag] = {}
    for module, keywords in MODULES.items():
        for keyword in keywords:
            tag = 0x60000000 | _OVERLAY_ELEMENTS[keyword] if module == "Overlay Plane" else tag_for_keyword(keyword)
            assert tag is not None
            vr, limit = dictionary_VR(tag).partition(" or ")[0], _LONG.get(keyword, MAX_VALUE_BYTES)
            if module == "Overlay Plane":
                for group in OVERLAY_GROUPS:
                    allowed[group << 16 | tag & 0xFFFF] = AllowedTag(f"{keyword}{group:04X}", vr, limit)
            else:
                allowed[int(tag)] = AllowedTag(keyword, vr, limit)
    return allowed


_OVERLAY_ELEMENTS: Final = {
    "OverlayRows": 0x0010,
    "OverlayColumns": 0x0011,
    "OverlayOrigin": 0x0050,
    "OverlayBitPosition": 0x0102,
    "OverlayData": 0x3000,
}
