"""The unit of the values of an object, by its own statements and never by the habit of its modality.

Rescale Type (PS3.3 C.11.1.1.2), the units of PET (C.8.9.1.1.3) and of dose (C.8.8.3) say it; a CT Image object is in Hounsfield
units where it is rescaled and says nothing else (C.8.2.1). A screenshot of a CT, whose modality is CT as well, is not.
"""

from __future__ import annotations

from typing import Final

from medvistagym_dicom.reading._dataset import DicomDataset
from medvistagym_dicom.reading._functional_groups import functional_group
from medvistagym_dicom.reading._pixel_format import PixelFormat

CT_CLASSES: Final = frozenset(
    ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
)
PET_CLASSES: Final = frozenset(
    ("1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.128.1", "1.2.840.10008.5.1.4.1.1.130")
)
DOSE_CLASS: Final = "1.2.840.10008.5.1.4.1.1.481.2"
SEGMENTATION_CLASSES: Final = frozenset(("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"))
# Defined term -> unit; the other terms name none.
RESCALE_UNITS: Final = {
    "HU": "HU", "HU_MOD": "HU", "MGML": "mg/ml", "PCT": "%", "OD": "mOD", "ED": "10^23/ml", "EDW": "N/Nw",
}  # fmt: skip
PET_UNITS: Final = {
    "BQML": "Bq/ml", "CNTS": "counts", "PROPCNTS": "counts", "CPS": "counts/s", "PROPCPS": "counts/s", "GML": "g/ml",
    "CM2ML": "cm2/ml", "PCNT": "%", "MGMINML": "mg/min/ml", "UMOLMINML": "umol/min/ml", "MLMING": "ml/min/g", "MLG": "ml/g",
    "1CM": "1/cm", "UMOLML": "umol/ml", "MLMINML": "ml/min/ml", "MLML": "ml/ml", "STDDEV": "SD",
}  # fmt: skip
DOSE_UNITS: Final = {"GY": "Gy"}
# UCUM codes of the units of real world values (PS3.16 CID 7180 to 7277 and others, those in common use) -> unit.
UCUM_UNITS: Final = {
    "[hnsf'U]": "HU", "Bq/ml": "Bq/ml", "Bq/mL": "Bq/ml", "{SUVbw}g/ml": "g/ml", "{SUVlbm}g/ml": "g/ml",
    "{SUVbsa}cm2/ml": "cm2/ml", "{SUVibw}g/ml": "g/ml", "g/ml{SUVbw}": "g/ml", "mm2/s": "mm2/s", "um2/s": "um2/s",
    "10-6.mm2/s": "10^-6 mm2/s", "ms": "ms", "s": "s", "/s": "1/s", "/min": "1/min", "Hz": "Hz", "%": "%",
    "mg/ml": "mg/ml", "mg/cm3": "mg/cm3", "g/ml": "g/ml", "mmol/l": "mmol/l", "ml/min/ml": "ml/min/ml",
    "ml/(100.g.min)": "ml/min/100 g", "ml/100.g/min": "ml/min/100 g", "ml/100.ml/min": "ml/min/100 ml",
    "ml/100.g": "ml/100 g", "ml/100ml": "ml/100 ml", "cm/s": "cm/s", "mm/s": "mm/s", "mm": "mm", "um": "um",
    "Gy": "Gy", "kPa": "kPa", "Pa": "Pa",
}  # fmt: skip


def object_class(dataset: DicomDataset) -> str:
    """UID of the class of object; of the file meta information where the object does not tell, "" where neither does."""
    return dataset.string("SOPClassUID") or dataset.media_class


def is_localizer(dataset: DicomDataset) -> bool:
    """Whether it is a scout (PS3.3 C.8.2.1.1.1), whose values are no Hounsfield units."""
    return "LOCALIZER" in (word.upper() for word in dataset.strings("ImageType"))


def is_mosaic(dataset: DicomDataset) -> bool:
    """Whether it is a picture of many slices side by side, whose position is that of none of them."""
    return "MOSAIC" in (word.upper() for word in dataset.strings("ImageType"))


def is_dose(dataset: DicomDataset) -> bool:
    """Whether it is a dose grid (PS3.3 C.8.8.3), whose values are scaled by Dose Grid Scaling and not by rescaling."""
    kind = object_class(dataset)
    return kind == DOSE_CLASS or (not kind and dataset.string("Modality").upper() == "RTDOSE")


def is_segmentation(dataset: DicomDataset) -> bool:
    """Whether it is a segmentation (PS3.3 C.8.20), whose values say what belongs to a segment."""
    kind = object_class(dataset)
    return kind in SEGMENTATION_CLASSES or (not kind and dataset.string("Modality").upper() == "SEG")


def rescale_unit(dataset: DicomDataset, pixel_format: PixelFormat, frame: int) -> str:
    """Unit of a frame's values after the modality transformation; "raw" where the object does not tell."""
    kind = object_class(dataset)
    if is_segmentation(dataset):
        return "label"
    if is_dose(dataset):
        has_scale = dataset.number("DoseGridScaling") is not None
        return DOSE_UNITS.get(dataset.string("DoseUnits").upper(), "raw") if has_scale else "raw"
    if "Units" in dataset and (kind in PET_CLASSES or not kind):
        return PET_UNITS.get(dataset.string("Units").upper(), "raw")
    transform = functional_group(dataset, frame, "PixelValueTransformationSequence") or dataset
    rescale_type = (transform.string("RescaleType") or dataset.string("RescaleType")).upper()
    if rescale_type:
        return RESCALE_UNITS.get(rescale_type, "raw")
    if dataset.string("MultienergyCTAcquisition").upper() == "YES":
        return "raw"  # whose values may be anything, and which must tell (C.8.2.1)
    is_rescaled = transform.number("RescaleSlope") is not None or transform.number("RescaleIntercept") is not None
    is_ct = kind in CT_CLASSES or (not kind and dataset.string("Modality").upper() == "CT")
    # C.8.2.1: bits allocated of a CT image are 16; of 8 they are greys of a picture of one
    if is_ct and is_rescaled and pixel_format.bits_allocated > 8 and not is_localizer(dataset):
        return "HU"
    return "raw"
