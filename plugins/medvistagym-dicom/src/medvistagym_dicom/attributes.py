"""The facts about an acquisition that may leave the reader, and the closed vocabularies that they are checked against.

A text element can hold anything, whatever its type promises: people type names into Body Part Examined. So words pass only when
they are one of DICOM's defined terms, and numbers only as numbers within a plausible range. Free text, names, dates, times,
UIDs, institutions, device names and private elements never pass; patient age, sex, size and weight do not either.
"""

from __future__ import annotations

import re
from typing import Final

from medvistagym_dicom.geometry import macro
from medvistagym_dicom.header import Header

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
SEQUENCES: Final = frozenset(("SE", "IR", "GR", "EP", "RM"))
# Reconstruction kernels are named by makers in free text; only these names and patterns, of at most five signs, pass.
KERNELS: Final = re.compile(
    r"STANDARD|SOFT|LUNG|BONE(PLUS)?|DETAIL|EDGE|CHEST|ULTRA|ND|[BDHTU]\d\d[fhsm]?|[BHQU][lrvf]\d\d[dfmsu]?|FC\d\d|[A-E]|[YU][A-E]"
)
LATERALITIES: Final = {"R": "right", "L": "left", "B": "both"}
# Names that a window may keep; Window Center & Width Explanation is free text.
WINDOW_NAMES: Final = frozenset(
    """
    WINDOW1 WINDOW2 WINDOW3 ALGO1 ALGO2 NORMAL HARDER SOFTER HARD SOFT USER CUSTOM DEFAULT BRAIN BONE LUNG
    MEDIASTINUM ABDOMEN LIVER HEAD SPINE SUBDURAL STROKE ANGIO CHEST PELVIS THORAX NARROW WIDE
    """.split()  # noqa: SIM905
)
# PS3.3 C.11.1.1.2 (Rescale Type), C.8.9.1.1.3 (Units), C.8.8.3 (Dose Units): defined term -> unit; the others have none.
RESCALE_UNITS: Final = {"HU": "HU", "HU_MOD": "HU", "MGML": "mg/ml", "PCT": "%", "OD": "mOD"}
PET_UNITS: Final = {
    "BQML": "Bq/ml",
    "CNTS": "counts",
    "PROPCNTS": "counts",
    "CPS": "counts/s",
    "GML": "g/ml",
    "PCNT": "%",
}
DOSE_UNITS: Final = {"GY": "Gy"}


def modality(header: Header) -> str | None:
    """The modality, when it is one of DICOM's defined terms."""
    word = header.word("Modality").upper()
    return word if word in MODALITIES else None


# Key -> keyword, its range (exclusive below, inclusive above).
_NUMBERS: Final = {
    "slice_thickness_mm": ("SliceThickness", 0.0, 1000.0),
    "kvp": ("KVP", 0.0, 500.0),
    "tube_current_ma": ("XRayTubeCurrent", 0.0, 5000.0),
    "exposure_mas": ("Exposure", 0.0, 10000.0),
    "repetition_time_ms": ("RepetitionTime", 0.0, 100000.0),
    "echo_time_ms": ("EchoTime", 0.0, 10000.0),
    "inversion_time_ms": ("InversionTime", 0.0, 20000.0),
    "flip_angle_deg": ("FlipAngle", 0.0, 360.0),
    "field_strength_t": ("MagneticFieldStrength", 0.0, 30.0),
    "gantry_tilt_deg": ("GantryDetectorTilt", -90.0, 90.0),
}


def attributes(header: Header) -> dict[str, str]:
    """De-identified facts: body part, laterality, view and patient position, slice thickness, tube and kernel of CT, sequence
    and times of MR, gantry tilt, rescaling, whether it is a localizer, was compressed with loss, or has text burned in.
    """
    facts: dict[str, str] = {}
    part = header.word("BodyPartExamined").upper().replace(" ", "")
    if part in BODY_PARTS:
        facts["body_part"] = part.lower()
    side = header.word("ImageLaterality") or header.word("Laterality") or header.word("FrameLaterality")
    if side.upper() in LATERALITIES:
        facts["laterality"] = LATERALITIES[side.upper()]
    for key, keyword, known in (
        ("view_position", "ViewPosition", VIEW_POSITIONS),
        ("patient_position", "PatientPosition", PATIENT_POSITIONS),
        ("acquisition_type", "MRAcquisitionType", frozenset(("2D", "3D"))),
    ):
        word = header.word(keyword).upper()
        if word in known:
            facts[key] = word
    sequences = header.words("ScanningSequence")
    if sequences and SEQUENCES.issuperset(sequences):
        facts["sequence"] = "/".join(sequences[:5])
    if KERNELS.fullmatch(header.word("ConvolutionKernel")):
        facts["kernel"] = header.word("ConvolutionKernel")
    # enhanced objects keep their times in functional groups (PS3.3 C.8.13.5)
    sources = [header, *(macro(header, 0, f"{name}Sequence") for name in ("MRTimingAndRelatedParameters", "MREcho"))]
    for key, (keyword, low, high) in _NUMBERS.items():
        value = next((v for source in sources if (v := source.number(keyword)) is not None), None)
        if key == "echo_time_ms" and value is None:
            value = sources[-1].number("EffectiveEchoTime")
        if value is not None and low < value <= high and not (value == 0 and key == "gantry_tilt_deg"):
            facts[key] = f"{value:.4g}"
    slope, intercept = header.number("RescaleSlope"), header.number("RescaleIntercept") or 0.0
    if slope and abs(slope) < 1e4 and abs(intercept) < 1e5:
        facts["rescale"] = f"{slope:.6g} {intercept:.6g}"
    if is_localizer(header):
        facts["localizer"] = "yes"
    if header.word("LossyImageCompression") == "01":
        facts["lossy"] = "yes"
    burned = header.word("BurnedInAnnotation").upper()
    if burned in ("YES", "NO"):
        facts["burned_in_annotation"] = burned.lower()
    return facts


def is_localizer(header: Header) -> bool:
    """Whether it is a scout (PS3.3 C.8.2.1.1.1), whose values are no Hounsfield units."""
    return "LOCALIZER" in header.words("ImageType")
