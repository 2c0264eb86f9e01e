"""Encapsulated pixel data: which fragments make up which frame (PS3.5 A.4, PS3.3 C.7.6.3.1.8)."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from medvistagym_dicom.reading._codestream import begins_codestream, begins_rle
from medvistagym_dicom.reading._dataset import DicomDataset, PixelDataElement
from medvistagym_dicom.reading._errors import DicomError
from medvistagym_dicom.reading._source import Stream

MAX_FRAGMENTS: Final = 200_000
_HEAD_BYTES: Final = 64  # of a fragment, by which it is recognised as the beginning of a frame


class Fragment(NamedTuple):
    """A fragment: where its item begins, counted from the first fragment, where its bytes lie in the file, and how many."""

    item_offset: int
    offset: int
    length: int


def locate_frames(stream: Stream, dataset: DicomDataset, frames: int, *, is_rle: bool) -> list[list[Fragment]]:
    """The fragments of each frame.

    Told by the extended offset table, or by the basic one, or by their number; where these are missing or contradict the
    fragments, by which of them begin an image.

    Raises:
        DicomError: They are cut off or damaged, or are not as many frames as the object says.
    """
    name, element = dataset.source.name, dataset.pixel_data
    assert element is not None
    table, fragments = _read_fragments(stream, element, name)
    if not fragments:
        raise DicomError("truncated", f"{name}: it holds no compressed frame")
    extended = _by_extended_offsets(dataset, fragments, frames)
    if extended is not None:
        return extended
    offsets = struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4])
    if len(offsets) == frames and (grouped := _by_offsets(fragments, offsets)) is not None:
        return grouped
    if len(fragments) == frames:
        return [[fragment] for fragment in fragments]
    if frames == 1:
        return [fragments]
    begins = begins_rle if is_rle else begins_codestream
    grouped = _by_beginnings(stream, fragments, begins)
    if len(grouped) == frames:
        return grouped
    if len(fragments) < frames:
        held = f"it holds {len(fragments)} of the {frames} frames that its header promises"
        raise DicomError("truncated", f"{name}: {held}")
    raise DicomError(
        "corrupt", f"{name}: its {len(fragments)} fragments are not the {frames} frames that its header promises"
    )


def read_fragments(stream: Stream, fragments: Sequence[Fragment]) -> bytes:
    """The bytes of a frame."""
    parts = []
    for fragment in fragments:
        stream.seek(fragment.offset)
        parts.append(stream.read(fragment.length))
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _read_fragments(stream: Stream, element: PixelDataElement, name: str) -> tuple[bytes, list[Fragment]]:
    """The basic offset table, and the fragments that are not empty."""
    at = element.offset
    end = None if element.length is None else at + element.length
    table: bytes | None = None
    start = at
    fragments: list[Fragment] = []
    count = 0
    while (end is None or at + 8 <= end) and stream.holds(at + 8):
        stream.seek(at)
        group, number, length = struct.unpack("<HHI", stream.read(8))
        if (group, number) != (0xFFFE, 0xE000):
            if (group, number) != (0xFFFE, 0xE0DD) and not fragments:
                raise DicomError("corrupt", f"{name}: its compressed pixel data are damaged")
            break  # the delimiter; or padding of an odd sequence, and if frames are missing, they will be counted
        if not stream.holds(at + 8 + length):
            raise DicomError("truncated", f"{name}: the file ends within its compressed pixel data")
        count += 1
        if count > MAX_FRAGMENTS:
            raise DicomError("too_large", f"{name}: its pixel data have more than {MAX_FRAGMENTS} fragments")
        if table is None and not (length > 4 and begins_codestream(stream.read(_HEAD_BYTES))):
            # the first item is the offset table; some writers leave it out
            stream.seek(at + 8)
            table, start = stream.read(min(length, 4 * MAX_FRAGMENTS)), at + 8 + length
        else:
            table = table or b""
            if length:
                fragments.append(Fragment(at - start, at + 8, length))
        at += 8 + length
    return table or b"", fragments


def _by_extended_offsets(dataset: DicomDataset, fragments: list[Fragment], frames: int) -> list[list[Fragment]] | None:
    offsets, lengths = (
        struct.unpack(f"<{len(raw) // 8}Q", raw[: len(raw) // 8 * 8])
        for raw in (dataset.bytes_value("ExtendedOffsetTable"), dataset.bytes_value("ExtendedOffsetTableLengths"))
    )
    if len(offsets) != frames or len(lengths) != frames:
        return None
    starts = {fragment.item_offset: fragment for fragment in fragments}
    if any(at not in starts or length > starts[at].length for at, length in zip(offsets, lengths, strict=True)):
        return None
    return [[starts[at]._replace(length=length)] for at, length in zip(offsets, lengths, strict=True)]


def _by_offsets(fragments: list[Fragment], offsets: Sequence[int]) -> list[list[Fragment]] | None:
    """Fragments from one offset to the next; None where these are no beginnings of fragments in order."""
    starts = {fragment.item_offset: k for k, fragment in enumerate(fragments)}
    indices = [starts.get(offset, -1) for offset in offsets]
    if indices[0] != 0 or any(b <= a for a, b in itertools.pairwise(indices)):
        return None
    return [fragments[a:b] for a, b in zip(indices, [*indices[1:], len(fragments)], strict=True)]


def _by_beginnings(stream: Stream, fragments: list[Fragment], begins: Callable[[bytes], bool]) -> list[list[Fragment]]:
    groups: list[list[Fragment]] = []
    for fragment in fragments:
        stream.seek(fragment.offset)
        if begins(stream.read(min(fragment.length, _HEAD_BYTES))) or not groups:
            groups.append([])
        groups[-1].append(fragment)
    return groups
