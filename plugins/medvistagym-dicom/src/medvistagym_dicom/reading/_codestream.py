"""The header of a compressed frame: its size, depth, sign and colour, read before a decoder sees the frame.

JPEG (ITU-T T.81), JPEG-LS (T.87), JPEG 2000 (T.800) and HTJ2K (T.814) codestreams, and the header of DICOM's RLE (PS3.5
annex G). The description serves twice. A frame that claims more pixels, components, tiles, layers or scans than its
object or a real image has is refused before anything is allocated for it; and where a codestream and the elements of
the object contradict each other about depth, sign or colour, the codestream is right, since it is what the encoder
wrote.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Final, Literal

Codec = Literal["jpeg", "jpeg_lossless", "jpeg_ls", "jpeg2000", "htj2k", "rle"]
Colour = Literal["RGB", "YCbCr"]

MAX_SCANS: Final = 64  # of a JPEG image; the standard's own script for progressive images has ten
MAX_TILES: Final = 65_535  # T.800 A.4.2: the number of a tile has 16 bits
MAX_LAYERS: Final = 1_000
MAX_PACKETS: Final = 1 << 20
_MAX_HEADER_BYTES: Final = 1 << 16  # within which a JP2 file has its codestream

_SOC: Final = b"\xff\x4f\xff\x51"  # start of a JPEG 2000 codestream, and its first marker
_JP2: Final = b"\x00\x00\x00\x0cjP  "


class CodestreamError(ValueError):
    """A codestream that no decoder should see; the sentence continues "a compressed frame ..." and names what is wrong."""


@dataclasses.dataclass(frozen=True)
class Codestream:
    """A compressed frame, described by its own header.

    Attributes:
        codec: How it is compressed.
        rows: Height in pixels.
        columns: Width in pixels.
        components: Samples a pixel.
        precision: Bits of a sample.
        is_signed: Whether samples are two's complement; only JPEG 2000 says so.
        colour: Colour space of the components where the codestream tells; None where it does not.
        start: Where the codestream begins in the frame: behind the boxes of a JP2 file.
        tiles: Parts that a JPEG 2000 image is coded in.
        packets: Pieces that these are coded in.
    """

    codec: Codec
    rows: int
    columns: int
    components: int
    precision: int
    is_signed: bool = False
    colour: Colour | None = None
    start: int = 0
    tiles: int = 1
    packets: int = 1


def begins_codestream(data: bytes) -> bool:
    """Whether a fragment begins a JPEG, JPEG-LS or JPEG 2000 image, and does not go on with one."""
    return data.startswith((b"\xff\xd8\xff", _SOC, _JP2, b"\x0d\x0a\x87\x0a"))


def read_codestream(data: bytes) -> Codestream | None:
    """Description of a JPEG, JPEG-LS or JPEG 2000 image; None when the frame does not begin one.

    Raises:
        CodestreamError: Its header is cut off, or claims what no real image has.
    """
    try:
        if data[:2] == b"\xff\xd8":
            return _read_jpeg(data)
        start = data.find(_SOC, 0, _MAX_HEADER_BYTES) if data.startswith((_SOC, _JP2, b"\x0d\x0a\x87\x0a")) else -1
        return _read_jpeg2000(data, start) if start >= 0 else None
    except (struct.error, IndexError):
        raise CodestreamError("ends within its own header") from None


# -- JPEG and JPEG-LS


def _read_jpeg(data: bytes) -> Codestream:
    at, frame, jfif, adobe = 2, None, False, None
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise CodestreamError("has a damaged header")
        marker = data[at + 1]
        if marker == 0xFF:  # fill bytes before a marker
            at += 1
            continue
        if marker in (0x01, *range(0xD0, 0xD8)):  # markers without a segment
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        body = at + 4
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            frame = (marker, *_read_jpeg_frame(data, body))
        elif marker == 0xE0 and data[body : body + 5] == b"JFIF\0":
            jfif = True
        elif marker == 0xEE and data[body : body + 5] == b"Adobe" and length >= 14:
            adobe = data[body + 11]
        elif marker == 0xDA:
            break
        elif marker == 0xD9:
            raise CodestreamError("ends before its first scan")
        at += 2 + length
    if frame is None:
        raise CodestreamError("has no frame header")
    marker, precision, rows, columns, identifiers = frame
    if data.count(b"\xff\xda", at) > MAX_SCANS:
        raise CodestreamError(f"has more than {MAX_SCANS} scans")
    if marker == 0xF7:
        return Codestream("jpeg_ls", rows, columns, len(identifiers), precision)
    if marker not in (0xC0, 0xC1, 0xC2, 0xC3):
        raise CodestreamError("is coded arithmetically or by hierarchy, which is not supported")
    codec: Codec = "jpeg_lossless" if marker == 0xC3 else "jpeg"
    colour = _jpeg_colour(identifiers, jfif and codec == "jpeg", adobe)
    return Codestream(codec, rows, columns, len(identifiers), precision, colour=colour)


def _read_jpeg_frame(data: bytes, body: int) -> tuple[int, int, int, bytes]:
    """Precision, rows, columns and the identifiers of the components, of a frame header (T.81 B.2.2)."""
    precision, rows, columns, components = struct.unpack_from(">BHHB", data, body)
    identifiers = data[body + 6 : body + 6 + 3 * components : 3]
    if not 1 <= components <= 4 or len(identifiers) != components or not 2 <= precision <= 16:
        raise CodestreamError("has a damaged frame header")
    return precision, rows, columns, identifiers


def _jpeg_colour(identifiers: bytes, jfif: bool, adobe: int | None) -> Colour | None:
    """The colour space that the markers of a JPEG image of three components tell.

    In this order: components named R, G, B; a JFIF marker, which stands for YCbCr (JFIF 1.02); the transform of an Adobe marker
    (Adobe Technical Note 5116).
    """
    if len(identifiers) != 3:
        return None
    if identifiers in (b"RGB", b"rgb"):
        return "RGB"
    if jfif:
        return "YCbCr"
    return None if adobe is None else "YCbCr" if adobe == 1 else "RGB"


def with_adobe_marker(data: bytes, colour: Colour) -> bytes:
    """A JPEG image whose application data are replaced by one Adobe marker that tells this colour space.

    Decoders convert YCbCr to RGB, or leave RGB alone, by the markers that they find; so they do what was decided here,
    and see no profiles, thumbnails or other pictures that a file may carry.
    """
    transform = 1 if colour == "YCbCr" else 0
    pieces = [b"\xff\xd8\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00", bytes([transform])]
    at = 2
    while at + 4 <= len(data) and data[at + 1] != 0xDA:
        if data[at] != 0xFF or data[at + 1] == 0xFF:
            at += 1
            continue
        length = 2 + int(struct.unpack_from(">H", data, at + 2)[0])
        if not 0xE0 <= data[at + 1] <= 0xEF and data[at + 1] != 0xFE:
            pieces.append(data[at : at + length])
        at += length
    return b"".join([*pieces, data[at:]])


# -- JPEG 2000


def _read_jpeg2000(data: bytes, start: int) -> Codestream:
    at = start + 2
    size: tuple[int, ...] = ()
    depth = 0
    transformed, is_high_throughput, packets = False, False, 1
    while True:
        marker, length = struct.unpack_from(">HH", data, at)
        body = at + 4
        if marker == 0xFF51:
            size = struct.unpack_from(">HIIIIIIIIH", data, body)
            depth = data[body + 36]
            _check_components(size, data[body + 36 : body + 36 + 3 * size[9]])
        elif marker == 0xFF52 and size:
            transformed, packets = _read_coding_style(data, body, length, size)
        elif marker == 0xFF50:
            is_high_throughput = True
        elif marker == 0xFF90:  # the first tile: the main header is over
            break
        elif not 0xFF50 <= marker <= 0xFF8F:
            raise CodestreamError("has a damaged header")
        at += 2 + length
    if not size:
        raise CodestreamError("has a damaged header")
    _, x1, y1, x0, y0, width, height, tile_x0, tile_y0, components = size
    tiles = -(-(x1 - tile_x0) // width) * -(-(y1 - tile_y0) // height)
    codec: Codec = "htj2k" if is_high_throughput else "jpeg2000"
    colour: Colour | None = "RGB" if transformed and components == 3 else _jp2_colour(data[:start])
    return Codestream(
        codec, y1 - y0, x1 - x0, components, (depth & 0x7F) + 1, depth >= 0x80, colour, start, tiles, packets
    )


def _check_components(size: tuple[int, ...], components: bytes) -> None:
    """Refuse a picture, tiles or components that cannot be, or are not supported (T.800 A.5.1)."""
    _, x1, y1, x0, y0, width, height, tile_x0, tile_y0, count = size
    if not (x0 < x1 and y0 < y1 and width and height and tile_x0 <= x0 and tile_y0 <= y0):
        raise CodestreamError("has a damaged header")
    if not 1 <= count <= 4 or len(components) != 3 * count:
        raise CodestreamError(f"has {count} components")
    if any(depth != components[0] for depth in components[::3]):
        raise CodestreamError("has components of different depth")
    if any(step != 1 for k, step in enumerate(components) if k % 3):
        raise CodestreamError("has components of different size, which is not supported")


def _read_coding_style(data: bytes, body: int, length: int, size: tuple[int, ...]) -> tuple[bool, int]:
    """Whether a multiple component transformation is used (T.800 A.6.1), whose inverse gives RGB, and the number of packets.

    Each layer of a precinct is a packet, and costs a decoder time and memory even if it is empty.
    """
    style, _, layers, transformed, levels, block_width, block_height = struct.unpack_from(">BBHBBBB", data, body)
    if levels > 32 or block_width > 8 or block_height > 8 or block_width + block_height > 8:
        raise CodestreamError("has a damaged header")
    if layers > MAX_LAYERS:
        raise CodestreamError(f"has {layers} quality layers, more than {MAX_LAYERS}")
    exponents = data[body + 10 : body + 11 + levels] if style & 1 else b"\xff" * (levels + 1)
    if len(exponents) != levels + 1 or length < 12 + (levels + 1 if style & 1 else 0):
        raise CodestreamError("has a damaged header")
    _, x1, y1, x0, y0, tile_width, tile_height, _, _, components = size
    tiles = -(-(x1 - x0) // tile_width) * -(-(y1 - y0) // tile_height)
    precincts = 0
    for level, exponent in enumerate(exponents):
        shrink = levels - level
        width = -(-min(tile_width, x1 - x0) // (1 << shrink))
        height = -(-min(tile_height, y1 - y0) // (1 << shrink))
        precincts += -(-width // (1 << (exponent & 15))) * -(-height // (1 << (exponent >> 4)))
    return bool(transformed), precincts * tiles * components * layers


def _jp2_colour(boxes: bytes) -> Colour | None:
    """The enumerated colour space of the boxes of a JP2 file (T.800 I.5.3.3): 16 is sRGB, 18 sYCC."""
    at = boxes.find(b"colr")
    if at < 0 or boxes[at + 4 : at + 5] != b"\x01" or len(boxes) < at + 11:
        return None
    return {16: "RGB", 18: "YCbCr"}.get(int.from_bytes(boxes[at + 7 : at + 11], "big"))  # type: ignore[return-value]


# -- RLE


def begins_rle(data: bytes) -> bool:
    """Whether a fragment begins with the header of an RLE frame: 1 to 15 segments, the first of them behind it."""
    return len(data) >= 64 and 1 <= int.from_bytes(data[:4], "little") <= 15 and data[4:8] == b"\x40\0\0\0"


def read_rle_segments(data: bytes) -> list[bytes]:
    """The segments of a frame of RLE (PS3.5 G.5).

    Raises:
        CodestreamError: Its header is cut off, or its segments lie outside the frame or out of order.
    """
    if len(data) < 64:
        raise CodestreamError("ends within its own header")
    count, *offsets = struct.unpack_from("<16I", data)
    if not 1 <= count <= 15:
        raise CodestreamError(f"has {count} segments, where RLE has 1 to 15")
    starts = offsets[:count]
    ends = [*starts[1:], len(data)]
    if any(not 64 <= a <= b <= len(data) for a, b in zip(starts, ends, strict=True)):
        raise CodestreamError("has segments that lie outside it")
    return [data[a:b] for a, b in zip(starts, ends, strict=True)]
