"""Broken, hostile and foreign files: a typed error of one sentence, in little time and memory, and never a crash."""

from __future__ import annotations

import os
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medvistagym_dicom import DicomError, read, read_one
from medvistagym_dicom.reading import read_if_dicom

Write = Callable[..., Path]
Files = Callable[[str], Path]


def refused(path: Path | str, **options: int) -> DicomError:
    with pytest.raises(DicomError) as caught:
        read(path, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in message
    assert len(message) < 300
    assert os.sep not in message
    return caught.value


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.dcm").reason == "not_found"
    (tmp_path / "empty.dcm").touch()
    assert refused(tmp_path / "empty.dcm").reason == "empty"
    (tmp_path / "text.dcm").write_text("Dear colleague, " * 50)
    assert str(refused(tmp_path / "text.dcm")) == "text.dcm: it is not a DICOM file"
    (tmp_path / "short.dcm").write_bytes(b"\x08\x00")
    assert refused(tmp_path / "short.dcm").reason == "not_an_image"
    (tmp_path / "preamble.dcm").write_bytes(bytes(128) + b"DICM")
    assert refused(tmp_path / "preamble.dcm").reason in ("truncated", "not_an_image")


def test_a_folder_without_images(tmp_path: Path) -> None:
    assert refused(tmp_path).reason == "empty"
    (tmp_path / "notes.txt").write_text("nothing")
    assert str(refused(tmp_path)).endswith("the folder holds no DICOM image among its 1 files")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.dcm")
    assert refused(tmp_path / "pipe.dcm").reason == "not_an_image"


def test_a_picture_cut_off(tmp_path: Path, path: Files) -> None:
    read_one(path("US1_UNCR.dcm")).save(tmp_path / "us.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "us.png").read_bytes()[:5000])
    error = refused(tmp_path / "cut.png")
    assert error.reason == "corrupt"
    assert str(error).startswith("cut.png: ")


def test_a_damaged_picture_does_not_warn(tmp_path: Path) -> None:
    # a TIFF that promises more directory entries than it has; warnings are errors here
    (tmp_path / "cut.tif").write_bytes(b"II*\0\x08\0\0\0\x05\0\0\x01\x03\0\x01\0\0\0")
    assert refused(tmp_path / "cut.tif").reason == "corrupt"


@pytest.mark.parametrize("length", [1500, 2990, 3000, 3001, 5000])
def test_a_header_cut_off_wherever_it_may_be(tmp_path: Path, path: Files, length: int) -> None:
    (tmp_path / "cut.dcm").write_bytes(path("CT_small.dcm").read_bytes()[:length])
    error = refused(tmp_path / "cut.dcm")
    assert error.reason == "truncated"
    assert str(error) == "cut.dcm: the file ends within its DICOM header"


def test_objects_without_pixels(path: Files) -> None:
    assert str(refused(path("reportsi.dcm"))) == (
        "reportsi.dcm: it holds no image, only a DICOM header; if it should, it was cut off"
    )
    assert "index of files" in str(refused(path("dicomdirtests/DICOMDIR")))


@pytest.mark.parametrize(
    "name", ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_implicit.dcm", "emri_small.dcm"]
)
def test_a_file_cut_off_anywhere_is_refused(name: str, path: Files, tmp_path: Path) -> None:
    whole = path(name).read_bytes()
    reasons = set()
    for length in range(140, len(whole) - 200, max(1, len(whole) // 60)):
        (tmp_path / "cut.dcm").write_bytes(whole[:length])
        reasons.add(refused(tmp_path / "cut.dcm").reason)
    assert reasons <= {"truncated", "no_pixels", "corrupt"}
    assert "truncated" in reasons


def test_too_many_pixels_are_refused_before_they_are_allocated(write: Write, tmp_path: Path) -> None:
    huge = write(np.zeros((4, 4), np.uint16), Rows=65535, Columns=65535, NumberOfFrames=1000)
    tracemalloc.start()
    error = refused(huge)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert error.reason == "too_large"
    assert "65535 x 65535 pixels in 1000 frames need 8191750 MiB" in str(error)
    assert refused(write(np.zeros((600, 600), np.uint16)), max_bytes=2**19).reason == "too_large"
    assert refused(tmp_path, max_bytes=2**19).reason == "too_large"


def test_a_header_that_promises_more_than_the_file_holds(write: Write) -> None:
    assert refused(write(np.zeros((4, 4), np.uint16), Rows=4000, Columns=4000)).reason == "truncated"


@pytest.mark.parametrize(
    "change",
    [{"Rows": 0}, {"Columns": 0}, {"BitsAllocated": 65}, {"BitsStored": 17}, {"SamplesPerPixel": 3}],
)
def test_impossible_descriptions(write: Write, change: dict[str, int]) -> None:
    assert refused(write(np.zeros((4, 4), np.uint16), **change)).reason == "corrupt"


@pytest.mark.parametrize("bits", [12, 24])  # of ACR-NEMA and of research
def test_a_depth_that_is_not_read_is_not_called_damage(write: Write, bits: int) -> None:
    stored = {"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1}
    error = refused(write(np.zeros((4, 4), np.uint16), **stored))
    assert error.reason == "unsupported"
    assert f"samples of {bits} bits are not supported here" in str(error)


def test_unknown_photometric_interpretation(write: Write) -> None:
    error = refused(write(np.zeros((4, 4), np.uint16), PhotometricInterpretation="PLAID"))
    assert error.reason == "unsupported"
    assert "PLAID" not in str(error)  # a header's word is never repeated


def test_a_compression_that_is_not_supported_names_those_that_are(path: Files, tmp_path: Path) -> None:
    mpeg = path("MR_small_jp2klossless.dcm").read_bytes().replace(b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.4.10")
    (tmp_path / "mpeg.dcm").write_bytes(mpeg)
    error = refused(tmp_path / "mpeg.dcm")
    assert error.reason == "unsupported"
    assert "JPEG 2000 Lossless" in str(error)


def test_a_codestream_larger_than_its_header_is_not_decoded(path: Files, tmp_path: Path) -> None:
    for name, mark, offset in (
        ("SC_rgb_jpeg_dcmtk.dcm", b"\xff\xc0", 5),
        ("MR_small_jp2klossless.dcm", b"\xff\x4f\xff\x51", 8),
    ):
        data = bytearray(path(name).read_bytes())
        data[data.index(mark) + offset : data.index(mark) + offset + 2] = b"\x7f\xff"
        (tmp_path / "bomb.dcm").write_bytes(data)
        error = refused(tmp_path / "bomb.dcm")
        assert error.reason == "corrupt"
        assert "where the header says" in str(error)


def test_a_deflated_bomb_is_not_inflated(path: Files, tmp_path: Path) -> None:
    data = path("image_dfl.dcm").read_bytes()
    meta = data[: data.index(b"1.2.840.10008.1.2.1.99") + 22]
    bomb = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    header = bytes.fromhex("08006000") + b"CS\x02\0CT" + bytes.fromhex("09001000") + b"OB\0\0"
    value = (64 << 20).to_bytes(4, "little") + bytes(64 << 20)
    (tmp_path / "bomb.dcm").write_bytes(meta + bomb.compress(header + value) + bomb.flush())
    assert refused(tmp_path / "bomb.dcm", max_bytes=2**20).reason == "too_large"


def test_endless_nesting_is_cut_short(tmp_path: Path) -> None:
    syntax = bytes.fromhex("02001000") + b"UI\x14\x001.2.840.10008.1.2.1\0"
    item = bytes.fromhex("00523092") + b"SQ\0\0" + b"\xff" * 4 + bytes.fromhex("feff00e0") + b"\xff" * 4
    (tmp_path / "deep.dcm").write_bytes(bytes(128) + b"DICM" + syntax + item * 20_000)
    assert "nested more than" in str(refused(tmp_path / "deep.dcm"))


def test_decoders_are_silent(path: Files, capfd: pytest.CaptureFixture[str]) -> None:
    read(path("JPEG-lossy.dcm"))
    with pytest.raises(DicomError):
        read(path("JPEG2000-embedded-sequence-delimiter.dcm"))
    assert capfd.readouterr() == ("", "")


def test_a_reader_among_others_leaves_foreign_files_to_them(path: Files, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("hello " * 100)
    assert read_if_dicom(tmp_path / "text.txt") is None
    read_one(path("US1_UNCR.dcm")).save(tmp_path / "us.png")
    assert read_if_dicom(tmp_path / "us.png") is None
    assert read_if_dicom(path("MR_small.dcm")) is not None
    with pytest.raises(DicomError):
        read_if_dicom(path("MR_truncated.dcm"))
