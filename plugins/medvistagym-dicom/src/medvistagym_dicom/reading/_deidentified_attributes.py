"""The facts about an acquisition that may leave the reader, and the closed vocabularies that they are checked against.

A text element can hold anything, whatever its type promises: people type names into Body Part Examined. So words pass only when
they are one of DICOM's defined terms, and numbers only as numbers within a plausible range. Free text, names, dates, times,
UIDs, institutions, device names and private elements never pass; patient age, sex, size and weight do not either.
"""

from __future__ import annotations

import re
from typing import Final

from medvistagym_dicom.reading._dataset import DicomDataset
from medvistagym_dicom.reading._functional_groups import frame_number, functional_group
from medvistagym_dicom.reading._units import is_localizer, is_mosaic

# PS3.3 C.7.3.1.1.1, the modalities whose objects can hold images.
MODALITIES: Final = frozenset(
    """
    BI BMD CFM CR CT CTPROTOCOL DG DMS DX ECG ES FA FS GM HC HD IO IVOCT IVUS KER LEN LP LS MG MR NM OAM OCT OP
    OPM OPT OPTBSV OPTENF OPV OSS OT PT PX RF RG RTDOSE RTIMAGE SC SEG SM SRF ST TG US VA XA XC
    """.split()  # noqa: SIM905
)
# PS3.16 annex L (human anatomy), the terms in common use.
BODY_PARTS: Final = frozenset(
    """
    ABDOMEN ABDOMENPELVIS ADRENAL ANKLE AORTA ARM AXILLA BACK BLADDER BODY BONE BRAIN BREAST BRONCHUS BUTTOCK
    CALCANEUS CALF CAROTID CEREBELLUM CERVIX CHEEK CHEST CHESTABDOMEN CHESTABDPELVIS CIRCLEOFWILLIS CLAVICLE
    COCCYX COLON CORNEA CORONARYARTERY CSPINE CTSPINE DUODENUM EAR ELBOW ESOPHAGUS EXTREMITY EYE EYELID FACE
    FEMUR FIBULA FINGER FOOT FOREARM GALLBLADDER HAND HEAD HEADNECK HEART HIP HUMERUS IAC ILEUM ILIUM JAW
    JEJUNUM KIDNEY KNEE LARYNX LEG LIVER LOWERLEG LSPINE LSSPINE LUMBAR LUNG MAXILLA MEDIASTINUM MOUTH NECK
    NECKCHEST NECKCHESTABDOMEN NECKCHESTABDPELV NOSE ORBIT OVARY PANCREAS PARASTERNAL PAROTID PATELLA PELVIS
    PENIS PHARYNX PITUITARY PROSTATE RADIUS RADIUSULNA RECTUM RIB SACRUM SCALP SCAPULA SCLERA SCROTUM SELLA
    SHOULDER SIJOINT SINUS SKULL SPINE SPLEEN SSPINE STERNUM STOMACH SUBMANDIBULAR TESTIS THIGH THORAX THUMB
    THYMUS THYROID TIBIA TIBIAFIBULA TLSPINE TMJ TOE TONGUE TRACHEA TSPINE ULNA UMBILICAL URETER URETHRA UTERUS
    VAGINA VULVA WHOLEBODY WRIST ZYGOMA
    """.split()  # noqa: SIM905
)
# PS3.3 C.8.11.5.1.2 and CID 4014: projections of radiography.
VIEW_POSITIONS: Final = frozenset(
    """
    AP PA LL RL RLD LLD RLO LLO LAO RAO LPO RPO MLO CC LM ML LMO XCCL XCCM FB SIO ISO CV AT LAT OBL
    """.split()  # noqa: SIM905
)
# PS3.3 C.7.3.1.1.2: how the patient lay, head or feet first, on the back, front or side.
PATIENT_POSITIONS: Final = frozenset(("HFS", "HFP", "HFDR", "HFDL", "FFS", "FFP", "FFDR", "FFDL"))
# PS3.3 C.8.3.1.1.1
SCANNING_SEQUENCES: Final = frozenset(("SE", "IR", "GR", "EP", "RM"))
# Reconstruction kernels are named by makers in free text; only these names and patterns, of at most five signs, pass.
CONVOLUTION_KERNEL_PATTERN: Final = re.compile(
    r"STANDARD|SOFT|LUNG|BONE(PLUS)?|DETAIL|EDGE|CHEST|ULTRA|ND|[BDHTU]\d\d[fhsm]?|[BHQU][lrvf]\d\d[dfmsu]?|FC\d\d|[A-E]|[YU][A-E]"
)
# PS3.3 C.8.6.1: how a picture came to be an object that no scanner made.
CONVERSION_TYPES: Final = {
    "DV": "digitised video", "DI": "digital interface", "DF": "digitised film", "WSD": "workstation",
    "SD": "scanned document", "SI": "scanned image", "DRW": "drawing", "SYN": "synthetic image",
}  # fmt: skip
PATIENT_DIRECTIONS: Final = {"A": "front", "P": "back", "R": "right", "L": "left", "H": "head", "F": "feet"}
LATERALITIES: Final = {"R": "right", "L": "left", "B": "both"}
# Names that a window may keep; Window Center & Width Explanation is free text.
WINDOW_NAMES: Final = frozenset(
    """
    WINDOW1 WINDOW2 WINDOW3 ALGO1 ALGO2 NORMAL HARDER SOFTER HARD SOFT USER CUSTOM DEFAULT BRAIN BONE LUNG
    MEDIASTINUM ABDOMEN LIVER HEAD SPINE SUBDURAL STROKE ANGIO CHEST PELVIS THORAX NARROW WIDE
    """.split()  # noqa: SIM905
)


