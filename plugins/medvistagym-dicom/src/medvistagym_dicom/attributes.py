"""The facts about an acquisition that may leave the reader, and the closed vocabularies that they are checked against.

A text element can hold anything, whatever its type promises: people type names into Body Part Examined. So words pass only when
they are one of DICOM's defined terms, and numbers only as numbers within a plausible range. Free text, names, dates, times,
UIDs, institutions, device names and private elements never pass; patient age, sex, size and weight do not either.
"""

from __future__ import annotations

from typing import Final

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


def attributes(header: Header) -> dict[str, str]:
    """De-identified facts: body part, laterality, view position, slice thickness in mm, kVp, whether it is a localizer, was
    compressed with loss, or has text burned in.
    """
    facts: dict[str, str] = {}
    part = header.word("BodyPartExamined").upper().replace(" ", "")
    if part in BODY_PARTS:
        facts["body_part"] = part.lower()
    side = header.word("ImageLaterality") or header.word("Laterality") or header.word("FrameLaterality")
    if side.upper() in LATERALITIES:
        facts["laterality"] = LATERALITIES[side.upper()]
    view = header.word("ViewPosition").upper()
    if view in VIEW_POSITIONS:
        facts["view_position"] = view
    for key, keyword, most in (("slice_thickness_mm", "SliceThickness", 1000.0), ("kvp", "KVP", 500.0)):
        value = header.number(keyword)
        if value is not None and 0 < value <= most:
            facts[key] = f"{value:.4g}"
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
