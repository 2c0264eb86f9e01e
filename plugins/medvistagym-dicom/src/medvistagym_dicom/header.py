"""A DICOM header, read element by element, that keeps only the elements named in `elements`.

Everything else in a file (names, dates, identifiers, descriptions, private data) is stepped over without being decoded, so
it cannot leave the reader. The walk is bounded: lengths are checked against the file, nesting and item counts are limited,
and pixel data are located, not copied. Structures follow DICOM PS3.5 sections 7 (data sets), A.4 (encapsulated pixel data)
and PS3.10 section 7 (file meta information).
"""

from __future__ import annotations

import dataclasses
import math
import struct
import zlib
from collections.abc import Iterator
from typing import Final

from medvistagym_dicom.elements import FORMAT, LONG, OVERLAY, PIXELS, READ, TEXT
from medvistagym_dicom.errors import DicomError

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"
DICOMDIR_CLASS: Final = "1.2.840.10008.1.3.10"

DEPTH: Final = 24
ITEMS: Final = 200_000
UNDEFINED: Final = 0xFFFFFFFF

Value = tuple[float, ...] | tuple[str, ...] | bytes | list["Header"]


@dataclasses.dataclass
class Header:
    """The elements of one data set or sequence item that this plugin reads, by DICOM keyword.

    Attributes:
        values: Keyword to value: numbers, words, raw bytes (lookup tables, overlay planes) or items.
        transfer_syntax: UID of the transfer syntax; only set on the outermost data set.
        directory: Whether the object is a DICOMDIR, an index of files.
        little: Whether binary values are little-endian.
        pixels: Where the pixel data lie in `data`: keyword and fragments of (offset, length), the offset table first where they
            are encapsulated. None when the file has no pixel data.
        encapsulated: Whether the pixel data are compressed.
        words_swapped: Whether bytes lie in big-endian 16-bit words (OW), which matters to 8-bit samples (PS3.5 7.3).
        data: The bytes that `pixels` points into (inflated where the file was deflated).
    """

    values: dict[str, Value] = dataclasses.field(default_factory=dict, repr=False)
    transfer_syntax: str = ""
    directory: bool = False
    little: bool = True
    pixels: tuple[str, list[tuple[int, int]]] | None = dataclasses.field(default=None, repr=False)
    encapsulated: bool = False
    words_swapped: bool = False
    data: bytes = dataclasses.field(default=b"", repr=False)

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """Finite numbers of an element; empty when it is absent, empty or not numeric."""
        value = self.values.get(keyword, ())
        if isinstance(value, tuple):
            return tuple(v for v in value if isinstance(v, int | float))
        return ()

    def number(self, keyword: str) -> float | None:
        """First number of an element, or None."""
        return next(iter(self.numbers(keyword)), None)

    def integer(self, keyword: str, default: int) -> int:
        """First number of an element as an integer, or the default."""
        value = self.number(keyword)
        return default if value is None else int(value)

    def words(self, keyword: str) -> tuple[str, ...]:
        """Values of a text element without blanks; empty when it is absent. Not safe to show before it is checked."""
        value = self.values.get(keyword, ())
        return tuple(v for v in value if isinstance(v, str)) if isinstance(value, tuple) else ()

    def word(self, keyword: str) -> str:
        """First value of a text element, or an empty string."""
        return next(iter(self.words(keyword)), "")

    def raw(self, keyword: str) -> bytes:
        """Bytes of a binary element, or none."""
        value = self.values.get(keyword, b"")
        return value if isinstance(value, bytes) else b""

    def items(self, keyword: str) -> list[Header]:
        """Items of a sequence, or none."""
        value = self.values.get(keyword, [])
        return value if isinstance(value, list) else []


def read_header(data: bytes, name: str, *, limit: int) -> Header:
    """Header of a DICOM file given as bytes, with or without the preamble of PS3.10.

    Args:
        data: The whole file.
        name: The file's name, for errors.
        limit: Most bytes that a deflated data set may inflate to.

    Raises:
        DicomError: The bytes are not DICOM, are cut off within the header, or contradict themselves.
    """
    start, syntax, kind = _meta(data, name)
    if syntax == DEFLATED:
        data, start = _inflate(data[start:], name, limit), 0
    if syntax:
        vr = data[start + 4 : start + 6].decode("ascii", "ignore")  # some writers name the wrong one of these two
        little, explicit = syntax != EXPLICIT_BIG, syntax != IMPLICIT_LITTLE or vr in ("UL", "UI", "CS", "DA")
    else:
        little, explicit = _guess(data, start, name)
        syntax = (EXPLICIT_LITTLE if little else EXPLICIT_BIG) if explicit else IMPLICIT_LITTLE
    walk = _Walk(data, name, little)
    header = walk.dataset(start, len(data), explicit, 0)[0]
    if not header.values and header.pixels is None and not walk.elements:
        raise DicomError("not_an_image", f"{name}: it is not a DICOM file, or holds nothing")
    return dataclasses.replace(
        header, transfer_syntax=syntax, directory=kind == DICOMDIR_CLASS, little=little, data=data
    )


