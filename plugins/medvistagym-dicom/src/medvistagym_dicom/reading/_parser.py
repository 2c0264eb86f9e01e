"""DICOM files parsed by pydicom's reader, behind the allow-list of `_tag_allowlist` and within limits.

pydicom parses the elements one after another and is told of each before its value is read. So lengths are checked
against the file, values against the longest that is accepted, and nesting, items and elements against limits, before
anything of their size is allocated. Pixel data are located, not read. Structures follow PS3.5 sections 7 (data sets),
A.4 and A.5, and PS3.10 section 7.
"""

from __future__ import annotations

import contextlib
import dataclasses
import struct
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

from medvistagym_dicom.reading._dataset import (
    DEFLATED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    DicomDataset,
    PixelDataElement,
)
from medvistagym_dicom.reading._errors import DicomError
from medvistagym_dicom.reading._source import Source, Stream
from medvistagym_dicom.reading._tag_allowlist import PIXEL_DATA, allowed_tags

MAX_SEQUENCE_DEPTH: Final = 24
MAX_SEQUENCE_ITEMS: Final = 200_000
MAX_ELEMENTS: Final = 500_000
MAX_META_BYTES: Final = 1 << 12
_KEPT_BYTES: Final = 1 << 12  # longer values are read from the file again when they are asked for
_UNDEFINED: Final = 0xFFFFFFFF
_CHARACTER_SET: Final = 0x00080005
_MEDIA_CLASS: Final = 0x00020002
_TRANSFER_SYNTAX: Final = 0x00020010
_STOP_TAGS: Final = frozenset((_CHARACTER_SET, *PIXEL_DATA))
_END: Final = -1  # no tag: the element lies behind the item that is read
_LONG_VRS: Final = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))


def read_dataset(source: Source) -> DicomDataset:
    """The attributes of a DICOM file, with or without the preamble of PS3.10.

    Raises:
        DicomError: It is not DICOM, is cut off within its header, contradicts itself, or holds more than the limits.
    """
    with contextlib.closing(source.open()) as file:
        start, syntax, media_class = _read_file_meta(file, source)
        if syntax != DEFLATED:
            return _read_body(file, source, start, syntax, media_class)
    source = dataclasses.replace(source, deflated_at=start)
    with contextlib.closing(source.open()) as stream:
        return _read_body(stream, source, 0, syntax, media_class)


