"""Files as other programs write them: in their place, in their unit, in the order in which slices are shown."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import HU_WINDOW, Image, patient_geometry
from medvistagym_files import read, read_one

from .conftest import itk_places, places, values

sitk = pytest.importorskip("SimpleITK")
nibabel: Any = pytest.importorskip("nibabel")
ITK_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr")


def itk_image(direction: np.ndarray | None = None, dtype: str = "int16") -> Any:
    image = sitk.GetImageFromArray(values((5, 7, 6), dtype))
    image.SetSpacing((0.5, 0.8, 3.0))
    image.SetOrigin((1.5, -2.5, 33.0))
    if direction is not None:
        image.SetDirection(direction.ravel().tolist())
    return image


def turn(seed: int) -> np.ndarray:
    """A rotation by any angle."""
    matrix = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return matrix if np.linalg.det(matrix) > 0 else -matrix


@pytest.mark.parametrize("suffix", ITK_SUFFIXES)
@pytest.mark.parametrize("seed", range(6))
def test_every_value_lies_where_itk_says(tmp_path: Path, suffix: str, seed: int) -> None:
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(itk_image(turn(seed) if seed else None), str(path), useCompression=bool(seed % 2))
    image = read_one(path)
    assert np.allclose(places(image), itk_places(path), atol=1e-3)
    assert (image.unit, image.pixels.dtype) == ("raw", np.int16)
    assert sorted(image.spacing or ()) == pytest.approx([0.5, 0.8, 3.0])


def test_slices_are_shown_as_radiology_shows_them(tmp_path: Path) -> None:
    seen = set()
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            affine = np.zeros((4, 4))
            affine[3, 3] = 1
            for axis, place in enumerate(axes):
                affine[place, axis] = signs[axis] * (axis + 1.0)
            nibabel.Nifti1Image(values((4, 5, 6)), affine).to_filename(tmp_path / "a.nii")
            image = read_one(tmp_path / "a.nii")
            seen.add(image.attributes["direction"])
            assert np.allclose(places(image), itk_places(tmp_path / "a.nii"), atol=1e-4)
    assert seen == {"1 0 0 0 1 0 0 0 1", "1 0 0 0 0 -1 0 1 0", "0 1 0 0 0 -1 1 0 0"}  # axial, coronal, sagittal


def test_hounsfield_units_are_those_that_the_header_or_the_user_says(tmp_path: Path) -> None:
    sitk.WriteImage(itk_image(), str(tmp_path / "a.nrrd"))
    assert read_one(tmp_path / "a.nrrd").unit == "raw"
    image = read_one(tmp_path / "a.nrrd", unit="HU")
    assert (image.unit, image.window) == ("HU", HU_WINDOW)
    content = (tmp_path / "a.nrrd").read_bytes()
    (tmp_path / "hu.nrrd").write_bytes(content.replace(b"\nencoding:", b'\nsample units: "HU"\nencoding:', 1))
    assert read_one(tmp_path / "hu.nrrd").unit == "HU"
    ct = itk_image()
    sitk.WriteImage(ct, str(tmp_path / "a.mha"))
    (tmp_path / "ct.mha").write_bytes(
        (tmp_path / "a.mha").read_bytes().replace(b"\nElementType", b"\nModality = MET_MOD_CT\nElementType")
    )
    image = read_one(tmp_path / "ct.mha")
    assert (image.modality, image.unit) == ("CT", "raw")  # a modality is no unit
    file = nibabel.Nifti1Image(values((4, 5, 6)), np.eye(4))
    file.header["descrip"] = b"scanned; unit=HU"
    file.to_filename(tmp_path / "a.nii")
    assert read_one(tmp_path / "a.nii").unit == "HU"


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype", "expected"),
    [
        (1.0, -1024.0, "uint16", "int32"),
        (2.0, -1024.0, "uint8", "int16"),
        (0.5, 10.0, "int16", "float32"),
        (1.0, 0.0, "int16", "int16"),
    ],
)
def test_scaled_values_are_in_the_smallest_dtype_that_holds_them(
    tmp_path: Path, slope: float, intercept: float, dtype: str, expected: str
) -> None:
    stored = (values((4, 5, 6), "int32") % 200).astype(dtype)
    file = nibabel.Nifti1Image(stored, np.diag([-1, -1, 1, 1]))
    file.to_filename(tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[112:120] = np.array([slope, intercept], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(content)
    image = read_one(tmp_path / "a.nii")
    assert image.pixels.dtype == expected
    assert np.array_equal(image.pixels, stored.T.astype(np.float64) * slope + intercept)


@pytest.mark.parametrize("kind", ["Nifti1", "Nifti2"])
@pytest.mark.parametrize("offset", [0, 100])
def test_the_header_is_never_read_as_values(tmp_path: Path, kind: str, offset: int) -> None:
    stored = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    path = tmp_path / "a.nii"
    nibabel.save(getattr(nibabel, f"{kind}Image")(stored, np.eye(4)), path)
    data, place = bytearray(path.read_bytes()), 108 if kind == "Nifti1" else 168
    size = np.float32 if kind == "Nifti1" else np.int64
    data[place : place + size().nbytes] = size(offset).tobytes()
    path.write_bytes(data)
    if offset:
        with pytest.raises(ValueError, match=r"a\.nii: its values begin at byte 100"):
            read_one(path)
    else:  # as writers leave it that mean "behind the header"
        assert sorted(read_one(path).pixels.ravel().tolist()) == list(range(60))


def test_time_points_are_volumes_of_their_own(tmp_path: Path) -> None:
    series = np.stack([values((4, 5, 6)) + 1000 * k for k in range(3)], -1)
    nibabel.Nifti1Image(series, np.diag([-1, -1, 1, 1])).to_filename(tmp_path / "a.nii.gz")
    images = read(tmp_path / "a.nii.gz")
    assert [image.pixels.shape for image in images] == [(6, 5, 4)] * 3
    assert [image.attributes["volume"] for image in images] == ["0", "1", "2"]
    for k, image in enumerate(images):
        assert np.array_equal(image.pixels, series[..., k].T)
    with pytest.raises(ValueError, match=r"a\.nii\.gz: it holds 3 volumes; choose one"):
        read_one(tmp_path / "a.nii.gz")
    join = sitk.JoinSeries([itk_image(), itk_image()])
    for suffix in (".nrrd", ".mha"):
        sitk.WriteImage(join, str(tmp_path / f"a{suffix}"))
        assert [image.pixels.shape for image in read(tmp_path / f"a{suffix}")] == [(5, 7, 6)] * 2


def test_one_slice_at_several_times_is_a_stack_of_frames(tmp_path: Path) -> None:
    nibabel.Nifti1Image(values((4, 5, 1, 7)), np.eye(4)).to_filename(tmp_path / "a.nii")
    image = read_one(tmp_path / "a.nii")
    assert (image.pixels.shape, image.spacing) == ((7, 5, 4), (1.0, 1.0))


def test_colours_are_read_as_colours(tmp_path: Path) -> None:
    colours = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 256, (5, 7, 6, 3), np.uint8), isVector=True)
    for suffix in (".mha", ".nrrd"):
        sitk.WriteImage(colours, str(tmp_path / f"a{suffix}"))
        try:
            image = read_one(tmp_path / f"a{suffix}")
        except ValueError as error:  # ITK calls them a vector in NRRD, which may be anything
            assert "are not those of an image" in str(error)  # noqa: PT017
            continue
        assert (image.unit, image.photometric) == ("RGB", "RGB")
        assert np.array_equal(image.pixels, sitk.GetArrayViewFromImage(colours))


@pytest.mark.parametrize(("code", "unit"), [(3, 0.001), (2, 1.0), (1, 1000.0), (0, 1.0)])
def test_lengths_are_in_millimetres(tmp_path: Path, code: int, unit: float) -> None:
    file = nibabel.Nifti1Image(values((4, 5, 6)), np.diag([-2, -3, 4, 1]))
    file.header["xyzt_units"] = code
    file.to_filename(tmp_path / "a.nii")
    image = read_one(tmp_path / "a.nii")
    assert image.spacing == pytest.approx((4 * unit, 3 * unit, 2 * unit))
    assert ("spacing_unit" in image.attributes) == (code == 0)


def test_a_place_that_is_not_said_is_not_made_up(tmp_path: Path) -> None:
    file = nibabel.Nifti1Image(values((4, 5, 6)), None)
    file.header.set_zooms((0.5, 0.6, 2.0))
    file.to_filename(tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[252:256] = bytes(4)  # the codes of qform and sform
    (tmp_path / "a.nii").write_bytes(content)
    image = read_one(tmp_path / "a.nii")
    assert "direction" not in image.attributes
    assert image.spacing == pytest.approx((2.0, 0.6, 0.5))
    assert np.array_equal(image.pixels, values((4, 5, 6)).T)
    assert not patient_geometry(image).is_oriented


def test_labels_are_labels(tmp_path: Path) -> None:
    file = nibabel.Nifti1Image((values((4, 5, 6)) % 3).astype(np.uint8), np.eye(4))
    file.header.set_intent("label")
    file.to_filename(tmp_path / "a.nii")
    assert read_one(tmp_path / "a.nii").unit == "label"


def test_the_mask_of_another_program_fits_the_image_that_it_was_made_for(tmp_path: Path) -> None:
    from medvistagym_core.imaging import resample_mask_to

    inside = values((5, 7, 6)) > -900
    image = itk_image()
    sitk.WriteImage(image, str(tmp_path / "image.nii.gz"))
    mask = sitk.GetImageFromArray(inside.astype(np.uint8))
    mask.CopyInformation(image)
    sitk.WriteImage(sitk.DICOMOrient(mask, "ARI"), str(tmp_path / "mask.nrrd"))
    opened = read_one(tmp_path / "image.nii.gz")
    assert np.array_equal(resample_mask_to(read_one(tmp_path / "mask.nrrd"), opened), opened.pixels > -900)
    own = Image(pixels=values((5, 7, 6)), spacing=(3.0, 0.8, 0.5), attributes=opened.attributes)
    assert np.array_equal(resample_mask_to(read_one(tmp_path / "mask.nrrd"), own), inside)


def test_kinds_are_told_by_their_content(tmp_path: Path) -> None:
    sitk.WriteImage(itk_image(), str(tmp_path / "a.nii"))
    (tmp_path / "scan").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    assert read_one(tmp_path / "scan").frames == 5
    (tmp_path / "note.txt").write_text("no volume")
    with pytest.raises(ValueError, match=r"note\.txt: it is neither NIfTI nor NRRD nor MetaImage"):
        read(tmp_path / "note.txt")
    with pytest.raises(ValueError, match=r"none\.nii: no such file"):
        read(tmp_path / "none.nii")


def test_the_spacing_of_a_nifti_with_negative_steps_in_its_header_is_that_of_its_places(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(values((4, 5, 6)), np.diag([2.0, 3.0, 4.0, 1.0]))
    image.header["pixdim"][1:4] = [-2, 3, 4]
    image.to_filename(tmp_path / "a.nii")
    assert sorted(read_one(tmp_path / "a.nii").spacing or ()) == [2, 3, 4]