def _meta(data: bytes, name: str) -> tuple[int, str, str]:
    """Where the data set starts, its transfer syntax and its kind of object ("" when the file does not say)."""
    if data[128:132] == b"DICM":
        start = 132
    elif data[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08") and len(data) >= 8:
        start = 0
    else:
        raise DicomError("not_an_image", f"{name}: it is not a DICOM file")
    uids = {b"\x02\x00": "", b"\x10\x00": ""}  # media storage SOP class, transfer syntax
    while data[start : start + 2] == b"\x02\x00":
        if start + 8 > len(data):
            raise DicomError("truncated", f"{name}: the file ends within its DICOM header")
        element, vr = data[start + 2 : start + 4], data[start + 4 : start + 6]
        if not (vr.isalpha() and vr.isupper()):  # an implicit group 2, against PS3.10, is seen in the wild
            (length,), body = struct.unpack_from("<I", data, start + 4), start + 8
        elif vr in LONG:
            if start + 12 > len(data):
                raise DicomError("truncated", f"{name}: the file ends within its DICOM header")
            (length,), body = struct.unpack_from("<I", data, start + 8), start + 12
        else:
            (length,), body = struct.unpack_from("<H", data, start + 6), start + 8
        if body + length > len(data):
            raise DicomError("truncated", f"{name}: the file ends within its DICOM header")
        if element in uids:
            uids[element] = data[body : body + length].decode("ascii", "ignore").strip(" \0")
        start = body + length
    return start, uids[b"\x10\x00"], uids[b"\x02\x00"]


def _guess(data: bytes, start: int, name: str) -> tuple[bool, bool]:
    """(little-endian, explicit) of a data set whose file does not state its transfer syntax."""
    head = data[start : start + 8]
    if len(head) < 8:
        raise DicomError("truncated", f"{name}: the file ends within its DICOM header")
    group = head[:2]
    little = struct.unpack("<H", group)[0] <= struct.unpack(">H", group)[0]
    little = True if group in (b"\x08\x00", b"\x02\x00") else False if group == b"\x00\x08" else little
    return little, head[4:6].isalpha() and head[4:6].isupper()


def _inflate(data: bytes, name: str, limit: int) -> bytes:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = stream.decompress(data, limit)
    except zlib.error:
        raise DicomError("corrupt", f"{name}: its deflated data set is damaged") from None
    if stream.unconsumed_tail:
        raise DicomError(
            "too_large", f"{name}: its deflated data set is larger than the limit of {limit / 2**20:.0f} MiB"
        )
    if not stream.eof:
        raise DicomError("truncated", f"{name}: its deflated data set is cut off")
    return inflated


class _Walk:
    """One pass over the elements of a file."""

    def __init__(self, data: bytes, name: str, little: bool) -> None:
        self.data, self.name, self.order = data, name, "<" if little else ">"
        self.elements = 0
        self.items = 0

    def dataset(self, at: int, end: int, explicit: bool, depth: int) -> tuple[Header, int]:
        """Elements from `at` up to `end` or an item delimiter, and where they end."""
        if depth > DEPTH:
            raise DicomError("corrupt", f"{self.name}: its sequences are nested more than {DEPTH} deep")
        header = Header(little=self.order == "<")
        while at + 8 <= end:
            tag, vr, length, at = self.element(at, end, explicit)
            if tag == 0xFFFEE00D:  # item delimiter
                return header, at
            self.elements += 1
            if tag in PIXELS and depth == 0:
                header.encapsulated = length == UNDEFINED
                spans = list(self.fragments(at, end)) if header.encapsulated else [(at, min(length, end - at))]
                header.pixels = (PIXELS[tag], spans)
                header.words_swapped = self.order == ">" and vr == "OW"
                if header.encapsulated or at + length >= end:
                    return header, end
                at += length
                continue
            keyword, table_vr = self.wanted(tag)
            if length == UNDEFINED or vr == "SQ" or (keyword and table_vr == "SQ"):
                stop = end if length == UNDEFINED else at + length
                if stop > end:
                    self.cut(depth)
                    stop = end
                if keyword or length == UNDEFINED:
                    # UN of undefined length holds implicit VR little-endian items (PS3.5 6.2.2)
                    items, at = self.sequence(at, stop, explicit and vr != "UN", depth, length == UNDEFINED)
                    if keyword:
                        header.values[keyword] = items
                else:
                    at = stop
                continue
            if at + length > end:
                self.cut(depth)
                at = end
                continue
            if keyword:
                header.values[keyword] = self.value(
                    at, length, table_vr if vr in ("UN", "") or table_vr == "OW" else vr
                )
            at += length
        if at < end and header.pixels is None:  # a few bytes behind the pixels are padding
            self.cut(depth)
        return header, at

    def cut(self, depth: int) -> None:
        """An element reaches past its data set: fatal at the top, tolerated in an item (writers get nested lengths wrong)."""
        if depth == 0:
            raise DicomError("truncated", f"{self.name}: the file ends within its DICOM header")

    def wanted(self, tag: int) -> tuple[str, str]:
        if 0x6000 <= tag >> 16 <= 0x601E:
            keyword, vr = OVERLAY.get(tag & 0xFFFF, ("", ""))
            return (f"{keyword}{tag >> 16:04X}", vr) if keyword and not tag >> 16 & 1 else ("", "")
        return READ.get(tag, ("", ""))

    def element(self, at: int, end: int, explicit: bool) -> tuple[int, str, int, int]:
        """Tag, value representation ("" when implicit), length and start of the value."""
        group, number = struct.unpack_from(self.order + "HH", self.data, at)
        vr = self.data[at + 4 : at + 6]
        # Single sequences written with the wrong explicitness are common; trust the letters, not the transfer syntax.
        if group == 0xFFFE or not explicit or not (vr.isalpha() and vr.isupper()):
            (length,) = struct.unpack_from(self.order + "I", self.data, at + 4)
            return group << 16 | number, "", length, at + 8
        if vr in LONG:
            if at + 12 > end:
                raise DicomError("truncated", f"{self.name}: the file ends within its DICOM header")
            (length,) = struct.unpack_from(self.order + "I", self.data, at + 8)
            return group << 16 | number, vr.decode(), length, at + 12
        (length,) = struct.unpack_from(self.order + "H", self.data, at + 6)
        return group << 16 | number, vr.decode("ascii", "ignore"), length, at + 8

    def sequence(self, at: int, end: int, explicit: bool, depth: int, delimited: bool) -> tuple[list[Header], int]:
        """Items from `at` up to `end` or a sequence delimiter, and where they end."""
        items: list[Header] = []
        while at + 8 <= end:
            group, number, length = struct.unpack_from(self.order + "HHI", self.data, at)
            if group != 0xFFFE:
                if delimited:
                    raise DicomError("corrupt", f"{self.name}: a sequence of its header is damaged")
                break
            at += 8
            if number == 0xE0DD:
                return items, at
            self.items += 1
            if self.items > ITEMS:
                raise DicomError("too_large", f"{self.name}: its header holds more than {ITEMS} sequence items")
            stop = end if length == UNDEFINED else min(at + length, end)
            item, after = self.dataset(at, stop, explicit, depth + 1)
            items.append(item)
            at = after if length == UNDEFINED else stop
        return items, end if not delimited else at

    def fragments(self, at: int, end: int) -> Iterator[tuple[int, int]]:
        """Spans of encapsulated pixel data, the offset table first (PS3.5 A.4)."""
        while at + 8 <= end:
            group, number, length = struct.unpack_from("<HHI", self.data, at)
            at += 8
            if (group, number) == (0xFFFE, 0xE0DD):
                return
            if (group, number) != (0xFFFE, 0xE000):
                raise DicomError("corrupt", f"{self.name}: its compressed pixel data are damaged")
            if at + length > end:
                raise DicomError("truncated", f"{self.name}: the file ends within its compressed pixel data")
            yield at, length
            at += length

    def value(self, at: int, length: int, vr: str) -> Value:
        raw = self.data[at : at + length]
        if vr in FORMAT:
            code = FORMAT[vr]
            size = struct.calcsize("=" + code)
            count = len(raw) // size
            numbers = struct.unpack(f"{self.order}{count}{code}", raw[: count * size])
            return tuple(v for v in numbers if math.isfinite(v))
        if vr in ("DS", "IS"):
            return tuple(v for v in map(_decimal, raw.split(b"\\")) if v is not None)
        if vr in TEXT:
            return tuple(w.strip(" \0") for w in raw.decode("ascii", "replace").split("\\"))
        return raw


def _decimal(text: bytes) -> float | None:
    text = text.strip(b" \0")
    if not text or b"_" in text:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
