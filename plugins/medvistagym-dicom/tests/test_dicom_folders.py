"""Folders: series as volumes in the order of space, mixed series, and what is passed over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medvistagym_core.imaging import Image
from medvistagym_dicom import DicomError, read, read_one

Write = Callable[..., Path]
AXIAL = [1, 0, 0, 0, 1, 0]


def slice_of(
    write: Write, value: int, z: float, series: str = "1.2.3", number: int | None = None, **more: object
) -> Path:
    """A CT slice of one value at height z."""
    return write(
        np.full((8, 6), value, np.int16),
        SeriesInstanceUID=series,
        InstanceNumber=value if number is None else number,
        ImagePositionPatient=[0, 0, z],
        ImageOrientationPatient=AXIAL,
        PixelSpacing=[0.5, 0.5],
        **more,
    )


def test_slices_are_sorted_along_their_normal_not_by_number(tmp_path: Path, write: Write) -> None:
    for value, z in ((1, 20.0), (2, 0.0), (3, 5.0), (4, 10.0), (5, 15.0)):
        slice_of(write, value, z)
    (volume,) = read(tmp_path)
    assert volume.pixels[:, 0, 0].tolist() == [2, 3, 4, 5, 1]
    assert volume.spacing == (5.0, 0.5, 0.5)
    assert volume.unit == "HU"
    assert "slice_spacing" not in volume.attributes


def test_oblique_slices_are_sorted_too(tmp_path: Path, write: Write) -> None:
    for value in (3, 1, 2):
        write(
            np.full((4, 4), value, np.int16),
            SeriesInstanceUID="1.2.3",
            ImagePositionPatient=[0, -3.0 * value, 4.0 * value],
            ImageOrientationPatient=[1, 0, 0, 0, 0.8, 0.6],
            PixelSpacing=[1, 1],
        )
    (volume,) = read(tmp_path)
    assert volume.pixels[:, 0, 0].tolist() == [1, 2, 3]
    assert volume.spacing == pytest.approx((5.0, 1.0, 1.0))


def test_uneven_slices_are_reported(tmp_path: Path, write: Write) -> None:
    for value, z in ((1, 0.0), (2, 5.0), (3, 10.0), (4, 25.0)):
        slice_of(write, value, z)
    (volume,) = read(tmp_path)
    assert volume.attributes["slice_spacing"] == "irregular"


def test_without_positions_the_instance_number_orders_and_no_distance_is_claimed(tmp_path: Path, write: Write) -> None:
    for value in (3, 1, 2):
        write(np.full((4, 4), value, np.int16), SeriesInstanceUID="1.2.3", InstanceNumber=value, PixelSpacing=[1, 1])
    (volume,) = read(tmp_path)
    assert volume.pixels[:, 0, 0].tolist() == [1, 2, 3]
    assert volume.spacing == (1.0, 1.0)


def test_positions_that_repeat_are_volumes_of_their_own(tmp_path: Path, write: Write) -> None:
    for number, (value, z) in enumerate(((1, 0), (2, 5), (3, 10), (11, 0), (12, 5), (13, 10))):
        slice_of(write, value, z, number=number)
    first, second = read(tmp_path)
    assert first.pixels[:, 0, 0].tolist() == [1, 2, 3]
    assert second.pixels[:, 0, 0].tolist() == [11, 12, 13]


def test_slices_scaled_differently_keep_their_values(tmp_path: Path, write: Write) -> None:
    slice_of(write, 10, 0.0, RescaleSlope=1, RescaleIntercept=-1000)
    slice_of(write, 10, 5.0, RescaleSlope="0.5", RescaleIntercept=0)
    (volume,) = read(tmp_path)
    assert volume.pixels[:, 0, 0].tolist() == [-990.0, 5.0]


def test_mixed_series_come_apart_and_one_must_be_chosen(tmp_path: Path, write: Write) -> None:
    for value, z in ((1, 0.0), (2, 5.0)):
        slice_of(write, value, z)
    slice_of(write, 9, 0.0, series="1.2.4", Modality="MR")
    assert [image.modality for image in read(tmp_path)] == ["CT", "MR"]
    with pytest.raises(
        DicomError, match=r"it holds 2 series; choose one with series=0 to 1 \(0: CT 6 x 8 x 2, 1: MR 6 x 8\)"
    ) as caught:
        read_one(tmp_path)
    assert caught.value.reason == "mixed_series"
    assert read_one(tmp_path, series=1).modality == "MR"
    with pytest.raises(DicomError, match="there is no series 2; choose from 0 to 1"):
        read_one(tmp_path, series=2)


def test_a_scout_of_another_size_is_an_image_of_its_own(tmp_path: Path, write: Write) -> None:
    slice_of(write, 1, 0.0)
    slice_of(write, 2, 5.0)
    write(np.zeros((3, 9), np.int16), SeriesInstanceUID="1.2.3")
    assert [image.pixels.shape for image in read(tmp_path)] == [(2, 8, 6), (3, 9)]


def test_multi_frame_objects_stay_apart(tmp_path: Path, write: Write) -> None:
    for value in (1, 2):
        write(np.full((3, 4, 4), value, np.int16), SeriesInstanceUID="1.2.3")
    assert [image.pixels.shape for image in read(tmp_path)] == [(3, 4, 4), (3, 4, 4)]


def test_files_that_are_no_images_are_passed_over(tmp_path: Path, write: Write, path: Callable[[str], Path]) -> None:
    slice_of(write, 1, 0.0)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "empty").touch()
    (tmp_path / "report.dcm").write_bytes(path("reportsi.dcm").read_bytes())
    (tmp_path / ".hidden.dcm").write_bytes(b"x" * 200)
    assert [image.pixels.shape for image in read(tmp_path)] == [(8, 6)]


def test_a_broken_slice_is_not_lost_silently(tmp_path: Path, write: Write) -> None:
    slice_of(write, 1, 0.0)
    broken = slice_of(write, 2, 5.0)
    broken.write_bytes(broken.read_bytes()[:-10])
    with pytest.raises(DicomError, match=r"^1\.dcm: its pixel data hold 86 of the 96 bytes") as caught:
        read(tmp_path)
    assert caught.value.reason == "truncated"


def test_a_real_folder_of_studies(path: Callable[[str], Path]) -> None:
    folder = path("dicomdirtests/DICOMDIR").parent
    images = read(folder)
    assert sorted({str(image.modality) for image in images}) == ["CR", "CT", "MR"]
    volume = next(image for image in images if image.pixels.shape[0] == 5)
    files = sorted((folder / "98892001" / "CT5N").iterdir(), key=lambda f: pydicom.dcmread(f).ImagePositionPatient[2])
    assert np.array_equal(volume.pixels, [pydicom.dcmread(f).pixel_array - 1024 for f in files])
    assert volume.spacing == (2.5, 0.488281, 0.488281)


def test_a_folder_reads_the_same_twice(path: Callable[[str], Path]) -> None:
    def digests(images: list[Image]) -> list[str]:
        return [image.digest for image in images]

    folder = path("dicomdirtests/DICOMDIR").parent
    assert digests(read(folder)) == digests(read(folder))