def _read_file_meta(file: Stream, source: Source) -> tuple[int, str, str]:
    """Where the data set starts, its transfer syntax and its class of object ("" where the file does not tell)."""
    from pydicom.filereader import data_element_generator

    head = file.read(132)
    if head[128:] == b"DICM":
        start = 132
    elif head[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08") and len(head) >= 8:
        start = 0
    else:
        raise DicomError("not_an_image", f"{source.name}: it is not a DICOM file")

    end = start

    def ends_before(tag: int, _vr: str | None, length: int) -> bool:
        nonlocal end
        if tag >> 16 != 2:
            return True
        end = file.tell() + length
        if length == _UNDEFINED or end > source.size:
            raise _truncation_error(source)
        return False

    file.seek(start)
    try:
        # Written implicitly, against PS3.10, the group is read as well: pydicom notices that letters are missing.
        elements = data_element_generator(
            cast("BinaryIO", file),
            False,
            True,
            ends_before,
            MAX_META_BYTES,
            specific_tags=[_MEDIA_CLASS, _TRANSFER_SYNTAX],
        )
        values = {int(e.tag): bytes(e.value or b"").decode("ascii", "ignore").strip(" \0") for e in elements}
    except struct.error:
        raise _truncation_error(source) from None
    if source.size - end in range(1, 8):
        raise _truncation_error(source)
    return end, values.get(_TRANSFER_SYNTAX, ""), values.get(_MEDIA_CLASS, "")


def _read_body(stream: Stream, source: Source, start: int, syntax: str, media_class: str) -> DicomDataset:
    stream.seek(start)
    head = stream.read(8)
    has_letters = head[4:6].isalpha() and head[4:6].isupper()
    if syntax:
        # Some writers name the wrong one of implicit and explicit little-endian; what begins the data set decides.
        is_little = syntax != EXPLICIT_BIG
        is_implicit = syntax == IMPLICIT_LITTLE and head[4:6] not in (b"UL", b"UI", b"CS", b"DA")
    else:
        if len(head) < 8:
            raise _truncation_error(source)
        group = head[:2]
        is_little = int.from_bytes(group, "little") <= int.from_bytes(group, "big")
        is_little = True if group in (b"\x08\x00", b"\x02\x00") else False if group == b"\x00\x08" else is_little
        is_implicit = not has_letters
        syntax = IMPLICIT_LITTLE if is_implicit else EXPLICIT_LITTLE if is_little else EXPLICIT_BIG
    stream.seek(start)
    reader = _BoundedReader(stream, source, is_little)
    try:
        dataset = reader.read(None, is_implicit, 0)
    except DicomError:
        if start == 0 and source.deflated_at is None and reader.elements <= 1:
            raise DicomError("not_an_image", f"{source.name}: it is not a DICOM file") from None
        raise
    except struct.error:
        raise _truncation_error(source) from None
    if not reader.elements:
        raise DicomError("not_an_image", f"{source.name}: it is not a DICOM file, or holds nothing")
    dataset.transfer_syntax, dataset.media_class, dataset.pixel_data = syntax, media_class, reader.pixel_data
    return dataset


def _truncation_error(source: Source) -> DicomError:
    return DicomError("truncated", f"{source.name}: the file ends within its DICOM header")


class _BoundedReader:
    """One pass of pydicom's reader over the elements of a stream, within limits.

    pydicom stops before each sequence, so that nesting and items are counted here, before the offset at which the pixel data
    begin, and before the character set, whose names it would report in warnings.
    """

    def __init__(self, stream: Stream, source: Source, is_little: bool) -> None:
        self._stream, self._source, self._is_little = stream, source, is_little
        self._allowed = allowed_tags()
        self._tags = list(self._allowed)
        self._items = 0
        self._end = stream.tell()  # of the last element
        self._stop: tuple[int, str, int] | None = (
            None  # tag, value representation and length of what pydicom stopped before
        )
        self.elements = 0
        self.pixel_data: PixelDataElement | None = None

    def read(self, end: int | None, is_implicit: bool, depth: int) -> DicomDataset:
        """The attributes from here to `end`, to an item delimiter, or to the end of the file."""
        from pydicom.filereader import data_element_generator

        if depth > MAX_SEQUENCE_DEPTH:
            text = f"{self._source.name}: its sequences are nested more than {MAX_SEQUENCE_DEPTH} deep"
            raise DicomError("corrupt", text)
        dataset = DicomDataset(self._source, self._is_little)

        def stops_before(tag: int, vr: str | None, length: int) -> bool:
            return self._stops_before(tag, vr or "", length, end)

        while True:
            self._stop = None
            elements = data_element_generator(
                cast("BinaryIO", self._stream), is_implicit, self._is_little, stops_before, _KEPT_BYTES,
                specific_tags=None if depth else self._tags,
            )  # fmt: skip
            for element in elements:
                if (allowed := self._allowed.get(element.tag)) is not None:
                    dataset.elements[allowed.keyword] = element  # type: ignore[assignment]
            stop = self._stopped_before()
            if stop is None and end is None and depth == 0:
                self._check_nothing_is_left()
            if stop is None or stop[0] == _END:
                return dataset
            tag, vr, length = stop
            at, allowed = self._end, self._allowed.get(tag)
            self._stream.seek(at)
            if tag in PIXEL_DATA and depth == 0:
                self.pixel_data = PixelDataElement(PIXEL_DATA[tag], vr, at, None if length == _UNDEFINED else length)
                return dataset
            if tag == _CHARACTER_SET and length != _UNDEFINED:
                self._stream.seek(at + length)
                continue
            items = self._read_items(length, vr, is_implicit or vr == "UN", end, depth, keep=allowed is not None)
            if allowed is not None:
                dataset.elements[allowed.keyword] = items

    def _stopped_before(self) -> tuple[int, str, int] | None:
        return self._stop

    def _stops_before(self, tag: int, vr: str, length: int, end: int | None) -> bool:
        at = self._stream.tell()
        if end is not None and at > end:  # the element lies behind its item
            self._stop = (_END, vr, length)
            return True
        self.elements += 1
        if self.elements > MAX_ELEMENTS:
            raise DicomError("too_large", f"{self._source.name}: its header holds more than {MAX_ELEMENTS} elements")
        allowed = self._allowed.get(tag)
        is_sequence = vr == "SQ" or length == _UNDEFINED or (allowed is not None and allowed.vr == "SQ")
        if (is_sequence and (allowed is not None or length == _UNDEFINED)) or tag in _STOP_TAGS:
            self._stop, self._end = (tag, vr, length), at
            return True
        if end is not None and at + length > end:  # writers get nested lengths wrong
            self._stop = (_END, vr, length)
            return True
        if allowed is not None and length > allowed.max_bytes:
            text = f"an element of its header has {length} bytes, more than the {allowed.max_bytes} that are accepted"
            raise DicomError("too_large", f"{self._source.name}: {text}")
        if not self._stream.holds(at + length):
            raise _truncation_error(self._source)
        self._end = at + length
        return False

    def _check_nothing_is_left(self) -> None:
        """Fewer bytes behind the last element than an element begins with mean that one was cut off."""
        if self._stream.holds(self._end + 1) and not self._stream.holds(self._end + 8):
            raise _truncation_error(self._source)

    def _read_items(
        self, length: int, vr: str, is_implicit: bool, end: int | None, depth: int, *, keep: bool
    ) -> list[DicomDataset]:
        """Items of a sequence, or fragments that are stepped over, from here up to the end of it.

        Args:
            length: Of the sequence in bytes, or undefined.
            vr: Its value representation; UN of undefined length holds implicit little-endian items (PS3.5 6.2.2).
            is_implicit: Whether the elements of its items are.
            end: Of the item that it lies in; None where that is not known.
            depth: Of the data set that it lies in.
            keep: Whether its attributes are wanted.
        """
        at, items = self._stream.tell(), list[DicomDataset]()
        is_delimited, holds_data_sets = length == _UNDEFINED, vr not in _LONG_VRS or vr in ("SQ", "UN")
        if not is_delimited:
            if end is None and not self._stream.holds(at + length):
                raise _truncation_error(self._source)
            end = at + length if end is None else min(at + length, end)
        for kind, item_length in self._item_headers(end, is_delimited):
            at = self._stream.tell()
            if kind != "item" or (item_length == _UNDEFINED and not holds_data_sets):
                raise DicomError("corrupt", f"{self._source.name}: a sequence of its header is damaged")
            item_end = (
                end if item_length == _UNDEFINED else at + item_length if end is None else min(at + item_length, end)
            )
            if item_length == 0 and keep:
                items.append(DicomDataset(self._source, self._is_little))
            elif item_length == _UNDEFINED or (keep and holds_data_sets):
                item = self.read(item_end, is_implicit and not (vr == "UN" and self._looks_explicit(at)), depth + 1)
                if keep:
                    items.append(item)
            if item_length != _UNDEFINED and item_end is not None:
                self._stream.seek(item_end)
        if not is_delimited and end is not None:
            self._stream.seek(end)
            self._end = end
        else:
            self._end = self._stream.tell()
        return items

    def _item_headers(self, end: int | None, is_delimited: bool) -> Iterator[tuple[str, int]]:
        """Kind and length of each item; nothing more behind a sequence delimiter or the end."""
        order = "<" if self._is_little else ">"
        while end is None or self._stream.tell() + 8 <= end:
            head = self._stream.read(8)
            if len(head) < 8:
                if is_delimited:
                    raise _truncation_error(self._source)
                return
            group, number, length = struct.unpack(order + "HHI", head)
            if (group, number) == (0xFFFE, 0xE0DD):
                return
            if group != 0xFFFE and not is_delimited:
                return
            self._items += 1
            if self._items > MAX_SEQUENCE_ITEMS:
                text = f"{self._source.name}: its header holds more than {MAX_SEQUENCE_ITEMS} sequence items"
                raise DicomError("too_large", text)
            if (group, number) != (0xFFFE, 0xE00D):  # a stray item delimiter is passed over
                yield "item" if group == 0xFFFE else "other", length

    def _looks_explicit(self, at: int) -> bool:
        head = self._stream.read(6)
        self._stream.seek(at)
        return head[4:6].isalpha() and head[4:6].isupper()
