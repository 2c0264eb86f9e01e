"""Recognising pictures that this process can decode safely, from their first bytes, without decoding anything.

A PNG of one picture, or a baseline JPEG, of at most `MAX_PIXELS`. What these two decoders take and give is bounded by the size
that stands in the header, and no part of the file can have them go over the same pixels again and again, as the scans of a
progressive JPEG and the frames of an animation do.
"""

from __future__ import annotations

import struct
from pathlib import PurePosixPath
from typing import Final

MAX_PIXELS: Final = 2048 * 2048
HEAD_BYTES: Final = 2**17
"""How much of a file is looked at; the size of a JPEG stands behind its EXIF data, of at most half of it."""
_SUFFIXES: Final = ("", ".png", ".jpg", ".jpeg")
_DICOM: Final = (128, b"DICM")
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_CHUNK: Final = struct.Struct(">I4s")
_JPEG: Final = b"\xff\xd8\xff"
_BASELINE: Final = (0xC0, 0xC1)
_APP0, _APP15, _APP2, _COMMENT = 0xE0, 0xEF, 0xE2, 0xFE
_TABLES: Final = (0xC4, 0xDB, 0xDD)


def is_plain_picture(head: bytes, name: str) -> bool:
    """Whether a file is a small PNG or baseline JPEG and nothing else.

    Args:
        head: Its first bytes, up to `HEAD_BYTES` of them.
        name: Its name, whose ending some readers go by.
    """
    if PurePosixPath(name).suffix.lower() not in _SUFFIXES or head.startswith(_DICOM[1], _DICOM[0]):
        return False
    if head.startswith(_PNG):
        return _is_plain_png(head)
    return head.startswith(_JPEG) and _is_plain_jpeg(head)


def _is_plain_png(head: bytes) -> bool:
    """Source: PNG specification (third edition), 5.3, 11.2.1 and 11.3.6.1 (`acTL`, which begins an animation)."""
    if head[12:16] != b"IHDR" or len(head) < 33:
        return False
    width, height = struct.unpack_from(">II", head, 16)
    at = len(_PNG)
    while at + _CHUNK.size <= len(head):
        length, kind = _CHUNK.unpack_from(head, at)
        if kind == b"IDAT":
            return bool(0 < width * height <= MAX_PIXELS)
        if kind == b"acTL":
            return False
        at += length + 12
    return False


def _is_plain_jpeg(head: bytes) -> bool:
    """Source: ITU-T T.81, annex B; CIPA DC-007 for the index of several pictures ("MPF")."""
    at = 2
    while at + 10 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        length = int.from_bytes(head[at + 2 : at + 4], "big")
        if marker in _BASELINE:
            depth, height, width, components = struct.unpack_from(">BHHB", head, at + 4)
            return bool(depth == 8 and 0 < width * height <= MAX_PIXELS and components in (1, 3))
        if marker not in _TABLES and marker != _COMMENT and not _APP0 <= marker <= _APP15:
            return False
        if marker == _APP2 and head.startswith(b"MPF\0", at + 4):
            return False
        at += 2 + length
    return False
