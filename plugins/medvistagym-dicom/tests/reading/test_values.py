"""Values, shapes, units and spacing of every real file, against pydicom, an independent reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from medvistagym_core.imaging import Image
from medvistagym_dicom import DicomError, read, read_one

Reference = Callable[[str], tuple[pydicom.Dataset, np.ndarray | None]]
Named = Callable[[str], Image]
Write = Callable[..., Path]

# Decoders of lossy JPEG may differ in the inverse cosine transform and in how they interpolate chrominance.
JPEG_LOSSY = {"1.2.840.10008.1.2.4.50": 5, "1.2.840.10008.1.2.4.51": 1}


def test_values_and_geometry_equal_those_of_pydicom(decodable: str, image: Named, reference: Reference) -> None:
    ours = image(decodable)
    ds, theirs = reference(decodable)
    if theirs is None:
        assert ours.shape == (ds.get("Rows", 64), ds.get("Columns", 64))
        return
    grey = str(ds.PhotometricInterpretation).startswith("MONO")
    assert ours.photometric == (ds.PhotometricInterpretation if grey else "RGB")
    check_spacing(ours, ds)
    assert ours.pixels.shape == theirs.shape
    tolerance = JPEG_LOSSY.get(ds.file_meta.TransferSyntaxUID, 0)
    if ours.pixels.dtype.kind == "f":
        np.testing.assert_allclose(ours.pixels, theirs, rtol=1e-6)
    elif tolerance:
        assert (
            max(int(np.abs(a.astype(np.int32) - b).max()) for a, b in zip(ours.pixels, theirs, strict=True))
            <= tolerance
        )
    else:
        assert np.array_equal(ours.pixels, theirs)


def check_spacing(ours: Image, ds: pydicom.Dataset) -> None:
    groups = ds.get("SharedFunctionalGroupsSequence", [Dataset()])
    nested = [item.get("PixelSpacing") for item in groups[0].get("PixelMeasuresSequence", [])]
    regions = [
        (10 * region.PhysicalDeltaY, 10 * region.PhysicalDeltaX)
        for region in ds.get("SequenceOfUltrasoundRegions", [])
        if region.PhysicalUnitsXDirection == region.PhysicalUnitsYDirection == 3
    ]
    tags = [*regions, ds.get("PixelSpacing"), *nested, ds.get("ImagerPixelSpacing")]
    valid = [[float(v) for v in tag] for tag in tags if tag and all(float(v) > 0 for v in tag)]
    if valid:
        assert ours.spacing is not None
        assert list(ours.spacing[-2:]) == valid[0]
    else:
        assert ours.spacing is None


def test_what_cannot_be_decoded_says_why(undecodable_file: str, reason: str, path: Callable[[str], Path]) -> None:
    with pytest.raises(DicomError) as caught:
        read(path(undecodable_file))
    assert caught.value.reason == reason
    assert str(caught.value).startswith(path(undecodable_file).name + ": ")
    assert "\n" not in str(caught.value)


def test_ct_is_in_hounsfield_units_as_small_integers(image: Named) -> None:
    head = image("693_UNCR.dcm")
    assert (head.unit, head.modality, head.pixels.dtype.name) == ("HU", "CT", "int16")
    assert head.pixels.min() < -900  # air around the head
    assert head.spacing == (0.478516, 0.478516)


def test_units_follow_what_the_file_defines(image: Named) -> None:
    assert image("rtdose.dcm").unit == "raw"  # its dose is relative
    assert image("MR_small.dcm").unit == "raw"
    assert image("US1_UNCR.dcm").unit == "grey"
    assert image("liver.dcm").unit == "label"
    assert image("eCT_Supplemental.dcm").unit == "raw"  # a perfusion map: its rescale type is "unspecified"


def test_frames_of_a_dose_grid_have_a_distance(image: Named) -> None:
    dose = image("rtdose.dcm")
    assert dose.pixels.shape == (15, 10, 10)
    assert dose.spacing == (5.0, 10.0, 10.0)


def test_frames_are_a_stack_and_the_middle_one_is_shown(image: Named) -> None:
    clip = image("examples_ybr_color.dcm")
    assert clip.pixels.shape == (30, 240, 320, 3)
    assert np.array_equal(clip.view(), clip.pixels[15])


def test_a_missing_last_delimiter_loses_no_frame(image: Named) -> None:
    short, whole = image("emri_small_jpeg_2k_lossless_too_short.dcm"), image("emri_small_jpeg_2k_lossless.dcm")
    assert np.array_equal(short.pixels, whole.pixels)


def test_compressions_of_one_image_agree(image: Named) -> None:
    plain = image("MR_small.dcm").pixels
    for kind in ("RLE", "bigendian", "implicit", "jp2klossless", "jpeg_ls_lossless", "padded", "expb"):
        assert np.array_equal(image(f"MR_small_{kind}.dcm").pixels, plain), kind


def test_monochrome1_keeps_its_values_and_is_inverted_only_on_view(image: Named, reference: Reference) -> None:
    chest = image("RG1_UNCR.dcm")
    assert chest.photometric == "MONOCHROME1"
    theirs = reference("RG1_UNCR.dcm")[1]
    assert theirs is not None
    assert np.array_equal(chest.pixels, theirs)
    as_stored = chest.replace(photometric="MONOCHROME2")
    assert np.array_equal(chest.view(), 255 - as_stored.view())


def test_overlays_come_when_asked_for(path: Callable[[str], Path]) -> None:
    file = path("MR-SIEMENS-DICOM-WithOverlays.dcm")
    assert read_one(file).overlay is None
    overlay = read_one(file, overlays=True).overlay
    assert overlay is not None
    expected = pydicom.dcmread(file).overlay_array(0x6000).astype(bool)
    assert np.array_equal(overlay, expected)
    assert overlay.any()


# -- objects made for the test: storage that the real files do not show


def test_bits_outside_the_stored_ones_are_dropped_and_signs_extended(write: Write) -> None:
    stored = np.array([[0x0FFF, 0x0800], [0x07FF, 0xF001]], np.uint16)
    file = write(stored, BitsStored=12, HighBit=11, PixelRepresentation=1)
    assert read_one(file).pixels.tolist() == [[-1, -2048], [2047, 1]]
    file = write(stored << 4, BitsStored=12, HighBit=15)
    assert read_one(file).pixels.tolist() == [[4095, 2048], [2047, 1]]


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4"])
@pytest.mark.parametrize("big_endian", [False, True])
def test_any_sample_width_and_byte_order(write: Write, kind: str, big_endian: bool) -> None:
    limits = np.iinfo(kind)
    stored = np.random.default_rng(0).integers(limits.min, limits.max, (6, 8), endpoint=True).astype(kind)
    pixels = read_one(write(stored, big_endian=big_endian)).pixels
    assert np.array_equal(pixels, stored)
    assert pixels.dtype == np.dtype(kind)


def test_floating_pixel_data(write: Write) -> None:
    stored = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(read_one(write(stored, RescaleSlope=1, RescaleIntercept=0)).pixels, stored)


@pytest.mark.parametrize(
    ("slope", "intercept", "kind"),
    [(1, -1024, np.int16), (40, -1024, np.int32), (1, 0, np.uint16), ("0.5", 3, np.float32), (-1, 0, np.int16)],
)
def test_rescaling_keeps_integers_where_it_can(write: Write, slope: float, intercept: float, kind: type) -> None:
    stored = np.array([[0, 1000], [2000, 3000]], np.uint16)
    image = read_one(write(stored, RescaleSlope=slope, RescaleIntercept=intercept))
    assert image.pixels.dtype == kind
    assert np.array_equal(image.pixels, stored * float(slope) + intercept)


def test_a_slope_of_zero_is_not_believed(write: Write) -> None:
    stored = np.array([[0, 1000], [2000, 3000]], np.uint16)
    assert np.array_equal(read_one(write(stored, RescaleSlope=0, RescaleIntercept=0)).pixels, stored)


def test_a_slope_of_another_kind_of_number_is_a_slope(write: Write) -> None:
    stored = np.array([[0, 1000], [2000, 3000]], np.uint16)
    file = write(stored, RescaleSlope=2, RescaleIntercept=-5)
    file.write_bytes(file.read_bytes().replace(b"\x28\x00\x53\x10DS\x02\x002 ", b"\x28\x00\x53\x10US\x02\x00\x02\x00"))
    image = read_one(file)
    assert image.pixels.tolist() == [[-5, 1995], [3995, 5995]]
    assert image.pixels.dtype == np.int16


def test_each_frame_has_its_own_rescaling(write: Write) -> None:
    stored = np.full((2, 3, 3), 10, np.uint16)
    groups = []
    for slope, intercept in ((1, 0), (2, 5)):
        transform = Dataset()
        transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = slope, intercept, "HU"
        group = Dataset()
        group.PixelValueTransformationSequence = [transform]
        groups.append(group)
    image = read_one(write(stored, PerFrameFunctionalGroupsSequence=groups))
    assert image.unit == "HU"
    assert image.pixels[0].max() == 10
    assert image.pixels[1].max() == 25


def test_a_localizer_is_not_in_hounsfield_units(write: Write) -> None:
    stored = np.zeros((4, 4), np.int16)
    image = read_one(write(stored, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    assert image.unit == "raw"
    assert image.attributes["localizer"] == "yes"


def test_spacing_at_the_detector_is_marked_and_magnification_taken_out(write: Write) -> None:
    stored = np.zeros((4, 4), np.uint16)
    image = read_one(write(stored, Modality="DX", ImagerPixelSpacing=[0.2, 0.3]))
    assert (image.spacing, image.attributes["spacing_at"]) == ((0.2, 0.3), "detector")
    image = read_one(write(stored, ImagerPixelSpacing=[0.2, 0.3], EstimatedRadiographicMagnificationFactor=2))
    assert image.spacing == (0.1, 0.15)
    assert "spacing_at" not in image.attributes
    image = read_one(write(stored, ImagerPixelSpacing=[0.2, 0.3], PixelSpacing=[0.1, 0.1]))
    assert image.spacing == (0.1, 0.1)
    assert "spacing_at" not in image.attributes


@pytest.mark.parametrize("spacing", [[0, 0], [-1, 1]])
def test_impossible_spacing_is_unknown_spacing(write: Write, spacing: list[float]) -> None:
    assert read_one(write(np.zeros((4, 4), np.uint16), PixelSpacing=spacing)).spacing is None


def test_a_picture_file_is_read_too(tmp_path: Path, image: Named) -> None:
    image("US1_UNCR.dcm").save(tmp_path / "us.png")
    picture = read_one(tmp_path / "us.png")
    assert np.array_equal(picture.pixels, image("US1_UNCR.dcm").pixels)
