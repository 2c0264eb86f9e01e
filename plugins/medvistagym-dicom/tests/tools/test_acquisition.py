"""`acquisition`: what is told of how an image was made, and what is not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medvistagym_core.imaging import Image
from medvistagym_dicom import (
    acquisition,
    read_one,
)

from .calls import Named, Write, ct_slice, text_and_data


def test_an_acquisition_is_told_with_its_units(image: Named) -> None:
    text, data = text_and_data(acquisition, image=image("CT_small.dcm"))
    for part in (
        "CT",
        "128 x 128 pixels",
        "values in HU",
        "120 kVp",
        "kernel STANDARD",
        "slice thickness 5 mm",
        "slices axial",
    ):
        assert part in text
    assert (data["kvp"], data["slice_thickness_mm"], data["kernel"], data["orientation"]) == (
        120,
        5,
        "STANDARD",
        "axial",
    )
    assert data["spacing_mm"] == [0.66147, 0.66147]
    assert data["rescale"] == [1, -1024]
    text, data = text_and_data(acquisition, image=image("MR2_UNCR.dcm"))
    assert (data["repetition_time_ms"], data["echo_time_ms"], data["field_strength_t"]) == (350, 27, 1.5)
    assert (data["orientation"], data["oblique_deg"]) == ("sagittal", 34.7)
    text, _ = text_and_data(acquisition, image=image("MR-SIEMENS-DICOM-WithOverlays.dcm"))
    assert "windows (center/width) " in text


def test_a_tilted_gantry_is_told(image: Named) -> None:
    text, data = text_and_data(acquisition, image=image("J2K_pixelrep_mismatch.dcm"))
    assert data["gantry_tilt_deg"] == -22
    assert "gantry tilt -22 degrees" in text
    assert "slices axial, 22 degrees oblique" in text


def test_what_is_not_known_is_said_to_be_unknown(image: Named) -> None:
    text, data = text_and_data(acquisition, image=image("emri_small.dcm"))
    assert "10 slices or frames of 64 x 64 pixels" in text
    assert "pixel spacing not known" in text
    assert data["spacing_mm"] is None
    assert "no window in the file" in text
    text, _ = text_and_data(acquisition, image=Image(pixels=np.zeros((4, 4), np.uint8)))
    assert text.startswith("modality unknown; 4 x 4 pixels; grey levels without a physical unit")


def test_facts_that_are_not_on_the_list_are_not_told() -> None:
    facts = {"patient": "ZQX^Plantagenet", "kvp": "120", "echo_time_ms": "ZQX"}
    text, data = text_and_data(acquisition, image=ct_slice(attributes=facts))
    assert "ZQX" not in text + json.dumps(data)
    assert data["kvp"] == 120


@pytest.mark.parametrize(
    ("kernel", "known"),
    [("B30f", True), ("Br40d", True), ("FC13", True), ("BONEPLUS", True), ("Miller", False), ("JM1937", False)],
)
def test_only_known_kernels_are_told(write: Write, kernel: str, known: bool) -> None:
    image = read_one(write(np.zeros((4, 4), np.int16), ConvolutionKernel=kernel))
    assert (image.attributes.get("kernel") == kernel) is known
