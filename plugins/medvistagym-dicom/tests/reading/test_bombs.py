"""Small files that ask for much memory or time: refused with a sentence, before it is spent.

Each is read in a process of its own whose memory and time are measured.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import costs
import pytest

LONG = {b"OB", b"OW", b"SQ", b"UN"}
MIB = 1 << 20
J2K = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"
DEFLATED = "1.2.840.10008.1.2.1.99"


def element(group: int, number: int, vr: bytes, value: bytes = b"", length: int | None = None) -> bytes:
    value += b"\0" * (len(value) % 2)
    n = len(value) if length is None else length
    return (
        struct.pack("<HH2s", group, number, vr)
        + (struct.pack("<HI" if vr in LONG else "<H", *([0, n] if vr in LONG else [n])))
        + value
    )


def short(number: int, *values: int) -> bytes:
    return element(0x28, number, b"US", struct.pack(f"<{len(values)}H", *values))


def meta(syntax: str = "1.2.840.10008.1.2.1") -> bytes:
    body = element(2, 0x10, b"UI", syntax.encode())
    return bytes(128) + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(body))) + body


def image(rows: int, columns: int, bits: int = 8, frames: str = "", photometric: str = "MONOCHROME2") -> bytes:
    return (
        element(8, 0x60, b"CS", b"OT") + short(2, 1) + element(0x28, 4, b"CS", photometric.encode())
        + (element(0x28, 8, b"IS", frames.encode()) if frames else b"") + short(0x10, rows) + short(0x11, columns)
        + short(0x100, bits) + short(0x101, bits) + short(0x102, bits - 1) + short(0x103, 0)
    )  # fmt: skip


def pixels(data: bytes = bytes(4), length: int | None = None) -> bytes:
    return element(0x7FE0, 0x10, b"OW", data, length)


def encapsulated(*fragments: bytes) -> bytes:
    items = [struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in (b"", *fragments)]
    return element(0x7FE0, 0x10, b"OB", length=0xFFFFFFFF) + b"".join(items) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def deflated(before: bytes, filling: bytes, count: int, behind: bytes = b"") -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = filling * (MIB // len(filling))
    head = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    packed = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)  # which says the same wherever it stands
    return meta(DEFLATED) + head + packed * (count // len(block)) + packer.compress(behind) + packer.flush()


def jpeg_2000(width: int, height: int, tile: int = 0, layers: int = 1, precinct: int = 15, levels: int = 5) -> bytes:
    size = struct.pack(
        ">HHHIIIIIIIIH3B", 0xFF51, 41, 0, width, height, 0, 0, tile or width, tile or height, 0, 0, 1, 7, 1, 1
    )
    precincts = bytes([precinct << 4 | precinct] * (levels + 1))
    style = struct.pack(">HHBBHBBBBBB", 0xFF52, 12 + len(precincts), 1, 0, layers, 0, levels, 4, 4, 0, 1) + precincts
    steps = bytes.fromhex("ff5c0013404048485048485048485048485048485050")[:21]
    tile_part = struct.pack(">HHHIBB", 0xFF90, 10, 0, 0, 0, 1) + b"\xff\x93" + bytes(64) + b"\xff\xd9"
    data = b"\xff\x4f" + size + style + steps + tile_part
    return data + b"\0" * (len(data) % 2)


def rle(count: int) -> bytes:
    segment = bytes([129, 0]) * (count // 128)
    return struct.pack("<16I", 1, 64, *[0] * 14) + segment


def palette(words: list[int]) -> bytes:
    data = struct.pack(f"<{len(words)}H", *words)
    tables = b"".join(short(tag, 0, 0, 16) for tag in (0x1101, 0x1102, 0x1103))
    tables += b"".join(element(0x28, tag, b"OW", data) for tag in (0x1221, 0x1222, 0x1223))
    return meta() + image(2, 2, photometric="PALETTE COLOR") + tables + pixels()


def nested(depth: int) -> bytes:
    opening = element(0x28, 0x3010, b"SQ", length=0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    return meta() + opening * depth


def items(
    count: int,
    body: bytes,
    before: bytes | None = None,
    head: bytes | None = None,
    filling: bytes | None = None,
    sequence: int = 0x9230,
) -> bytes:
    opening = element(0x5200, sequence, b"SQ", length=0xFFFFFFFF)
    groups = opening + body * count + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return (head or meta()) + (before or image(2, 2)) + groups + (filling or pixels())


POSITION = element(0x20, 0x9113, b"SQ", length=0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
POSITION += element(0x20, 0x32, b"DS", b"1\\2\\3 ") + struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
GROUPS = struct.pack("<HHI", 0xFFFE, 0xE000, len(POSITION)) + POSITION
EMPTY_FRAGMENT = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
UNDEFINED_ITEM = struct.pack("<HHIHHI", 0xFFFE, 0xE000, 0xFFFFFFFF, 0xFFFE, 0xE00D, 0)
BOMBS: dict[str, Callable[[], bytes]] = {
    "frames without end": lambda: meta() + image(2, 2, frames="1e300") + pixels(),
    "compressed frames that are not there": lambda: items(1, GROUPS, image(8, 8, frames="99999"), meta(RLE), sequence=0x9229,
        filling=encapsulated(rle(128))),
    "frames that are not there": lambda: items(
        1, GROUPS, image(8, 8, frames="99999"), sequence=0x9229, filling=pixels(bytes(64))
    ),
    "fragments that are not there": lambda: items(
        1, GROUPS, image(8, 8, frames="99999"), sequence=0x9229, filling=encapsulated(rle(128))
    ),
    "frames of one pixel with functional groups": lambda: items(1, GROUPS, image(1, 1, frames="99999"), sequence=0x9229,
        filling=pixels(bytes(100_000))),
    "frames of one pixel with groups of their own": lambda: items(
        20_000, GROUPS, image(1, 1, frames="20000"), filling=pixels(bytes(20_000)), sequence=0x9230
    ),
    "frames of one pixel with offsets": lambda: meta() + element(0x20, 0x32, b"DS", b"1\\2\\3")
    + element(0x20, 0x37, b"DS", b"1\\0\\0\\0\\1\\0") + image(1, 1, frames="32767")
    + element(0x3004, 0xC, b"DS", b"1\\" * 32_767) + pixels(bytes(32_768)),
    "frames of one pixel with slice numbers": lambda: meta() + element(0x18, 0x88, b"DS", b"1 ")
    + element(0x20, 0x32, b"DS", b"1\\2\\3") + element(0x20, 0x37, b"DS", b"1\\0\\0\\0\\1\\0") + image(1, 1, frames="99999")
    + element(0x54, 0x80, b"US", bytes(65_534)) + pixels(bytes(100_000)),
    "pixels without end": lambda: meta() + image(65535, 65535, 16, frames="999999999") + pixels(),
    "frames of one pixel": lambda: meta() + image(1, 1, frames=str(4 * MIB)) + pixels(bytes(4 * MIB)),
    "frames of one bit": lambda: meta() + image(1, 1, 1, frames=str(8 * MIB)) + pixels(bytes(MIB)),
    "deflated frames of one bit": lambda: deflated(
        image(1, 1, 1, frames=str(64 * MIB)) + pixels(b"", 8 * MIB), b"\0", 8 * MIB
    ),
    "deflated pixels": lambda: deflated(image(30000, 30000) + pixels(b"", 900_000_000), b"\0", 900_000_000),
    "deflated pixels to be rescaled": lambda: deflated(
        image(8000, 8000) + element(0x28, 0x1053, b"DS", b"0.5") + pixels(b"", 64_000_000), b"\0", 64_000_000
    ),
    "deflated elements without end": lambda: deflated(b"", b"\0", 512 * MIB),
    "a deflated element that is stepped over": lambda: deflated(
        element(9, 0x1000, b"OB", length=200 * MIB), b"\0", 200 * MIB, image(2, 2) + pixels()
    ),
    "a deflated list of numbers": lambda: deflated(element(0x28, 0x1050, b"UN", length=128 * MIB), b"1\\", 128 * MIB),
    "a list of numbers": lambda: meta() + element(0x28, 0x1050, b"UN", b"1\\" * 130_000) + image(2, 2) + pixels(),
    "empty fragments": lambda: meta(J2K) + image(8, 8) + element(0x7FE0, 0x10, b"OB", length=0xFFFFFFFF)
    + EMPTY_FRAGMENT * (2 * MIB),
    "deflated empty fragments": lambda: deflated(
        image(8, 8) + element(0x7FE0, 0x10, b"OB", length=0xFFFFFFFF), EMPTY_FRAGMENT, 256 * MIB
    ),
    "empty items": lambda: items(199_999, EMPTY_FRAGMENT),
    "empty items of undefined length": lambda: items(100_000, UNDEFINED_ITEM),
    "too many items": lambda: items(400_000, EMPTY_FRAGMENT),
    "nesting": lambda: nested(10_000),
    "a segment that is repeated": lambda: palette([0, 1, 0, 2, 60000, 14, 0, *[1, 65535, 65535] * 20000]),
    "segments": lambda: palette([0, 1, 0, *[1, 65535, 65535] * 20000]),
    "JPEG 2000 larger than its header": lambda: meta(J2K) + image(64, 64) + encapsulated(jpeg_2000(60000, 60000)),
    "JPEG 2000 as large as its header": lambda: meta(J2K) + image(32000, 32000) + encapsulated(jpeg_2000(32000, 32000)),
    "JPEG 2000 in two fragments": lambda: meta(J2K) + image(64, 64)
    + encapsulated(jpeg_2000(60000, 60000)[:4], jpeg_2000(60000, 60000)[4:]),
    "JPEG 2000 of many tiles": lambda: meta(J2K) + image(4000, 4000) + encapsulated(jpeg_2000(4000, 4000, tile=2)),
    "JPEG 2000 of many layers": lambda: meta(J2K) + image(2000, 2000) + encapsulated(jpeg_2000(2000, 2000, layers=65535)),
    "JPEG 2000 of many precincts": lambda: meta(J2K) + image(4000, 4000) + encapsulated(jpeg_2000(4000, 4000, precinct=1)),
    "JPEG 2000 of many decompositions": lambda: meta(J2K) + image(64, 64) + encapsulated(jpeg_2000(64, 64, levels=200)),
    "RLE": lambda: meta(RLE) + image(30000, 30000) + encapsulated(rle(900_000_000)),
    "RLE that goes on behind its end": lambda: meta(RLE) + image(64, 64) + encapsulated(rle(400_000_000)),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_little(
    name: str, tmp_path: Path, path: Callable[[str], Path], record_property: Callable[[str, object], None]
) -> None:
    file = tmp_path / "bomb.dcm"
    file.write_bytes(BOMBS[name]())
    said = costs.assert_cheap(record_property, "dicom", name, file, path("MR_small_jp2klossless.dcm"))
    said = said.removeprefix("ValueError: ")
    images = tuple(f"[<image {shape} " for shape in ("2x2", "64x64", "99999x1x1", "32767x1x1", "20000x1x1"))
    assert said.startswith(("too_large: bomb.dcm: ", "truncated: bomb.dcm: ", "corrupt: bomb.dcm: ", *images))
