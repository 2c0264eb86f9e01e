"""Picture and text files that are small and ask for much, or are broken: an image or one sentence, at little cost."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import costs
import numpy as np
import PIL.Image
import pytest

from medvistagym_core.imaging import Image

MIB = 1 << 20


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *, depth: int = 8, colour: int = 0, rows: bytes = b"", before: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + before
        + chunk(b"IDAT", rows or zlib.compress(bytes(64)))
        + chunk(b"IEND", b"")
    )


def zeros(count: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join([*(packer.compress(bytes(MIB)) for _ in range(count // MIB)), packer.flush()])


def tiff(
    width: int, height: int, *, compression: int = 1, count: int = 1, tag: tuple[int, int, int, int] | None = None
) -> bytes:
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, compression),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, count),
        (278, 4, 1, height),
        (279, 4, 1, width),
    ]
    entries += [tag] if tag else []
    body = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + body + struct.pack("<I", 0) + bytes(64)


def gif(width: int, height: int) -> bytes:
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0x80, 0, 0)
        + bytes(6)
        + b","
        + struct.pack("<HHHHB", 0, 0, width, height, 0)
        + b"\x02\x02L\x01\0;"
    )


def jpeg(width: int, height: int, *, progressive: bool = False) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (16, 16)).save(file, "jpeg", progressive=progressive)
    data = bytearray(file.getvalue())
    at = data.find(b"\xff\xc2" if progressive else b"\xff\xc0")
    struct.pack_into(">HH", data, at + 5, height, width)
    return bytes(data)


def bmp(width: int, height: int, bits: int = 24, compression: int = 0) -> bytes:
    return (
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, 0, 0)
        + bytes(64)
    )


def webp(width: int, height: int) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (16, 16)).save(file, "webp", lossless=True)
    data = bytearray(file.getvalue())
    at = data.find(b"VP8L") + 9
    struct.pack_into("<I", data, at, (width - 1) | (height - 1) << 14)
    return bytes(data)


BOMBS: dict[str, Callable[[], bytes]] = {
    "grey.png": lambda: png(30_000, 30_000, rows=zeros(64 * MIB)),
    "wide.png": lambda: png(2**31 - 1, 1),
    "high.png": lambda: png(1, 2**31 - 1),
    "square.png": lambda: png(2**31 - 1, 2**31 - 1),
    "deep.png": lambda: png(20_000, 20_000, depth=16, colour=6),
    "bits.png": lambda: png(60_000, 60_000, depth=1),
    "palette.png": lambda: png(20_000, 20_000, colour=3),
    "rows.png": lambda: png(4, 4, rows=zeros(512 * MIB)),
    "text.png": lambda: png(4, 4, before=chunk(b"zTXt", b"a\0\0" + zeros(256 * MIB))),
    "texts.png": lambda: png(4, 4, before=chunk(b"tEXt", b"a\0b") * 200_000),
    "profile.png": lambda: png(4, 4, before=chunk(b"iCCP", b"a\0\0" + zeros(256 * MIB))),
    "international.png": lambda: png(4, 4, before=chunk(b"iTXt", b"a\0\1\0\0\0" + zeros(256 * MIB))),
    "long.png": lambda: b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 2**31 - 1) + b"IHDR" + bytes(64),
    "large.tiff": lambda: tiff(40_000, 40_000),
    "wide.tiff": lambda: tiff(2**32 - 1, 1),
    "deflated.tiff": lambda: tiff(40_000, 40_000, compression=8),
    "lzw.tiff": lambda: tiff(40_000, 40_000, compression=5),
    "fax.tiff": lambda: tiff(40_000, 40_000, compression=4),
    "packed.tiff": lambda: tiff(40_000, 40_000, compression=32773),
    "samples.tiff": lambda: tiff(4, 4, count=65535),
    "values.tiff": lambda: tiff(4, 4, tag=(270, 2, 2**32 - 1, 8)),
    "offsets.tiff": lambda: tiff(4, 4, tag=(324, 4, 2**30, 8)),
    "itself.tiff": lambda: b"II*\0" + struct.pack("<I", 8) + struct.pack("<HI", 0, 8),
    "large.gif": lambda: gif(65535, 65535),
    "frames.gif": lambda: gif(4, 4)[:-1] + (b",\0\0\0\0\4\0\4\0\0\2\2L\1\0" * 100_000) + b";",
    "large.jpeg": lambda: jpeg(65500, 65500),
    "progressive.jpeg": lambda: jpeg(65500, 65500, progressive=True),
    "markers.jpeg": lambda: jpeg(16, 16)[:2] + (b"\xff\xe1\0\x0aExif\0\0II" * 80_000) + jpeg(16, 16)[2:],
    "large.bmp": lambda: bmp(60_000, 60_000),
    "negative.bmp": lambda: bmp(60_000, -60_000),
    "run.bmp": lambda: bmp(60_000, 60_000, 8, 1),
    "large.webp": lambda: webp(16_000, 16_000),
    "large.ppm": lambda: b"P5 60000 60000 255\n" + bytes(64),
    "plain.ppm": lambda: b"P2 40000 40000 255\n" + b"1 " * MIB,
    "digits.ppm": lambda: b"P5 " + b"9" * 4 * MIB,
    "large.tga": lambda: struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 65535, 65535, 24, 0) + bytes(64),
    "large.pcx": lambda: b"\x0a\x05\x01\x08" + struct.pack("<HHHH", 0, 0, 65534, 65534) + bytes(116),
    "line.jsonl": lambda: b'{"id": "' + b"a" * 64 * MIB + b'"}\n',
    "nested.jsonl": lambda: b"[" * 8 * MIB + b"\n",
    "objects.jsonl": lambda: b'{"a":' * 2 * MIB + b"\n",
    "digits.jsonl": lambda: b'{"schema_version": ' + b"9" * 8 * MIB + b"}\n",
    "lines.jsonl": lambda: b"{}\n" * 20_000,
    "unfinished.jsonl": lambda: b"a" * 64 * MIB,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_little(name: str, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    file, warm = tmp_path / name, tmp_path / "warm.png"
    file.write_bytes(BOMBS[name]())
    PIL.Image.new("L", (8, 8)).save(warm)
    costs.assert_cheap(record_property, "trajectories" if name.endswith(".jsonl") else "picture", name, file, warm)


def pictures() -> list[tuple[str, bytes]]:
    rng = np.random.default_rng(0)
    found = []
    for mode, kinds in {
        "L": ("png", "tiff", "jpeg", "gif", "bmp", "ppm"),
        "RGB": ("png", "webp", "jpeg"),
        "I;16": ("png", "tiff"),
    }.items():
        shape = (24, 20, 3) if mode == "RGB" else (24, 20)
        values = rng.integers(0, 255, shape).astype(np.uint16 if mode == "I;16" else np.uint8)
        for kind in kinds:
            file = io.BytesIO()
            PIL.Image.fromarray(values).save(file, kind)
            found.append((kind, file.getvalue()))
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        file = io.BytesIO()
        PIL.Image.fromarray(rng.integers(0, 255, (24, 20)).astype(np.uint8)).save(file, "tiff", compression=compression)
        found.append(("tiff", file.getvalue()))
    return found


def change(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(data))
        match rng.randrange(4):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + 4] = rng.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\0\0\1\0"))
            case 2:
                del data[at : at + rng.choice((1, 4, 100))]
            case _:
                data[at:at] = data[at : at + rng.choice((1, 8, 64))]
        if len(data) < 8:
            return


def read_changed(count: int, file: Path) -> int:
    """How many of so many changed pictures are still images."""
    seeds, images, sentences = pictures(), 0, set[str]()
    for k in range(count):
        rng = random.Random(k)
        data = bytearray(seeds[k % len(seeds)][1])
        change(data, rng)
        file.write_bytes(data)
        try:
            Image.open(file)
            images += 1
        except ValueError as error:
            sentences.add(str(error))
    assert [said for said in sentences if "\n" in said or len(said) > 300] == []
    return images


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it repairs
def test_broken_pictures_are_an_image_or_a_sentence(tmp_path: Path) -> None:
    assert 100 < read_changed(2_000, tmp_path / "picture") < 2_000


@pytest.mark.attack
@pytest.mark.filterwarnings("ignore")
def test_many_broken_pictures_are_an_image_or_a_sentence(tmp_path: Path) -> None:
    assert 2_500 < read_changed(50_000, tmp_path / "picture") < 50_000
