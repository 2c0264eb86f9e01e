"""A part of a large TIFF, such as a whole-slide picture, without decoding the rest.

The tiles or strips that a region touches are put, as they are, into a small TIFF of their own in memory, which Pillow decodes.
A pyramid holds the picture again at lower resolutions, as further pages or as sub-directories of the first one.
"""

from __future__ import annotations

import io
import itertools
import math
import re
import struct
from collections.abc import Iterator, Sequence
from typing import IO, Any, Final, NamedTuple

from medvistagym_core.imaging._raster_decoding import as_numbers

_WIDTH, _LENGTH, _COMPRESSION, _PHOTOMETRIC, _DESCRIPTION = 256, 257, 259, 262, 270
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_COUNTS, _PLANAR = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_COUNTS = 322, 323, 324, 325
_SUB_DIRECTORIES, _JPEG_TABLES = 330, 347
# Tags that say how a tile is decoded: bits, fill order, predictor, palette, extra samples, sample format, subsampling.
_COPIED: Final = (258, _COMPRESSION, _PHOTOMETRIC, 266, _SAMPLES, 317, 320, 338, 339, 530)
_MAX_LEVELS: Final = 32
_MAX_TILES: Final = 2**16  # that a region touches
_SHORT, _LONG, _UNDEFINED = 3, 4, 7  # types of TIFF 6.0
# Microns a pixel, as slide scanners and OME-TIFF state them in the description.
_MICRONS: Final = (
    re.compile(r"\bMPP\s*=\s*([\d.]+)"),
    re.compile(r'PhysicalSizeX="([\d.]+)"(?! PhysicalSizeXUnit="(?!µm))'),
)

Region = tuple[int, int, int, int]


class TiffLevel(NamedTuple):
    """A page of a TIFF by its directory: a picture, or the same picture at a lower resolution."""

    directory: Any

    @property
    def width(self) -> int:
        return _number(self.directory, _WIDTH)

    @property
    def height(self) -> int:
        return _number(self.directory, _LENGTH)


def tiff_levels(picture: Any, file: IO[bytes]) -> list[TiffLevel]:
    """The current page of a TIFF, and those of its other resolutions that the file holds."""
    first = TiffLevel(_copy_directory(picture, picture.tag_v2.offset, file))
    others = [TiffLevel(one) for one in _others(picture, file)]
    ratio = first.width / first.height
    smaller = [one for one in others if one.width < first.width and abs(one.width / one.height / ratio - 1) < 0.02]
    return [first, *sorted(smaller, key=lambda one: -one.width)]


def _others(picture: Any, file: IO[bytes]) -> Iterator[Any]:
    offsets = as_numbers(picture.tag_v2.get(_SUB_DIRECTORIES))
    for offset in offsets[:_MAX_LEVELS]:
        yield _copy_directory(picture, offset, file)
    number = picture.tell()
    try:
        for other in range(number + 1, number + _MAX_LEVELS):
            picture.seek(other)
            yield _copy_directory(picture, picture.tag_v2.offset, file)
    except EOFError:
        return
    finally:
        picture.seek(number)


