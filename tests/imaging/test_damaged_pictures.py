"""Pictures that were changed or cut off on their way are refused, and odd ones that are whole are not."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import PIL.Image
import pytest

from medvistagym_core.imaging import Image, decode_jpeg

Y, X = np.mgrid[:96, :80]
GREY = (128 + 60 * np.sin(X / 9) + 40 * np.cos(Y / 7)).astype(np.uint8)
NOISY = (GREY // 2 + np.random.default_rng(0).integers(0, 100, GREY.shape)).astype(np.uint8)
COLOUR = np.stack([NOISY, 255 - NOISY, GREY], -1)


def encoded(pixels: np.ndarray | PIL.Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture = pixels if isinstance(pixels, PIL.Image.Image) else PIL.Image.fromarray(pixels)
    picture.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes, error: int = 0) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ error)


PNGS = {
    "grey": encoded(GREY, "PNG"), "colour": encoded(COLOUR, "PNG"), "16 bit": encoded(GREY.astype(np.uint16) * 200, "PNG"),
    "palette": encoded(PIL.Image.fromarray(COLOUR).quantize(16), "PNG"),
    "alpha": encoded(np.dstack([COLOUR, GREY]), "PNG"),
}  # fmt: skip


@pytest.mark.parametrize("name", PNGS)
def test_a_png_of_which_a_byte_was_changed_is_refused(name: str) -> None:
    data = PNGS[name]
    for at in np.linspace(16, len(data) - 1, 60).astype(int).tolist():
        broken = bytearray(data)
        broken[at] ^= 4
        with pytest.raises(ValueError, match=r"it is damaged \("):
            Image.open(bytes(broken))
    for length in (len(data) // 2, len(data) - 12, len(data) - 3):
        with pytest.raises(ValueError, match=r"it is damaged \(it is cut off\)"):
            Image.open(data[:length])


def test_the_chunk_of_a_wrong_checksum_is_named_though_it_is_a_text() -> None:
    data = PNGS["grey"]
    end = data.index(b"IEND") - 4
    with pytest.raises(ValueError, match=r"the checksum of its chunk 'tEXt' is wrong"):
        Image.open(data[:end] + chunk(b"tEXt", b"Comment\0x", error=1) + data[end:])


def test_what_follows_the_end_of_a_png_is_no_part_of_it() -> None:
    for name, data in PNGS.items():
        whole = Image.open(data).pixels
        for rest in (bytes(100), b"appended", data):
            assert np.array_equal(Image.open(data + rest).pixels, whole), name


JPEGS = {
    "grey": encoded(NOISY, "JPEG", quality=90), "colour": encoded(COLOUR, "JPEG", quality=90),
    "full colour": encoded(COLOUR, "JPEG", quality=90, subsampling=0), "progressive": encoded(COLOUR, "JPEG", progressive=True),
}  # fmt: skip


def pillow(data: bytes) -> np.ndarray:
    with PIL.Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_whose_scan_is_not_whole_is_refused(name: str) -> None:
    data = JPEGS[name]
    assert np.array_equal(Image.open(data).pixels, pillow(data))
    for at in np.linspace(len(data) * 0.5, len(data) * 0.7, 12).astype(int).tolist():
        rest_lost = data[:at] + data[-2:]  # which Pillow fills with grey
        piece_lost = data[:at] + data[at + len(data) // 4 :]
        for broken in (rest_lost, piece_lost, data[:at]):
            with pytest.raises(ValueError, match="it is damaged"):
                Image.open(broken)


def with_marker(data: bytes, marker: int, content: bytes) -> bytes:
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + data[2:]


@pytest.mark.parametrize("name", JPEGS)
def test_an_odd_jpeg_that_is_whole_is_read(name: str) -> None:
    data, whole = JPEGS[name], pillow(JPEGS[name])
    odd = {
        "another picture behind it, as phones write them": data + JPEGS["grey"],
        "text behind it": data + b"appended",
        "padding before its end": data[:-2] + bytes(300) + data[-2:],
        "a version that there is not": data.replace(b"JFIF\0\1", b"JFIF\0\7", 1),
        "a profile in pieces of which one is missing": with_marker(data, 0xE2, b"ICC_PROFILE\0\2\3" + bytes(8)),
        "an unknown marker": with_marker(data, 0xED, b"Photoshop"),
        "a comment": with_marker(data, 0xFE, b"of a camera"),
        "fill bytes before a marker": data[:2] + b"\xff\xff" + data[2:],
    }
    for how, content in odd.items():
        assert np.array_equal(Image.open(content).pixels, whole), how


def test_a_jpeg_of_an_unusual_subsampling_and_one_of_inks_are_left_to_pillow() -> None:
    inks = encoded(PIL.Image.fromarray(COLOUR).convert("CMYK"), "JPEG")
    assert Image.open(inks).photometric == "RGB"
    data = bytearray(JPEGS["full colour"])
    frame = data.index(b"\xff\xc0")
    data[frame + 11 : frame + 20 : 3] = b"\x12\x11\x12"  # luminance and red over two rows, blue over one
    assert decode_jpeg(bytes(data), is_colour=True) is None
