"""Secondary captures: what an image means survives being written as DICOM, and nothing passes for a clinical image."""

import numpy as np
import pydicom
import pytest

from medvistagym_core.imaging import Image, Window, patient_geometry
from medvistagym_dicom import SecondaryCaptureWriter, read_one

PLACE = {"direction": "0.8 0.6 0 -0.6 0.8 0", "position_mm": "-10 20 30"}


def written(image, tmp_path):
    SecondaryCaptureWriter().write(image, tmp_path / "out.dcm")
    return read_one(tmp_path / "out.dcm")


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.float32])
def test_hounsfield_units_come_back(tmp_path, dtype):
    low = 0 if dtype == np.uint16 else -1000
    values = np.linspace(low, 3000, 60).reshape(6, 10).round().astype(dtype)
    image = Image(pixels=values, unit="HU", modality="CT", spacing=(0.7, 0.8), window=Window(40, 400), attributes=PLACE)
    back = written(image, tmp_path)
    assert np.array_equal(back.pixels, values)
    assert (back.unit, back.modality, back.spacing) == ("HU", "CT", (0.7, 0.8))
    assert (back.window.center, back.window.width) == (40, 400)
    assert patient_geometry(back).position == pytest.approx((-10, 20, 30))
    assert patient_geometry(back).steps[0] == pytest.approx(patient_geometry(image).steps[0], abs=1e-6)


def test_fractions_are_scaled_to_16_bits(tmp_path):
    values = np.random.default_rng(0).uniform(-3, 7, (20, 30)).astype(np.float32)
    back = written(Image(pixels=values, unit="%", spacing=(1, 1)), tmp_path)
    assert np.abs(back.pixels - values).max() <= 10 / 65535
    assert back.unit == "%"


def test_a_volume_keeps_its_slices_where_they_are(tmp_path):
    values = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    image = Image(
        pixels=values,
        unit="HU",
        modality="CT",
        spacing=(2.5, 0.7, 0.8),
        attributes={"direction": "1 0 0 0 1 0 0 0 1", "position_mm": "-10 20 30"},
    )
    back = written(image, tmp_path)
    assert np.array_equal(back.pixels, values)
    assert back.spacing == pytest.approx((2.5, 0.7, 0.8))
    assert patient_geometry(back).position == pytest.approx((-10, 20, 30))


@pytest.mark.parametrize(
    ("modality", "place"),
    [
        ("CT", {}), ("CR", {"spacing_at": "film"}), ("DX", {"spacing_at": "detector"}), ("DX", {"spacing_at": "unknown"}),
        ("DX", {"calibration": "geometry"}),
    ],
)  # fmt: skip
def test_where_lengths_are_measured_comes_back(tmp_path, modality, place):
    image = Image(
        pixels=np.zeros((8, 9), np.uint16), unit="raw", modality=modality, spacing=(0.7, 0.8), attributes=place
    )
    back = written(image, tmp_path)
    assert back.spacing == (0.7, 0.8)
    assert {key: back.attributes[key] for key in ("spacing_at", "calibration") if key in back.attributes} == place


def test_colours_greys_and_films(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert np.array_equal(written(Image(pixels=colours, photometric="RGB"), tmp_path).pixels, colours)
    film = written(Image(pixels=colours[..., 0], photometric="MONOCHROME1"), tmp_path)
    assert film.photometric == "MONOCHROME1"
    assert np.array_equal(film.pixels, colours[..., 0])
    mask = written(Image(pixels=np.eye(3, dtype=bool), unit="mask"), tmp_path)
    assert mask.pixels.tolist() == np.eye(3).tolist()


def test_a_file_says_that_it_is_not_for_clinical_use_and_names_nobody(tmp_path):
    image = Image(pixels=np.zeros((4, 4), np.int16), unit="HU", attributes={"body_part": "CHEST"})
    written(image, tmp_path)
    dataset = pydicom.dcmread(tmp_path / "out.dcm")
    assert "Not for clinical use" in dataset.ImageComments
    assert "not for clinical use" in dataset.SeriesDescription
    assert dataset.ImageType == ["DERIVED", "SECONDARY"]
    assert not any((dataset.PatientName, dataset.PatientID, dataset.StudyDate))
    first = (tmp_path / "out.dcm").read_bytes()
    written(image, tmp_path)
    assert (tmp_path / "out.dcm").read_bytes() == first


def test_what_dicom_cannot_hold_is_refused_and_leaves_nothing(tmp_path):
    for image in (
        Image(pixels=np.array([[0, np.nan]], np.float32)),
        Image(pixels=np.zeros((2, 2, 3), np.float32), photometric="RGB"),
    ):
        with pytest.raises(ValueError, match=r"write \.nii\.gz|8 bits a colour"):
            SecondaryCaptureWriter().write(image, tmp_path / "x.dcm")
    assert not list(tmp_path.iterdir())
