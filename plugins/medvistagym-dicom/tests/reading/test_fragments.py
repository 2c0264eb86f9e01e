"""Which fragments make up which frame, with offset tables, without, and with wrong ones."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from openjpeg.utils import encode_array
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless, UltrasoundMultiFrameImageStorage

from medvistagym_dicom import DicomError, read_one

Write = Callable[..., Path]
FRAMES = np.stack([np.tile(np.linspace(0, 40 + 50 * k, 64).astype(np.uint8), (64, 1)) for k in range(4)])
CLIP: dict[str, Any] = {"SOPClassUID": UltrasoundMultiFrameImageStorage, "Modality": "US"}


def jpeg(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(values).save(stream, "JPEG", quality=95)
    return even(stream.getvalue())


def even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)


CODES = [jpeg(frame) for frame in FRAMES]


def split(code: bytes, parts: int) -> list[bytes]:
    size = len(code) // parts // 2 * 2
    return [code[k * size : (k + 1) * size if k < parts - 1 else None] for k in range(parts)]


def offsets_of(frames: Sequence[Sequence[bytes]], width: str = "I") -> bytes:
    offsets, at = [], 0
    for fragments in frames:
        offsets.append(at)
        at += sum(8 + len(fragment) for fragment in fragments)
    return struct.pack(f"<{len(offsets)}{width}", *offsets)


def clip(write: Write, items: list[bytes], **elements: Any) -> Path:
    return write(FRAMES, **CLIP, **{"syntax": JPEGBaseline8Bit, **elements}, fragments=items)


def check(file: Path) -> None:
    image = read_one(file)
    assert image.pixels.shape == FRAMES.shape
    assert np.abs(image.pixels.astype(int) - FRAMES).max() < 12


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("has_table", [True, False])
def test_frames_of_one_fragment_or_several(parts: int, has_table: bool, write: Write) -> None:
    frames = [split(code, parts) for code in CODES]
    check(clip(write, [offsets_of(frames) if has_table else b"", *(item for frame in frames for item in frame)]))


def test_frames_of_different_numbers_of_fragments(write: Write) -> None:
    frames = [split(code, k + 1) for k, code in enumerate(CODES)]
    items = [item for frame in frames for item in frame]
    check(clip(write, [offsets_of(frames), *items]))
    check(clip(write, [b"", *items]))


@pytest.mark.parametrize(
    "table",
    [struct.pack("<4I", 0, 7, 9, 11), struct.pack("<4I", 9, 0, 0, 0), struct.pack("<2I", 0, 4), b"\0" * 16, b"\1\2\3"],
)
def test_an_offset_table_that_points_nowhere_is_not_believed(table: bytes, write: Write) -> None:
    frames = [split(code, 2) for code in CODES]
    check(clip(write, [table, *(item for frame in frames for item in frame)]))


def test_an_extended_offset_table(write: Write) -> None:
    frames = [[code] for code in CODES]
    lengths = struct.pack("<4Q", *map(len, CODES))
    extended = {0x7FE00001: ("OV", offsets_of(frames, "Q")), 0x7FE00002: ("OV", lengths)}
    check(clip(write, [b"", *CODES], raw=extended))
    wrong = {0x7FE00001: ("OV", struct.pack("<4Q", 0, 1, 2, 3)), 0x7FE00002: ("OV", lengths)}
    check(clip(write, [b"", *CODES], raw=wrong))


def test_a_missing_offset_table_and_empty_fragments(write: Write) -> None:
    check(clip(write, CODES))
    check(clip(write, [b"", CODES[0], b"", CODES[1], b"", b"", CODES[2], CODES[3]]))


def test_fragments_of_odd_length(write: Write) -> None:
    codes = [code.rstrip(b"\0") for code in CODES]
    assert any(len(code) % 2 for code in codes)
    check(clip(write, [b"", *codes]))


def test_a_sequence_of_defined_length_and_one_without_its_end(write: Write) -> None:
    file = clip(write, [b"", *CODES])
    data = file.read_bytes()
    file.write_bytes(data[: -len(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))])
    check(file)
    at = data.rindex(b"\xe0\x7f\x10\x00OB\0\0") + 8
    file.write_bytes(data[:at] + struct.pack("<I", len(data) - at - 4 - 8) + data[at + 4 : -8])
    check(file)


def test_jpeg_2000_and_rle_are_found_by_how_they_begin(write: Write) -> None:
    codes = [even(bytes(encode_array(frame, photometric_interpretation=2))) for frame in FRAMES]
    items = [item for code in codes for item in split(code, 3)]
    assert np.array_equal(read_one(clip(write, [b"", *items], syntax=JPEG2000Lossless)).pixels, FRAMES)
    rle = []
    for frame in FRAMES:
        runs = b"".join(b"\x7f" + frame.reshape(-1)[k : k + 128].tobytes() for k in range(0, frame.size, 128))
        rle.append(even(struct.pack("<16I", 1, 64, *[0] * 14) + runs))
    items = [item for code in rle for item in split(code, 2)]
    assert np.array_equal(read_one(clip(write, [b"", *items], syntax=RLELossless)).pixels, FRAMES)


@pytest.mark.parametrize(
    ("items", "reason", "text"),
    [
        ([b""], "truncated", "it holds no compressed frame"),
        ([b"", *CODES[:3]], "truncated", "it holds 3 of the 4 frames that its header promises"),
        ([b"", *CODES, CODES[0]], "corrupt", "its 5 fragments are not the 4 frames that its header promises"),
        ([b"", *CODES[:3], CODES[3][:200]], "corrupt", "a compressed frame"),
        ([b"", *CODES[:3], b"no image, " * 20], "corrupt", "a compressed frame is no JPEG, JPEG-LS or JPEG 2000 image"),
    ],
)
def test_frames_that_are_missing_are_said_to_be(items: list[bytes], reason: str, text: str, write: Write) -> None:
    with pytest.raises(DicomError, match=text) as caught:
        read_one(clip(write, items))
    assert caught.value.reason == reason


def test_a_frame_of_another_size_is_refused(write: Write) -> None:
    with pytest.raises(DicomError, match="a compressed frame is 32 x 32 where the header says 64 x 64"):
        read_one(clip(write, [b"", *CODES[:3], jpeg(FRAMES[0, :32, :32])]))


def test_a_video_is_not_supported_and_not_damaged(write: Write) -> None:
    file = clip(write, [b"", bytes(64)], syntax="1.2.840.10008.1.2.4.102")
    with pytest.raises(DicomError, match="its compression is not supported here") as caught:
        read_one(file)
    assert caught.value.reason == "unsupported"


@pytest.mark.parametrize("damage", ["cut off, with an end", "a piece lost"])
def test_a_jpeg_frame_whose_scan_is_not_whole_is_refused(damage: str, write: Write) -> None:
    code, half = CODES[2].rstrip(b"\0"), len(CODES[2]) * 3 // 4
    broken = even(code[:half] + (b"\xff\xd9" if damage.startswith("cut") else code[half + 9 :]))
    with pytest.raises(DicomError, match="a compressed frame is damaged") as caught:
        read_one(clip(write, [b"", *CODES[:2], broken, CODES[3]]))
    assert caught.value.reason == "corrupt"
