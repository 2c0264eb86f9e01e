"""Sizes of the pages of a parquet file, from the header of each page and not from the file's footer, which may differ.

pyarrow allocates what the header of a page claims before it decompresses the page. So headers are read here first; they are
structures of Thrift's compact protocol (parquet-format, `PageHeader`).
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_HEADER_BYTES: Final = 1 << 10
_MAX_HEADER_BYTES: Final = 1 << 20
_MAX_PAGES: Final = 4_000_000
_MAX_DEPTH: Final = 8
_UNCOMPRESSED_SIZE, _COMPRESSED_SIZE = 2, 3  # fields of a page header
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12


class ColumnPages(NamedTuple):
    """The pages of a column in a row group.

    Attributes:
        largest: Bytes of the largest page, uncompressed.
        total: Bytes of all of them.
        stored: Bytes of all of them as they are stored.
    """

    largest: int
    total: int
    stored: int


class PageError(ValueError):
    """Pages that cannot be; the sentence continues the file's name."""


def measure_pages(path: Path, metadata: pq.FileMetaData) -> list[dict[str, ColumnPages]]:
    """The pages of each column of each row group, by the column's path.

    Raises:
        PageError: A page lies outside of the file, or is none; or there are too many.
    """
    size = path.stat().st_size
    groups: list[dict[str, ColumnPages]] = []
    count = 0
    with path.open("rb") as file:
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            columns: dict[str, ColumnPages] = {}
            for k in range(group.num_columns):
                column = group.column(k)
                begin, stored = column.data_page_offset, column.total_compressed_size
                if column.has_dictionary_page and 0 < column.dictionary_page_offset < begin:
                    begin = column.dictionary_page_offset
                if begin < 0 or stored < 0 or begin + stored > size:
                    raise PageError("has pages outside of itself")
                sizes = _page_sizes(file, begin, begin + stored, _MAX_PAGES - count)
                count += len(sizes)
                columns[column.path_in_schema] = ColumnPages(max(sizes, default=0), sum(sizes), stored)
            groups.append(columns)
    return groups


def _page_sizes(file: IO[bytes], at: int, end: int, max_pages: int) -> list[int]:
    """Uncompressed bytes of the pages between two places, of which there may be so many."""
    sizes: list[int] = []
    while at < end:
        if len(sizes) >= max_pages:
            raise PageError(f"has more than {_MAX_PAGES:,} pages")
        fields, length = _read_header(file, at, end)
        uncompressed, compressed = fields.get(_UNCOMPRESSED_SIZE, -1), fields.get(_COMPRESSED_SIZE, -1)
        if uncompressed < 0 or compressed < 0:
            raise PageError("has a page without a size")
        sizes.append(uncompressed)
        at += length + compressed
    return sizes


def _read_header(file: IO[bytes], at: int, end: int) -> tuple[dict[int, int], int]:
    """The numbers of a page's header by field, and how long the header is."""
    window = _HEADER_BYTES
    while True:
        file.seek(at)
        data = file.read(min(window, end - at))
        try:
            fields, length = _read_struct(data, 0, 0)
        except IndexError:
            if window >= min(_MAX_HEADER_BYTES, end - at):
                raise PageError("has a page whose header is damaged, or longer than 1 MiB") from None
            window *= 16
        else:
            return fields, length


def _read_struct(data: bytes, at: int, depth: int) -> tuple[dict[int, int], int]:
    """The numbers among the fields of a structure, and where it ends; IndexError where the data end before."""
    if depth > _MAX_DEPTH:
        raise PageError("has a page whose header is nested too deeply")
    fields: dict[int, int] = {}
    field = 0
    while True:
        head = data[at]
        at += 1
        kind = head & 15
        if head == _STOP:
            return fields, at
        if head >> 4:
            field += head >> 4
        else:
            field, at = _read_integer(data, at)
        if kind in (_TRUE, _FALSE):
            continue
        if kind in (4, 5, 6):
            fields[field], at = _read_integer(data, at)
        else:
            at = _skip(data, at, kind, depth)


def _skip(data: bytes, at: int, kind: int, depth: int) -> int:
    """Where a value ends."""
    if kind in (_TRUE, _FALSE, _BYTE):
        return at + 1
    if kind in (4, 5, 6):
        return _read_integer(data, at)[1]
    if kind == _DOUBLE:
        return at + 8
    if kind == _BINARY:
        length, at = _read_varint(data, at)
        return at + length
    if kind == _STRUCT:
        return _read_struct(data, at, depth + 1)[1]
    if kind in (_LIST, _SET):
        head = data[at]
        at += 1
        count, element = head >> 4, head & 15
        if count == 15:
            count, at = _read_varint(data, at)
        for _ in range(count):
            at = _skip(data, at, element, depth + 1)
            if at > len(data):
                raise IndexError
        return at
    raise PageError("has a page whose header is damaged")  # of a map, which page headers do not hold


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise PageError("has a page whose header is damaged")


def _read_integer(data: bytes, at: int) -> tuple[int, int]:
    value, at = _read_varint(data, at)
    return (value >> 1) ^ -(value & 1), at
