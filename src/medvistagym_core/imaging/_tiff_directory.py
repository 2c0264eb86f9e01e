"""The directories of a TIFF, walked before Pillow sees them: how many pages, and how many tiles a page, the file claims.

A list of tiles becomes Python objects a hundred times its size, so that a short file could fill the memory by its header alone.
"""

from __future__ import annotations

import struct
from typing import IO, Final

from medvistagym_core.imaging._limits import MAX_FRAMES

MAX_TILES: Final = 2**20
"""Most tiles or strips of a page."""
_MAX_UNCOMPRESSED_TILES: Final = 2**18  # Pillow holds each by itself
_MAX_ENTRIES: Final = 4096
_COMPRESSION, _STRIP_OFFSETS, _TILE_OFFSETS = 259, 273, 324  # tags of TIFF 6.0


def check_tiff_directories(file: IO[bytes]) -> None:
    """Refuse a TIFF or BigTIFF whose directories claim too much.

    Raises:
        ValueError: It has too many pages, or a page has too many tiles.
    """
    head = file.read(16)
    order = ">" if head[:2] == b"MM" else "<"
    big = struct.unpack(f"{order}H", head[2:4])[0] == 43
    (offset,) = struct.unpack(f"{order}Q", head[8:16]) if big else struct.unpack(f"{order}L", head[4:8])
    seen: set[int] = set()
    while offset and offset not in seen:
        seen.add(offset)
        if len(seen) > MAX_FRAMES:
            raise ValueError(f"it has more than {MAX_FRAMES:,} pages, and that is the most that is read")
        offset = _check_directory(file, offset, order, big=big)


def _check_directory(file: IO[bytes], offset: int, order: str, *, big: bool) -> int:
    """Check a directory; the offset of the next one, or 0."""
    file.seek(offset)
    count_size, entry, next_ = (8, "HHQQ", "Q") if big else (2, "HHLL", "L")
    try:
        (entries,) = struct.unpack(f"{order}{'Q' if big else 'H'}", file.read(count_size))
        if entries > _MAX_ENTRIES:
            raise ValueError(f"a page has {entries:,} tags, and {_MAX_ENTRIES:,} is the most that is read")
        size = struct.calcsize(f"{order}{entry}")
        content = file.read(entries * size)
        (following,) = struct.unpack(f"{order}{next_}", file.read(struct.calcsize(f"{order}{next_}")))
        fields = list(struct.iter_unpack(f"{order}{entry}", content))
    except struct.error:
        return 0  # cut off: Pillow says so of the page that needs it
    # A short value stands in the upper half of its field where the byte order is big-endian.
    compressions = [
        value >> (8 * (6 if big else 2)) if order == ">" else value
        for tag, _, _, value in fields
        if tag == _COMPRESSION
    ]
    most = _MAX_UNCOMPRESSED_TILES if compressions in ([], [1]) else MAX_TILES
    tiles = max((count for tag, _, count, _ in fields if tag in (_STRIP_OFFSETS, _TILE_OFFSETS)), default=0)
    if tiles > most:
        raise ValueError(f"a page has {tiles:,} tiles, and {most:,} is the most that is read")
    return int(following)
