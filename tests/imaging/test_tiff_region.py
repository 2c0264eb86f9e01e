"""Whole-slide pictures: a region at full resolution, the whole at a lower one, and the size where neither goes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medvistagym_core.imaging import Box, Image

TILE = 128
WIDE, HIGH = 100_000, 60_000
DESCRIPTION = b"Aperio |AppMag = 40|MPP = 0.2520|\0"


def tile_pixels(x: int, y: int, scale: int) -> np.ndarray:
    """What the tile in column x and row y shows: its place in red and green, its level in blue, a white corner."""
    pixels = np.zeros((TILE, TILE, 3), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = x * 15, y * 15, scale * 3
    pixels[:16, :16] = 255
    return pixels


def encode(pixels: np.ndarray, compression: int) -> bytes:
    if compression == 8:
        return zlib.compress(pixels.tobytes())
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling=2)
    return file.getvalue()


def write_short_png(path: Path, width: int, height: int) -> None:
    """A black and white PNG of any size, of whose pixels only the first row is there."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1 + width // 8))), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def write_slide(
    path: Path, compression: int, *, big: bool = False, order: str = "<", levels: Sequence[int] = ()
) -> None:
    """A tiled TIFF or BigTIFF of 16 x 16 kinds of tiles, which its list repeats, with smaller pages."""
    number, field = ("Q", 8) if big else ("L", 4)
    head = struct.pack(f"{order}HHHQ", 43, 8, 0, 0) if big else struct.pack(f"{order}HL", 42, 0)
    out = bytearray((b"II" if order == "<" else b"MM") + head)
    link = len(out) - field

    def put(content: bytes) -> int:
        out.extend(content)
        return len(out) - len(content)

    def short(*values: int) -> bytes:
        return struct.pack(f"{order}{len(values)}H", *values)

    def long(*values: int) -> bytes:
        return struct.pack(f"{order}{len(values)}L", *values)

    for page, scale in enumerate((1, *levels)):
        width, height = -(-WIDE // scale), -(-HIGH // scale)
        across, down = -(-width // TILE), -(-height // TILE)
        kinds = {}
        for y in range(min(16, down)):
            for x in range(min(16, across)):
                content = encode(tile_pixels(x, y, scale), compression)
                kinds[x, y] = (put(content), len(content))
        tiles = [kinds[x % 16, y % 16] for y in range(down) for x in range(across)]
        tags = {
            254: (4, long(int(page > 0))), 256: (4, long(width)), 257: (4, long(height)), 258: (3, short(8, 8, 8)),
            259: (3, short(compression)), 262: (3, short(6 if compression == 7 else 2)), 270: (2, DESCRIPTION),
            277: (3, short(3)), 284: (3, short(1)), 322: (4, long(TILE)), 323: (4, long(TILE)),
            324: (4, long(*(at for at, _ in tiles))), 325: (4, long(*(size for _, size in tiles))),
            **({530: (3, short(2, 2))} if compression == 7 else {}),
        }  # fmt: skip
        entries = b""
        for tag, (kind, content) in tags.items():
            count = len(content) // {2: 1, 3: 2, 4: 4}[kind]
            inline = (
                content.ljust(field, b"\0") if len(content) <= field else struct.pack(f"{order}{number}", put(content))
            )
            entries += struct.pack(f"{order}HH{number}", tag, kind, count) + inline
        start = put(struct.pack(f"{order}{'Q' if big else 'H'}", len(tags)) + entries)
        out[link : link + field] = struct.pack(f"{order}{number}", start)
        link = put(bytes(field))
    path.write_bytes(out)


@pytest.mark.parametrize(
    ("compression", "big", "order"), [(8, False, "<"), (8, True, "<"), (7, False, ">"), (7, True, "<")]
)
def test_a_region_of_a_whole_slide_is_opened_at_full_resolution(
    tmp_path: Path, compression: int, big: bool, order: str
) -> None:
    write_slide(tmp_path / "slide.tif", compression, big=big, order=order)
    x0, y0 = 16 * TILE * 40 + TILE + 100, 16 * TILE * 20 + 2 * TILE + 100  # within tile 1, 2
    image = Image.open(tmp_path / "slide.tif", region=(x0, y0, x0 + 200, y0 + 60))
    assert (image.shape, image.source_shape, image.photometric) == ((60, 200), (HIGH, WIDE), "RGB")
    near = 8 if compression == 7 else 0
    assert np.abs(image.pixels[10, 5].astype(int) - (15, 30, 3)).max() <= near
    assert np.abs(image.pixels[10, 190].astype(int) - (45, 30, 3)).max() <= near  # two tiles on
    assert np.abs(image.pixels[35, 35].astype(int) - 255).max() <= 4 * near  # the corner of the next tile
    assert image.box_to_source(Box(0, 0, 1000, 1000)) == (x0, y0, x0 + 200, y0 + 60)
    assert image.spacing == pytest.approx((0.252e-3, 0.252e-3))


def test_a_whole_slide_is_opened_at_the_finest_resolution_that_fits(tmp_path: Path) -> None:
    write_slide(tmp_path / "slide.tif", 8, levels=(4, 32, 64))
    image = Image.open(tmp_path / "slide.tif")
    assert image.shape == (1875, 3125)
    assert image.attributes["reduced"] == "1/32 of 100000 x 60000"
    assert image.pixels[64, 64].tolist() == [0, 0, 96]
    assert image.box_to_source(Box(0, 0, 1000, 1000)) == (0, 0, WIDE, HIGH)
    assert image.spacing == pytest.approx((32 * 0.252e-3, 32 * 0.252e-3))
    page = Image.open(tmp_path / "slide.tif", page=3)
    assert (page.shape, page.pixels[64, 64].tolist()) == ((938, 1563), [0, 0, 192])


def test_what_cannot_be_opened_is_refused_with_its_size_and_what_to_do(tmp_path: Path) -> None:
    write_slide(tmp_path / "slide.tif", 7)
    with pytest.raises(
        ValueError, match=r"slide.tif: it has 100,000 x 60,000 pixels.* open a region=\(x0, y0, x1, y1\)"
    ):
        Image.open(tmp_path / "slide.tif")
    with pytest.raises(ValueError, match=r"the region has 50,000 x 50,000 pixels, .* open a smaller one"):
        Image.open(tmp_path / "slide.tif", region=(0, 0, 50_000, 50_000))
    with pytest.raises(ValueError, match="the region 0, 0, 9, 60001 does not lie within its 100,000 x 60,000 pixels"):
        Image.open(tmp_path / "slide.tif", region=(0, 0, 9, 60_001))
    write_short_png(tmp_path / "large.png", 60_000, 30_000)
    with pytest.raises(
        ValueError, match=r"large.png: it has 60,000 x 30,000 pixels.* save it smaller, or as a tiled TIFF"
    ):
        Image.open(tmp_path / "large.png")


def test_strips_are_cut_too(tmp_path: Path) -> None:
    values = (np.arange(9000)[:, None] * 7 + np.arange(9000)).astype(np.uint16)
    PIL.Image.fromarray(values).save(tmp_path / "strips.tif", compression="tiff_lzw")
    picture = PIL.Image.fromarray(np.zeros((1, 1), np.uint8))
    assert picture.size == (1, 1)
    image = Image.open(tmp_path / "strips.tif", region=(4000, 8500, 4100, 9000))
    assert np.array_equal(image.pixels, values[8500:, 4000:4100])
    assert image.box_to_source(Box(0, 0, 1000, 1000)) == (4000, 8500, 4100, 9000)


def test_a_list_of_tiles_that_lies_is_refused(tmp_path: Path) -> None:
    write_slide(tmp_path / "slide.tif", 8)
    content = (tmp_path / "slide.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(content[: 8 + 2000] + bytes(len(content) - 2008))
    for region in (None, (0, 0, 2000, 2000)):
        with pytest.raises(ValueError, match=r"cut\.tif: "):
            Image.open(tmp_path / "cut.tif", region=region)
