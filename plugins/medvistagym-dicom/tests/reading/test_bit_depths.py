"""Depths and signs of compressed frames where they are not those of the header, and odd headers of uncompressed ones.

The right values are those that were encoded, and for files pydicom's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jpeg_ls  # type: ignore[import-untyped]
import numpy as np
import pydicom
import pytest
from openjpeg.utils import encode_array
from pydicom.uid import (
    HTJ2K,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from medvistagym_dicom import DicomError, read_one

Write = Callable[..., Path]
RNG = np.random.default_rng(0)
OTHER: dict[str, Any] = {"SOPClassUID": SecondaryCaptureImageStorage, "Modality": "OT"}
SIGNED_12 = RNG.integers(-2048, 2048, (32, 32)).astype(np.int16)
UNSIGNED_12 = RNG.integers(0, 4096, (32, 32)).astype(np.uint16)
UNSIGNED_16 = RNG.integers(0, 65536, (32, 32)).astype(np.uint16)


def jls(values: np.ndarray, bits: int) -> bytes:
    height, width = values.shape
    return bytes(jpeg_ls.encode_buffer(np.ascontiguousarray(values).tobytes(), height, width, 1, bits))


def j2k(values: np.ndarray, bits: int) -> bytes:
    return bytes(encode_array(values, bits_stored=bits, photometric_interpretation=2))


def object_of(
    write: Write, code: bytes, syntax: str, allocated: int, stored: int, sign: int, shape: tuple[int, int] = (32, 32)
) -> Path:
    kind = np.uint8 if allocated == 8 else np.uint16
    return write(
        np.zeros(shape, kind), **OTHER, syntax=syntax, fragments=[b"", code + b"\0" * (len(code) % 2)], BitsAllocated=allocated,
        BitsStored=stored, HighBit=stored - 1, PixelRepresentation=sign,
    )  # fmt: skip


def bits_of(values: np.ndarray, bits: int) -> np.ndarray:
    """Two's complement of so many bits, as unsigned numbers."""
    cut: np.ndarray = (values.astype(np.int64) & (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)
    return cut


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("allocated", [8, 16])
def test_jpeg_ls_of_few_bits(bits: int, sign: int, allocated: int, write: Write) -> None:
    low = -(2 ** (bits - 1)) if sign else 0
    values = RNG.integers(low, low + 2**bits, (32, 32)).astype(np.int16)
    file = object_of(write, jls(bits_of(values, bits), bits), JPEGLSLossless, allocated, bits, sign)
    assert np.array_equal(read_one(file).pixels, values)


@pytest.mark.parametrize("bits", [9, 10, 12, 13, 14, 15, 16])
@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize(("encode", "syntax"), [(jls, JPEGLSLossless), (j2k, JPEG2000Lossless)])
def test_any_depth_in_sixteen_bits(bits: int, sign: int, encode: Any, syntax: str, write: Write) -> None:
    low = -(2 ** (bits - 1)) if sign else 0
    values = RNG.integers(low, low + 2**bits, (32, 32)).astype(np.int32)
    # written unsigned, as JPEG-LS must and JPEG 2000 often is
    file = object_of(write, encode(bits_of(values, bits), bits), syntax, 16, bits, sign)
    image = read_one(file)
    assert np.array_equal(image.pixels, values)
    assert image.pixels.dtype == (np.int16 if sign else np.uint16)


def test_signed_jpeg_2000(write: Write) -> None:
    file = object_of(write, j2k(SIGNED_12, 12), JPEG2000Lossless, 16, 12, 1)
    assert np.array_equal(read_one(file).pixels, SIGNED_12)


def test_a_signed_codestream_of_unsigned_values(write: Write) -> None:
    file = object_of(write, j2k(UNSIGNED_12.astype(np.int16), 13), JPEG2000Lossless, 16, 12, 0)
    assert np.array_equal(read_one(file).pixels, UNSIGNED_12)


@pytest.mark.parametrize(("encode", "syntax"), [(jls, JPEGLSLossless), (j2k, JPEG2000Lossless)])
def test_fewer_bits_than_the_header_says(encode: Any, syntax: str, write: Write) -> None:
    file = object_of(write, encode(UNSIGNED_12, 12), syntax, 16, 16, 0)
    assert np.array_equal(read_one(file).pixels, UNSIGNED_12)
    signed = object_of(write, encode(bits_of(SIGNED_12, 12), 12), syntax, 16, 16, 1)
    ours = read_one(signed).pixels
    assert np.array_equal(ours, SIGNED_12)
    assert np.array_equal(ours, pydicom.dcmread(signed).pixel_array)


def test_more_bits_than_the_header_says(write: Write) -> None:
    file = object_of(write, j2k(bits_of(SIGNED_12, 16), 16), JPEG2000Lossless, 16, 12, 1)
    assert np.array_equal(read_one(file).pixels, SIGNED_12)
    file = object_of(write, j2k(bits_of(SIGNED_12, 12), 16), JPEG2000Lossless, 16, 12, 1)
    assert np.array_equal(read_one(file).pixels, SIGNED_12)


def test_a_depth_beyond_what_is_allocated(write: Write) -> None:
    file = object_of(write, j2k(UNSIGNED_12, 12), JPEG2000Lossless, 8, 8, 0)
    assert np.array_equal(read_one(file).pixels, UNSIGNED_12)


def test_a_codestream_is_decoded_by_what_it_is_and_not_by_its_transfer_syntax(write: Write) -> None:
    for code, syntax in ((j2k(UNSIGNED_12, 12), JPEGLSLossless), (jls(UNSIGNED_12, 12), JPEG2000Lossless)):
        assert np.array_equal(read_one(object_of(write, code, syntax, 16, 12, 0)).pixels, UNSIGNED_12)
    file = object_of(write, j2k(UNSIGNED_12, 12), ExplicitVRLittleEndian, 16, 12, 0)
    assert np.array_equal(read_one(file).pixels, UNSIGNED_12)


def test_native_pixels_under_a_compressed_transfer_syntax(write: Write) -> None:
    file = write(UNSIGNED_12, **OTHER)
    data = file.read_bytes()
    file.write_bytes(data.replace(b"\x14\x001.2.840.10008.1.2.1\0", b"\x16\x001.2.840.10008.1.2.4.90"))
    assert np.array_equal(read_one(file).pixels, UNSIGNED_12)


def test_high_throughput_jpeg_2000_that_is_none_is_refused(write: Write) -> None:
    file = object_of(write, b"\xff\x4f\xff\x51" + bytes(40), HTJ2K, 16, 12, 0)
    with pytest.raises(DicomError, match="a compressed frame has a damaged header"):
        read_one(file)


# -- RLE (PS3.5 annex G)


def packbits(data: bytes, *, run: bool) -> bytes:
    """Literal runs of up to 128 bytes, or replicated ones where bytes repeat."""
    out, k = b"", 0
    while k < len(data):
        n = 1
        while run and n < 128 and k + n < len(data) and data[k + n] == data[k]:
            n += 1
        if n > 2:
            out, k = out + bytes([257 - n, data[k]]), k + n
        else:
            piece = data[k : k + (3 if run else 128)]
            out, k = out + bytes([len(piece) - 1]) + piece, k + len(piece)
    return out


def rle(values: np.ndarray, *, run: bool = False, padding: int = 0) -> bytes:
    size = values.dtype.itemsize
    planes = values.reshape(-1).view(np.uint8).reshape(-1, size)[:, ::-1]
    segments = [packbits(planes[:, k].tobytes(), run=run) + bytes(padding) for k in range(size)]
    offsets = np.cumsum([64, *map(len, segments)])[:-1].tolist()
    return struct.pack("<16I", size, *offsets, *[0] * (15 - size)) + b"".join(segments)


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4"])
@pytest.mark.parametrize("run", [False, True])
def test_rle_of_any_width(kind: str, run: bool, write: Write) -> None:
    limits = np.iinfo(kind)
    values = RNG.integers(limits.min, limits.max, (9, 13), endpoint=True).astype(kind)
    values[3:6] = values[0, 0]  # runs that go on from one row to the next
    code = rle(values, run=run)
    file = write(values, **OTHER, syntax=RLELossless, fragments=[b"", code + b"\0" * (len(code) % 2)])
    assert np.array_equal(read_one(file).pixels, values)


def test_rle_of_twelve_signed_bits_and_padded_segments(write: Write) -> None:
    code = rle(bits_of(SIGNED_12, 12), padding=1)
    file = object_of(write, code, RLELossless, 16, 12, 1)
    assert np.array_equal(read_one(file).pixels, SIGNED_12)


@pytest.mark.parametrize("segments", [0, 1, 3, 16, 0x10000, 0xFFFFFFFF])
def test_rle_that_states_another_number_of_segments_is_refused(segments: int, write: Write) -> None:
    code = struct.pack("<I", segments) + rle(UNSIGNED_16)[4:]
    with pytest.raises(DicomError, match="a compressed frame has"):
        read_one(object_of(write, code, RLELossless, 16, 16, 0))


@pytest.mark.parametrize("offsets", [(64, 2**31), (10, 64), (200, 100), (64, 64)])
def test_rle_segments_outside_their_frame_are_refused(offsets: tuple[int, int], write: Write) -> None:
    code = struct.pack("<3I", 2, *offsets) + bytes(52) + bytes(100)
    with pytest.raises(DicomError, match="a compressed frame"):
        read_one(object_of(write, code, RLELossless, 16, 16, 0))


# -- headers


@pytest.mark.parametrize("high_bit", [7, 99, 65535])
def test_a_high_bit_that_cannot_be_is_not_believed(high_bit: int, write: Write) -> None:
    assert np.array_equal(read_one(write(UNSIGNED_12, **OTHER, BitsStored=12, HighBit=high_bit)).pixels, UNSIGNED_12)


def test_a_missing_sign_is_none_and_a_missing_number_of_frames_one(write: Write) -> None:
    image = read_one(write(UNSIGNED_16, **OTHER, PixelRepresentation=None))
    assert np.array_equal(image.pixels, UNSIGNED_16)
    for frames in (0, 1):
        assert read_one(write(UNSIGNED_16, **OTHER, NumberOfFrames=frames)).pixels.shape == (32, 32)


def test_single_bits_of_frames_go_on_in_the_byte_of_the_one_before(write: Write) -> None:
    masks = RNG.integers(0, 2, (3, 5, 7)).astype(np.uint8)
    packed = np.packbits(masks.reshape(-1), bitorder="little")
    packed = np.append(packed, np.zeros(len(packed) % 2, np.uint8))
    file = write(
        packed.reshape(1, -1), **OTHER, Rows=5, Columns=7, NumberOfFrames=3, BitsAllocated=1, BitsStored=1, HighBit=0
    )
    assert np.array_equal(read_one(file).pixels, masks)


def test_overlays_in_bits_of_the_pixels(write: Write) -> None:
    drawn = RNG.integers(0, 2, (32, 32)).astype(np.uint16)
    file = write(
        UNSIGNED_12 | drawn << 12, **OTHER, BitsStored=12, HighBit=11,
        raw={
            0x60000010: ("US", 32), 0x60000011: ("US", 32), 0x60000050: ("SS", [1, 1]), 0x60000100: ("US", 16),
            0x60000102: ("US", 12),
        },
    )  # fmt: skip
    image = read_one(file, overlays=True)
    assert np.array_equal(image.pixels, UNSIGNED_12)
    assert image.overlay is not None
    assert np.array_equal(image.overlay, drawn.astype(bool))
