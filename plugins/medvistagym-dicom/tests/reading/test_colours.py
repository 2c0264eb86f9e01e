"""Colours as the codestream says, or else as the header does; and palettes."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pydicom
import pytest
from openjpeg.utils import encode_array
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, convert_color_space
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless, SecondaryCaptureImageStorage

from medvistagym_dicom import DicomError, read_one

Write = Callable[..., Path]
QUADRANTS = np.zeros((32, 32, 3), np.uint8)
QUADRANTS[:16, :16], QUADRANTS[:16, 16:] = (220, 30, 30), (30, 200, 40)
QUADRANTS[16:, :16], QUADRANTS[16:, 16:] = (40, 60, 210), (200, 200, 60)
OTHER = {"SOPClassUID": SecondaryCaptureImageStorage, "Modality": "OT"}


def jpeg(**how: Any) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(QUADRANTS).save(stream, "JPEG", quality=95, subsampling=0, **how)
    return stream.getvalue() + b"\0" * (len(stream.getvalue()) % 2)


def without_application_data(data: bytes) -> bytes:
    """A JPEG image without JFIF or Adobe marker."""
    pieces, at = [data[:2]], 2
    while data[at + 1] != 0xDA:
        length = 2 + struct.unpack_from(">H", data, at + 2)[0]
        if not 0xE0 <= data[at + 1] <= 0xEF:
            pieces.append(data[at : at + length])
        at += length
    return b"".join([*pieces, data[at:]])


def with_adobe(data: bytes, transform: int) -> bytes:
    return data[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes([transform]) + data[2:]


def with_identifiers(data: bytes, names: bytes) -> bytes:
    """A JPEG image whose components have other names, in its frame and in its scan."""
    out = bytearray(data)
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    for k, name in enumerate(names):
        out[frame + 10 + 3 * k] = out[scan + 5 + 2 * k] = name
    return bytes(out)


JFIF, PLAIN = jpeg(), without_application_data(jpeg())
RGB = jpeg(keep_rgb=True)  # Pillow writes an Adobe marker with transform 0
PLAIN_RGB = without_application_data(RGB)


@pytest.mark.parametrize(
    ("data", "photometric"),
    [
        (JFIF, "RGB"),  # the common mislabel: a JFIF stream is YCbCr
        (JFIF, "YBR_FULL_422"),
        (JFIF, "YBR_FULL"),
        (JFIF, "YBR_PARTIAL_420"),
        (with_adobe(PLAIN, 1), "RGB"),
        (with_adobe(PLAIN, 1), "YBR_FULL"),
        (PLAIN, "YBR_FULL_422"),
        (RGB, "RGB"),
        (RGB, "YBR_FULL_422"),  # the opposite one
        (with_adobe(PLAIN_RGB, 0), "YBR_FULL"),
        (with_identifiers(PLAIN_RGB, b"RGB"), "YBR_FULL"),
        (with_identifiers(PLAIN_RGB, b"rgb"), "RGB"),
        (with_identifiers(PLAIN_RGB, b"\1\2\3"), "RGB"),  # the codestream says nothing, so the header does
    ],
)
def test_jpeg_colours_are_those_of_the_codestream(data: bytes, photometric: str, write: Write) -> None:
    file = write(
        QUADRANTS,
        colour=True,
        **OTHER,
        PhotometricInterpretation=photometric,
        syntax=JPEGBaseline8Bit,
        fragments=[b"", data],
    )
    image = read_one(file)
    assert image.photometric == "RGB"
    assert np.abs(image.pixels.astype(int) - QUADRANTS).max() < 30


@pytest.mark.parametrize("photometric", ["YBR_RCT", "YBR_ICT", "RGB", "YBR_FULL"])
@pytest.mark.parametrize("transformed", [True, False])
def test_jpeg_2000_with_a_component_transformation_is_rgb(photometric: str, transformed: bool, write: Write) -> None:
    # without one the header decides, and a YBR_RCT that was not transformed is RGB
    data = bytes(encode_array(QUADRANTS, photometric_interpretation=1, use_mct=transformed))
    file = write(
        QUADRANTS, colour=True, **OTHER, PhotometricInterpretation=photometric, syntax=JPEG2000Lossless,
        fragments=[b"", data + b"\0" * (len(data) % 2)],
    )  # fmt: skip
    expected = QUADRANTS
    if photometric == "YBR_FULL" and not transformed:
        expected = convert_color_space(QUADRANTS, "YBR_FULL", "RGB")
    assert np.abs(read_one(file).pixels.astype(int) - expected).max() <= 1


def test_a_jp2_file_in_a_fragment_is_decoded_by_its_codestream(path: Callable[[str], Path], write: Write) -> None:
    data = bytes(encode_array(QUADRANTS, photometric_interpretation=1, use_mct=True))
    header = struct.pack(">I4sIIHBBBB", 22, b"ihdr", 32, 32, 3, 7, 7, 0, 0) + struct.pack(
        ">I4sBBBI", 15, b"colr", 1, 0, 0, 16
    )
    boxes = (
        b"\0\0\0\x0cjP  \r\n\x87\n" + struct.pack(">I4s4sI4s", 20, b"ftyp", b"jp2 ", 0, b"jp2 ")
        + struct.pack(">I4s", 8 + len(header), b"jp2h") + header + struct.pack(">I4s", 0, b"jp2c")
    )  # fmt: skip
    whole = boxes + data
    file = write(
        QUADRANTS, colour=True, **OTHER, syntax=JPEG2000, PhotometricInterpretation="YBR_FULL",
        fragments=[b"", whole + b"\0" * (len(whole) % 2)],
    )  # fmt: skip
    assert np.array_equal(read_one(file).pixels, QUADRANTS)


def rle_frame(planes: list[bytes]) -> bytes:
    """An RLE frame whose segments are literal runs."""
    segments = [
        b"".join(bytes([len(plane[k : k + 128]) - 1]) + plane[k : k + 128] for k in range(0, len(plane), 128))
        for plane in planes
    ]
    offsets = np.cumsum([64, *map(len, segments)])[:-1].tolist()
    return struct.pack("<16I", len(planes), *offsets, *[0] * (15 - len(planes))) + b"".join(segments)


def test_rle_of_ycbcr_is_converted(write: Write) -> None:
    ycbcr = convert_color_space(QUADRANTS, "RGB", "YBR_FULL")
    data = rle_frame([ycbcr[..., k].tobytes() for k in range(3)])
    file = write(
        QUADRANTS, colour=True, **OTHER, PhotometricInterpretation="YBR_FULL", syntax=RLELossless,
        fragments=[b"", data + b"\0" * (len(data) % 2)],
    )  # fmt: skip
    assert np.abs(read_one(file).pixels.astype(int) - QUADRANTS).max() <= 2


@pytest.mark.parametrize("planar", [0, 1])
def test_uncompressed_ycbcr_is_converted(planar: int, write: Write) -> None:
    ycbcr = convert_color_space(QUADRANTS, "RGB", "YBR_FULL")
    stored = np.moveaxis(ycbcr, -1, 0).reshape(32, 32, 3) if planar else ycbcr
    file = write(stored, colour=True, **OTHER, PhotometricInterpretation="YBR_FULL", PlanarConfiguration=planar)
    assert np.abs(read_one(file).pixels.astype(int) - QUADRANTS).max() <= 2


def test_partial_range_is_spread(write: Write) -> None:
    # PS3.3 C.7.6.3.1.2: black is 16, white 235
    ycbcr = np.zeros((4, 4, 3), np.uint8)
    ycbcr[:2], ycbcr[2:] = (16, 128, 128), (235, 128, 128)
    packed = np.concatenate([ycbcr[:, ::2, :1], ycbcr[:, 1::2, :1], ycbcr[:, ::2, 1:]], -1)
    file = write(np.zeros((4, 4, 3), np.uint8), colour=True, **OTHER, PhotometricInterpretation="YBR_PARTIAL_422")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) - 48 - 4] + struct.pack("<I", 32) + packed.tobytes())
    pixels = read_one(file).pixels
    assert (pixels[:2].max(), pixels[2:].min()) == (0, 255)


# -- palettes (PS3.3 C.7.6.3.1.5, C.7.9.2)


def palette(entries: np.ndarray, bits: int, first: int = 0, *, packed: bool = False) -> dict[str, Any]:
    """Elements of a palette of `(n, 3)` entries."""
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR", **OTHER}
    for k, colour in enumerate(("Red", "Green", "Blue")):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [len(entries) % 65536, first, bits]
        kind = "u1" if packed else "<u2"
        elements[f"{colour}PaletteColorLookupTableData"] = entries[:, k].astype(kind).tobytes()
    return elements


@pytest.mark.parametrize(("bits", "packed"), [(8, False), (8, True), (16, False)])
def test_palettes_give_the_colours_that_pydicom_gives(bits: int, packed: bool, write: Write) -> None:
    entries = np.random.default_rng(0).integers(0, 2**bits, (256, 3))
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    file = write(indices, **palette(entries, bits, packed=packed))
    expected = apply_color_lut(indices, pydicom.dcmread(file))
    assert np.array_equal(read_one(file).pixels, expected >> 8 if bits == 16 else expected)


def test_how_deep_a_palette_is_is_not_told_by_the_colours_that_are_used(write: Write) -> None:
    entries = np.repeat(np.arange(256)[:, None] * 257, 3, 1)  # 16 bits
    dark = read_one(write(np.zeros((4, 4), np.uint8), **palette(entries, 16)))
    assert dark.pixels.max() == 0
    second = read_one(write(np.ones((4, 4), np.uint8), **palette(entries, 16)))
    assert second.pixels.max() == 1  # 257 of 65535, and not white


def test_indices_beyond_a_palette_take_its_ends(write: Write) -> None:
    entries = np.array([[10, 20, 30], [40, 50, 60]])
    image = read_one(write(np.array([[0, 5, 6, 9]], np.uint8), **palette(entries, 8, first=5)))
    assert image.pixels[0].tolist() == [[10, 20, 30], [10, 20, 30], [40, 50, 60], [40, 50, 60]]


def segmented(words: list[int]) -> dict[str, Any]:
    elements = palette(np.zeros((256, 3)), 16)
    for colour in ("Red", "Green", "Blue"):
        del elements[f"{colour}PaletteColorLookupTableData"]
        elements[f"Segmented{colour}PaletteColorLookupTableData"] = np.array(words, "<u2").tobytes()
    return elements


def test_segmented_palettes_equal_those_of_pydicom(write: Write) -> None:
    words = [0, 2, 0, 256, 1, 100, 30000, 0, 1, 65535, 1, 101, 0, 2, 1, 0, 0, 1, 50, 5000]  # 256 entries
    indices = np.arange(255, dtype=np.uint8).reshape(15, 17)
    file = write(indices, **segmented(words))
    expected = apply_color_lut(indices, pydicom.dcmread(file)) >> 8
    assert np.abs(read_one(file).pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    "words",
    [
        [0, 1, 0, 2, 60000, 14, 0, *[1, 65535, 65535] * 200],  # one that repeats another a thousand times
        [0, 1, 0, *[1, 65535, 65535] * 30],
        [1, 100, 5],  # nothing to go on from
        [0, 1, 0, 2, 1, 60000, 0],  # points outside
        [7, 1, 0],
    ],
)
def test_segments_that_make_too_much_or_nothing_are_refused(words: list[int], write: Write) -> None:
    with pytest.raises(DicomError, match="segmented palette is damaged"):
        read_one(write(np.zeros((2, 2), np.uint8), **segmented(words)))


@pytest.mark.parametrize("spelling", ["monochrome2", "MONOCHROME 2", " Monochrome2", "MONOCHROME_2"])
def test_photometric_interpretations_may_be_spelled_oddly(spelling: str, write: Write) -> None:
    stored = np.arange(16, dtype=np.uint8).reshape(4, 4)
    image = read_one(write(stored, raw={0x00280004: ("LO", spelling)}))
    assert image.photometric == "MONOCHROME2"
    assert np.array_equal(image.pixels, stored)


def test_items_of_a_palette_are_read_as_attributes_of_the_object_only(write: Write) -> None:
    nested = Dataset()
    nested.PhotometricInterpretation = "PALETTE COLOR"
    image = read_one(write(np.zeros((4, 4), np.uint8), **OTHER, IconImageSequence=[nested]))
    assert image.photometric == "MONOCHROME2"
