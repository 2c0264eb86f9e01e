"""Folders: series as volumes in the order of space, mixed series, and what is passed over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import HTJ2K

from medvistagym_core.imaging import Image
from medvistagym_dicom import DicomError, acquisition, read, read_one, read_study

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
        **{"RescaleSlope": 1, "RescaleIntercept": 0, **more},
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


def test_a_slice_that_cannot_be_read_is_left_out_and_said_to_be_missing(tmp_path: Path, write: Write) -> None:
    for value, z in ((1, 0.0), (2, 5.0), (3, 10.0)):
        slice_of(write, value, z)
    broken = tmp_path / "1.dcm"
    broken.write_bytes(broken.read_bytes()[:-10])
    study = read_study(tmp_path)
    (volume,) = study.images
    assert volume.pixels[:, 0, 0].tolist() == [1, 3]
    assert volume.attributes["unreadable_slices"] == "1 of 3"
    assert "1 of 3 slices could not be read" in acquisition.run({"image": volume}).text
    assert [str(error) for error in study.left_out] == [
        "1.dcm: its pixel data hold 86 of the 96 bytes that its header promises"
    ]


def two_series(write: Write) -> None:
    for k in range(3):
        slice_of(write, 10 + k, 5.0 * k, series="1.2.3")
        slice_of(write, 20 + k, 5.0 * k, series="1.2.4")


def cut_off(write: Write) -> Path:
    file = write(np.zeros((8, 6), np.int16), SeriesInstanceUID="1.2.5")
    file.write_bytes(file.read_bytes()[:-30])
    return file


def cut_in_its_header(write: Write) -> Path:
    file = write(np.zeros((8, 6), np.int16))
    file.write_bytes(file.read_bytes()[:400])
    return file


def video(write: Write) -> Path:
    return write(np.zeros((2, 8, 8), np.uint8), syntax="1.2.840.10008.1.2.4.102", fragments=[b"", bytes(64)])


def high_throughput(write: Write) -> Path:
    return write(np.zeros((8, 8), np.uint8), syntax=HTJ2K, fragments=[b"", b"\xff\x4f\xff\x51" + bytes(40)])


def of_another_photometric_interpretation(write: Write) -> Path:
    return write(np.zeros((8, 8), np.uint8), PhotometricInterpretation="HSV")


def too_large(write: Write) -> Path:
    return write(np.zeros((8, 8), np.uint16), Rows=65535, Columns=65535)


@pytest.mark.parametrize(
    ("neighbour", "reason"),
    [
        (cut_off, "truncated"), (cut_in_its_header, "truncated"), (video, "unsupported"), (high_throughput, "corrupt"),
        (of_another_photometric_interpretation, "unsupported"), (too_large, "too_large"),
    ],
)  # fmt: skip
def test_a_bad_neighbour_spoils_nothing(
    neighbour: Callable[[Write], Path], reason: str, write: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    two_series(write)
    bad = neighbour(write)
    study = read_study(tmp_path)
    assert [image.pixels[:, 0, 0].tolist() for image in study.images] == [[10, 11, 12], [20, 21, 22]]
    assert [error.reason for error in study.left_out] == [reason]
    assert str(study.left_out[0]).startswith(f"{bad.name}: ")
    assert read_one(tmp_path, series=1).pixels[0, 0, 0] == 20
    assert len(read(tmp_path)) == 2
    assert caplog.messages == [f"left out: {study.left_out[0]}"]


def test_a_series_can_be_chosen_from_a_folder_that_is_too_large_as_a_whole(write: Write, tmp_path: Path) -> None:
    two_series(write)
    with pytest.raises(DicomError, match=r"its images need .* choose one of them by series=0, 1, \.\.\.") as caught:
        read(tmp_path, max_bytes=400)
    assert caught.value.reason == "too_large"
    assert read_one(tmp_path, series=1, max_bytes=400).pixels[:, 0, 0].tolist() == [20, 21, 22]
    with pytest.raises(DicomError, match="there is no series 2; choose from 0 to 1"):
        read_one(tmp_path, series=2)


def test_files_of_other_kinds_are_not_spoken_of(write: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    two_series(write)
    (tmp_path / "readme.txt").write_text("x")
    (tmp_path / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600))
    (tmp_path / "viewer.exe").write_bytes(b"MZ" + bytes(600))
    (tmp_path / "index.bin").write_bytes(b"\x08\x00\x05\x00\x00\x00\xff\xff" + bytes(40))
    assert len(read(tmp_path)) == 2
    assert caplog.messages == []


def test_a_folder_of_nothing_but_bad_files_says_why(write: Write, tmp_path: Path) -> None:
    video(write)
    with pytest.raises(DicomError, match=r"^0\.dcm: its compression is not supported here"):
        read(tmp_path)
    cut_off(write)
    with pytest.raises(DicomError, match=r"none of its 2 DICOM images can be read; the first: 0\.dcm: ") as caught:
        read(tmp_path)
    assert caught.value.reason == "unsupported"


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
