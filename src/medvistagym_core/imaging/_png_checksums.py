"""The checksums of a PNG: Pillow does not look at those of the pixels, and shows whatever changed bytes inflate to."""

from __future__ import annotations

import zlib
from typing import IO, Final

from medvistagym_core.imaging._picture_files import PNG_SIGNATURE

_PIECE_BYTES: Final = 2**20


def check_png_checksums(file: IO[bytes]) -> None:
    """Refuse a PNG of which a chunk is cut off or changed, up to its end chunk; what lies behind that is no part of it.

    Source: PNG specification (third edition), sections 5.3 to 5.5.

    Args:
        file: At its beginning.

    Raises:
        ValueError: A chunk is cut off, or has another checksum than is stored behind it.
    """
    file.seek(len(PNG_SIGNATURE))
    kind = b""
    while kind != b"IEND":
        length, kind = file.read(4), file.read(4)
        left, checksum = int.from_bytes(length, "big"), zlib.crc32(kind)
        while left and (piece := file.read(min(left, _PIECE_BYTES))):
            checksum = zlib.crc32(piece, checksum)
            left -= len(piece)
        stored = file.read(4)
        if len(stored) < 4:
            raise ValueError("it is damaged (it is cut off)")
        if checksum != int.from_bytes(stored, "big"):
            raise ValueError(f"it is damaged (the checksum of its chunk {kind.decode('ascii', 'replace')!r} is wrong)")