def modality(dataset: DicomDataset) -> str | None:
    """The modality, when it is one of DICOM's defined terms."""
    word = dataset.string("Modality").upper()
    return word if word in MODALITIES else None


# Key -> keyword, its range (exclusive below, inclusive above), and the functional group that holds it in enhanced objects.
_NUMERIC_ATTRIBUTES: Final = {
    "slice_thickness_mm": ("SliceThickness", 0.0, 1000.0, "PixelMeasuresSequence"),
    "kvp": ("KVP", 0.0, 500.0, "CTXRayDetailsSequence"),
    "tube_current_ma": ("XRayTubeCurrent", 0.0, 5000.0, ""),
    "exposure_mas": ("Exposure", 0.0, 10000.0, ""),
    "repetition_time_ms": ("RepetitionTime", 0.0, 100000.0, "MRTimingAndRelatedParametersSequence"),
    "echo_time_ms": ("EchoTime", 0.0, 10000.0, "MREchoSequence"),
    "inversion_time_ms": ("InversionTime", 0.0, 20000.0, ""),
    "flip_angle_deg": ("FlipAngle", 0.0, 360.0, "MRTimingAndRelatedParametersSequence"),
    "field_strength_t": ("MagneticFieldStrength", 0.0, 30.0, ""),
    "diffusion_b_value": ("DiffusionBValue", -1.0, 100000.0, "MRDiffusionSequence"),
    "gantry_tilt_deg": ("GantryDetectorTilt", -90.0, 90.0, ""),
    "frame_time_ms": ("FrameTime", 0.0, 100000.0, ""),
}
# Key -> keyword and its defined terms, told in lower case.
_TERMS: Final = {
    "suv_type": ("SUVType", frozenset(("BSA", "BW", "LBM", "LBMJAMES128", "LBMJANMA", "IBW"))),
    "decay_correction": ("DecayCorrection", frozenset(("NONE", "START", "ADMIN"))),
    "dose_type": ("DoseType", frozenset(("PHYSICAL", "EFFECTIVE", "ERROR"))),
    "segmentation_type": ("SegmentationType", frozenset(("BINARY", "FRACTIONAL", "LABELMAP"))),
    "volumetric_properties": ("VolumetricProperties", frozenset(("DISTORTED",))),
    "presentation_intent": ("PresentationIntentType", frozenset(("FOR PROCESSING",))),
    "pixel_intensity": ("PixelIntensityRelationship", frozenset(("LIN", "LOG", "DISP"))),
    "complex_component": (
        "ComplexImageComponent", frozenset(("MAGNITUDE", "PHASE", "REAL", "IMAGINARY", "MIXED")),
    ),
}  # fmt: skip


