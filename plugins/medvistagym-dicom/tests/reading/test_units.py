"""Units of values: stated by the object, and never guessed from its modality."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    MRImageStorage,
    ParametricMapStorage,
    PositronEmissionTomographyImageStorage,
    RTDoseStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from medvistagym_core.imaging import Window
from medvistagym_dicom import DicomError, acquisition, read_one

Write = Callable[..., Path]
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
SCREENSHOT = {
    "SOPClassUID": SecondaryCaptureImageStorage,
    "ConversionType": "WSD",
    "ImageType": ["DERIVED", "SECONDARY"],
}


def test_a_screenshot_of_a_ct_is_grey_and_shown_as_it_is(write: Write) -> None:
    image = read_one(write(RAMP, **SCREENSHOT))
    assert (image.modality, image.unit, image.window) == ("CT", "grey", None)
    assert np.array_equal(image.view(), RAMP)
    text = acquisition.run({"image": image}).text
    assert "a converted picture (workstation)" in text
    assert "derived from other images" in text


@pytest.mark.parametrize(
    ("elements", "unit"),
    [
        ({"RescaleSlope": 1, "RescaleIntercept": -1024}, "HU"),
        ({"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}, "HU"),
        ({"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "US"}, "raw"),
        ({"RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "MGML"}, "mg/ml"),
        ({"RescaleSlope": 1, "RescaleIntercept": 0, "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "raw"),
        ({}, "raw"),  # what a CT image must state is not there
        ({**SCREENSHOT}, "raw"),
        ({**SCREENSHOT, "RescaleSlope": 1, "RescaleIntercept": 0}, "raw"),
        ({**SCREENSHOT, "RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "HU"}, "HU"),
        ({"SOPClassUID": MRImageStorage, "Modality": "MR", "RescaleSlope": 1, "RescaleIntercept": 0}, "raw"),
        ({"SOPClassUID": None, "RescaleSlope": 1, "RescaleIntercept": 0}, "HU"),  # the file meta information tells it
    ],
)
def test_units_of_rescaled_values(elements: dict[str, Any], unit: str, write: Write) -> None:
    assert read_one(write(RAMP.astype(np.int16), **elements)).unit == unit


@pytest.mark.parametrize(
    ("term", "unit"),
    [("BQML", "Bq/ml"), ("CNTS", "counts"), ("GML", "g/ml"), ("CM2ML", "cm2/ml"), ("NONE", "raw"), ("1CM", "1/cm")],
)
def test_units_of_pet_are_those_of_its_attribute(term: str, unit: str, write: Write) -> None:
    elements = {"SOPClassUID": PositronEmissionTomographyImageStorage, "Modality": "PT", "SUVType": "BW"}
    image = read_one(write(RAMP.astype(np.uint16), **elements, Units=term, RescaleSlope="0.5", RescaleIntercept=0))
    assert image.unit == unit
    assert image.pixels.max() == 127.5
    assert "SUV type bw" in acquisition.run({"image": image}).text


def test_a_dose_is_scaled_by_its_own_factor(write: Write) -> None:
    elements = {"SOPClassUID": RTDoseStorage, "Modality": "RTDOSE", "DoseGridScaling": "0.001", "DoseType": "PHYSICAL"}
    image = read_one(write(RAMP.astype(np.uint16), **elements, DoseUnits="GY", RescaleSlope=7, RescaleIntercept=5))
    assert image.unit == "Gy"
    assert image.pixels.max() == pytest.approx(0.255)
    assert "physical dose" in acquisition.run({"image": image}).text
    assert read_one(write(RAMP.astype(np.uint16), **elements, DoseUnits="RELATIVE")).unit == "raw"
    assert (
        read_one(write(RAMP.astype(np.uint16), **{**elements, "DoseGridScaling": None}, DoseUnits="GY")).unit == "raw"
    )


@pytest.mark.parametrize(
    ("elements", "unit", "greatest"),
    [
        ({"SegmentationType": "BINARY"}, "label", 255),
        ({"SegmentationType": "LABELMAP"}, "label", 255),
        (
            {"SegmentationType": "FRACTIONAL", "SegmentationFractionalType": "PROBABILITY", "MaximumFractionalValue": 255},
            "probability", 1,
        ),
        (
            {"SegmentationType": "FRACTIONAL", "SegmentationFractionalType": "OCCUPANCY", "MaximumFractionalValue": 200},
            "occupancy", 1.275,
        ),
    ],
)  # fmt: skip
def test_what_a_segmentation_means(elements: dict[str, Any], unit: str, greatest: float, write: Write) -> None:
    image = read_one(write(RAMP, SOPClassUID=SegmentationStorage, Modality="SEG", **elements))
    assert image.unit == unit
    assert image.pixels.max() == pytest.approx(greatest)


def test_a_label_map_with_a_palette_keeps_its_labels(write: Write) -> None:
    tables: dict[str, Any] = {}
    for colour in ("Red", "Green", "Blue"):
        tables[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 8]
        tables[f"{colour}PaletteColorLookupTableData"] = bytes(range(255, -1, -1))
    image = read_one(
        write(
            RAMP, SOPClassUID=SegmentationStorage, Modality="SEG", SegmentationType="LABELMAP",
            PhotometricInterpretation="PALETTE COLOR", **tables,
        )
    )  # fmt: skip
    assert (image.unit, image.photometric) == ("label", "MONOCHROME2")
    assert np.array_equal(image.pixels, RAMP)


# -- real world values (PS3.3 C.7.6.16.2.11)


def mapping(slope: float, intercept: float, unit: str, first: int = 0, last: int = 65535) -> Dataset:
    code, item = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = unit, "UCUM", "a unit"
    item.MeasurementUnitsCodeSequence = [code]
    item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, intercept
    item.RealWorldValueFirstValueMapped, item.RealWorldValueLastValueMapped = first, last
    return item


def groups(*mappings: Dataset) -> list[Dataset]:
    made = []
    for one in mappings:
        group = Dataset()
        group.RealWorldValueMappingSequence = [one]
        made.append(group)
    return made


def test_real_world_values_give_a_unit_to_values_that_have_none(write: Write) -> None:
    stored = np.stack([RAMP, RAMP]).astype(np.uint16)
    elements = {"SOPClassUID": EnhancedMRImageStorage, "Modality": "MR", "WindowCenter": 100, "WindowWidth": 50}
    image = read_one(write(stored, **elements, SharedFunctionalGroupsSequence=groups(mapping(0.5, 10, "um2/s"))))
    assert image.unit == "um2/s"
    assert np.array_equal(image.pixels, stored * 0.5 + 10)
    assert image.window == Window(60, 25)  # windows are meant for values before the mapping


def test_each_frame_may_have_its_own_mapping(write: Write) -> None:
    stored = np.full((2, 4, 4), 10, np.uint16)
    frames = groups(mapping(2, 0, "ms"), mapping(3, 1, "ms"))
    image = read_one(
        write(stored, SOPClassUID=EnhancedMRImageStorage, Modality="MR", PerFrameFunctionalGroupsSequence=frames)
    )
    assert (image.unit, image.pixels[0, 0, 0], image.pixels[1, 0, 0]) == ("ms", 20, 31)


def test_values_outside_a_mapping_have_none(write: Write) -> None:
    stored = np.array([[5, 10], [20, 30]], np.uint16)
    image = read_one(
        write(
            stored,
            SOPClassUID=MRImageStorage,
            Modality="MR",
            RealWorldValueMappingSequence=[mapping(2, 0, "s", 10, 20)],
        )
    )
    assert np.isnan(image.pixels).tolist() == [[True, False], [False, True]]
    assert image.pixels[0, 1] == 20


def test_a_map_of_no_unit_has_its_values_and_an_image_of_none_its_rescaling(write: Write) -> None:
    parametric = {
        "SOPClassUID": ParametricMapStorage,
        "Modality": "MR",
        "RealWorldValueMappingSequence": [mapping(0.01, 0, "1")],
    }
    image = read_one(write(RAMP.astype(np.uint16), **parametric))
    assert image.unit == "ratio"
    assert image.pixels.max() == pytest.approx(2.55)
    image = read_one(write(RAMP.astype(np.uint16), **parametric, RescaleSlope=2, RescaleIntercept=0))
    assert (image.unit, float(image.pixels.max())) == ("raw", 510)


@pytest.mark.parametrize("unit", ["ZQX^Plantagenet", "no units"])
def test_units_that_are_not_known_are_not_told(unit: str, write: Write) -> None:
    file = write(
        RAMP.astype(np.uint16),
        SOPClassUID=MRImageStorage,
        Modality="MR",
        RealWorldValueMappingSequence=[mapping(2, 0, unit)],
    )
    image = read_one(file)
    assert image.unit == "raw"
    assert image.pixels.max() == 255


def test_a_unit_by_rescaling_goes_before_a_mapping(write: Write) -> None:
    image = read_one(
        write(
            RAMP.astype(np.uint16), RescaleSlope=1, RescaleIntercept=-100,
            RealWorldValueMappingSequence=[mapping(2, 0, "mg/ml")],
        )
    )  # fmt: skip
    assert (image.unit, int(image.pixels.max())) == ("HU", 155)


def scaled_by(write: Write, slope: bytes, intercept: bytes) -> Path:
    """A CT image whose rescaling is written in these four bytes each, which pydicom would not write."""
    path = write(RAMP.astype(np.int16), RescaleSlope="0.75", RescaleIntercept="-9.5")
    content = path.read_bytes().replace(b"0.75", slope, 1).replace(b"-9.5", intercept, 1)
    path.write_bytes(content)
    return path


def test_a_decimal_comma_is_one(write: Write) -> None:
    image = read_one(scaled_by(write, b"0,75", b"-9,5"))
    assert np.array_equal(image.pixels, RAMP * 0.75 - 9.5)
    assert image.unit == "HU"


@pytest.mark.parametrize(
    ("slope", "intercept", "said"),
    [(b"one ", b"-9.5", "RescaleSlope"), (b"1,2.", b"-9.5", "RescaleSlope"), (b"0.75", b"nan ", "RescaleIntercept")],
)
def test_values_that_are_scaled_by_no_number_are_refused(
    slope: bytes, intercept: bytes, said: str, write: Write
) -> None:
    with pytest.raises(DicomError, match=f"its {said} is not a number"):
        read_one(scaled_by(write, slope, intercept))


@pytest.mark.parametrize(
    ("slope", "intercept", "said"),
    [(b"9e99", b"-9.5", "by 9e\\+99 and -9.5"), (b"0.75", b"9e77", "by 0.75 and 9e\\+77")],
)
def test_a_rescaling_to_infinity_is_refused(slope: bytes, intercept: bytes, said: str, write: Write) -> None:
    with pytest.raises(DicomError, match=f"its rescaling {said} makes infinite values"):
        read_one(scaled_by(write, slope, intercept))


def test_a_rescaling_that_is_empty_is_none(write: Write) -> None:
    assert np.array_equal(read_one(scaled_by(write, b"    ", b"    ")).pixels, RAMP)