def _copy_directory(picture: Any, offset: int, file: IO[bytes]) -> Any:
    """The directory at an offset, apart from the picture, which goes on to others."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    file.seek(0)
    head = file.read(16)
    directory = ImageFileDirectory_v2(head if head[2:4] in (b"\x2b\0", b"\0\x2b") else head[:8])
    file.seek(offset)
    directory.load(file)
    return directory


def tiff_spacing(level: TiffLevel) -> float | None:
    """Distance of pixels in mm that the description of a slide states; None where it does not."""
    text = level.directory.get(_DESCRIPTION)
    for pattern in _MICRONS:
        match = pattern.search(text[:100_000]) if isinstance(text, str) else None
        if match is not None and 1e-3 < (microns := float(match[1])) < 1e3:
            return microns / 1000
    return None


def cut_tiff(level: TiffLevel, file: IO[bytes], region: Region) -> tuple[bytes, int, int]:
    """A TIFF of the tiles that a region touches, and where the region begins in it, in pixels.

    Args:
        level: The page.
        file: It is read from there.
        region: `(x0, y0, x1, y1)`, within the page.

    Raises:
        ValueError: The page is not laid out in tiles or strips of whole pixels, or is cut off.
    """
    x0, y0, x1, y1 = region
    tags = level.directory
    if _number(tags, _PLANAR, 1) != 1 and _number(tags, _SAMPLES, 1) != 1:
        raise ValueError(
            "its colours lie one after another, and of such a TIFF no region is read; save it with pixels together"
        )
    tiled = _TILE_WIDTH in tags
    offsets = as_numbers(tags.get(_TILE_OFFSETS if tiled else _STRIP_OFFSETS))
    counts = as_numbers(tags.get(_TILE_COUNTS if tiled else _STRIP_COUNTS))
    rows = _number(tags, _TILE_LENGTH) if tiled else min(_number(tags, _ROWS_PER_STRIP, level.height), level.height)
    columns = _number(tags, _TILE_WIDTH) if tiled else level.width
    across = math.ceil(level.width / columns)
    first, last = (x0 // columns, y0 // rows), ((x1 - 1) // columns, (y1 - 1) // rows)
    if (last[0] - first[0] + 1) * (last[1] - first[1] + 1) > _MAX_TILES:
        raise ValueError("the region takes more tiles than are read at once; open a smaller one")
    chosen = [y * across + x for y in range(first[1], last[1] + 1) for x in range(first[0], last[0] + 1)]
    if len(offsets) <= chosen[-1] or len(counts) <= chosen[-1]:
        raise ValueError("its list of tiles is cut off")
    if sum(counts[k] for k in chosen) > file.seek(0, io.SEEK_END):
        raise ValueError("its list of tiles claims more than the file holds")
    tiles = []
    for k in chosen:
        file.seek(offsets[k])
        tiles.append(file.read(counts[k]))
        if len(tiles[-1]) < counts[k] or not counts[k]:
            raise ValueError("a tile of this region is missing or cut off")
    height = (last[1] - first[1] + 1) * rows
    if not tiled:
        height = min(height, level.height - first[1] * rows)
    layout = {_WIDTH: (last[0] - first[0] + 1) * columns, _LENGTH: height, _PLANAR: 1}
    layout |= {_TILE_WIDTH: columns, _TILE_LENGTH: rows} if tiled else {_ROWS_PER_STRIP: rows}
    places = (_TILE_OFFSETS, _TILE_COUNTS) if tiled else (_STRIP_OFFSETS, _STRIP_COUNTS)
    return _pack(tags, layout, places, tiles), x0 - first[0] * columns, y0 - first[1] * rows


def _pack(tags: Any, layout: dict[int, int], places: tuple[int, int], tiles: Sequence[bytes]) -> bytes:
    """A TIFF of one page, in the byte order of the tags."""
    order = ">" if tags.prefix == b"MM" else "<"
    fields: dict[int, tuple[int, int, bytes]] = {}
    for tag in _COPIED:
        if numbers := as_numbers(tags.get(tag)):
            fields[tag] = (_SHORT, len(numbers), struct.pack(f"{order}{len(numbers)}H", *numbers))
    if isinstance(tables := tags.get(_JPEG_TABLES), bytes):
        fields[_JPEG_TABLES] = (_UNDEFINED, len(tables), tables)
    for tag, number in layout.items():
        fields[tag] = (_LONG, 1, struct.pack(f"{order}L", number))
    for tag in places:
        fields[tag] = (_LONG, len(tiles), bytes(4 * len(tiles)))
    at = 8 + 2 + 12 * len(fields) + 4
    starts = {}
    for tag, (_, _, content) in sorted(fields.items()):
        starts[tag] = at
        at += len(content) + len(content) % 2
    sizes = [len(tile) for tile in tiles]
    offsets = [at, *(at + end for end in itertools.accumulate(sizes))][:-1]
    for tag, values in zip(places, (offsets, sizes), strict=True):
        fields[tag] = (_LONG, len(tiles), struct.pack(f"{order}{len(tiles)}L", *values))
    out = io.BytesIO()
    out.write(tags.prefix + struct.pack(f"{order}HLH", 42, 8, len(fields)))
    for tag, (kind, count, content) in sorted(fields.items()):
        inline = content.ljust(4, b"\0") if len(content) <= 4 else struct.pack(f"{order}L", starts[tag])
        out.write(struct.pack(f"{order}HHL", tag, kind, count) + inline)
    out.write(bytes(4))
    for _tag, (_, _, content) in sorted(fields.items()):
        out.write(content + bytes(len(content) % 2))
    for tile in tiles:
        out.write(tile)
    return out.getvalue()


def _number(tags: Any, tag: int, default: int = 0) -> int:
    number = (as_numbers(tags.get(tag)) or (default,))[0]
    if number <= 0:
        raise ValueError(f"its tag {tag} is {number}")
    return number