def deidentified_attributes(dataset: DicomDataset, frame: int = 0) -> dict[str, str]:
    """De-identified facts: body part, laterality, view and patient position, slice thickness, tube and kernel of CT, sequence
    and times of MR, gantry tilt, rescaling, whether it is a localizer, derived, a screenshot, compressed with loss, or has text
    burned in.

    Args:
        dataset: The object.
        frame: Which frame, where frames differ.
    """
    attributes: dict[str, str] = {}
    body_part = dataset.string("BodyPartExamined").upper().replace(" ", "")
    if body_part in BODY_PARTS:
        attributes["body_part"] = body_part.lower()
    anatomy = functional_group(dataset, frame, "FrameAnatomySequence")
    side = dataset.string("ImageLaterality") or dataset.string("Laterality")
    side = side or (anatomy.string("FrameLaterality") if anatomy is not None else "")
    if side.upper() in LATERALITIES:
        attributes["laterality"] = LATERALITIES[side.upper()]
    for key, keyword, terms in (
        ("view_position", "ViewPosition", VIEW_POSITIONS),
        ("patient_position", "PatientPosition", PATIENT_POSITIONS),
        ("acquisition_type", "MRAcquisitionType", frozenset(("2D", "3D"))),
    ):
        word = dataset.string(keyword).upper()
        if word in terms:
            attributes[key] = word
    sequences = dataset.strings("ScanningSequence")
    if sequences and SCANNING_SEQUENCES.issuperset(sequences):
        attributes["sequence"] = "/".join(sequences[:5])
    reconstruction = functional_group(dataset, frame, "CTReconstructionSequence") or dataset
    if CONVOLUTION_KERNEL_PATTERN.fullmatch(kernel := reconstruction.string("ConvolutionKernel")):
        attributes["kernel"] = kernel
    attributes |= _numeric_attributes(dataset, frame)
    slope, intercept = dataset.number("RescaleSlope"), dataset.number("RescaleIntercept") or 0.0
    if slope and abs(slope) < 1e4 and abs(intercept) < 1e5:
        attributes["rescale"] = f"{slope:.6g} {intercept:.6g}"
    if is_localizer(dataset):
        attributes["localizer"] = "yes"
    return attributes | _meaning_attributes(dataset)


def _numeric_attributes(dataset: DicomDataset, frame: int) -> dict[str, str]:
    attributes = {}
    for key, (keyword, low, high, macro) in _NUMERIC_ATTRIBUTES.items():
        value = frame_number(dataset, frame, macro, keyword) if macro else dataset.number(keyword)
        if key == "echo_time_ms" and value is None:
            value = frame_number(dataset, frame, macro, "EffectiveEchoTime")
        if key == "inversion_time_ms" and value is None:
            value = frame_number(dataset, frame, "MRModifierSequence", "InversionTimes")
        if value is not None and low < value <= high and not (value == 0 and key == "gantry_tilt_deg"):
            attributes[key] = f"{value:.4g}"
    return attributes


def _orientation_in_words(letters: str) -> str:
    """The direction that letters name (PS3.3 C.7.6.1.1.1), as in "left and front"; "" for anything else."""
    names = [PATIENT_DIRECTIONS.get(letter, "") for letter in letters]
    return " and ".join(names) if 1 <= len(names) <= 3 and all(names) else ""


def _meaning_attributes(dataset: DicomDataset) -> dict[str, str]:
    """What the values of an object mean, or what was done to them."""
    attributes = {}
    for key, (keyword, terms) in _TERMS.items():
        word = dataset.string(keyword).upper()
        if word in terms:
            attributes[key] = word.lower()
    types = [word.upper() for word in dataset.strings("ImageType")]
    if types[:1] == ["DERIVED"]:
        attributes["derived"] = "yes"
    if is_mosaic(dataset):
        attributes["composite"] = "mosaic"
    directions = [_orientation_in_words(word.upper()) for word in dataset.strings("PatientOrientation")]
    if len(directions) == 2 and all(directions):
        attributes["row_direction"], attributes["column_direction"] = directions
    if "ConversionType" in dataset and dataset.string("ConversionType").upper() in CONVERSION_TYPES:
        attributes["conversion"] = CONVERSION_TYPES[dataset.string("ConversionType").upper()]
    if dataset.string("PixelPresentation").upper() in ("COLOR", "MIXED"):
        attributes["supplemental_colour"] = "not applied"
    if dataset.string("LossyImageCompression") == "01":
        attributes["lossy"] = "yes"
    burned = dataset.string("BurnedInAnnotation").upper()
    if burned in ("YES", "NO"):
        attributes["burned_in_annotation"] = burned.lower()
    return attributes
