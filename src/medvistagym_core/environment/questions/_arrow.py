"""Parquet files and saved `datasets` folders as tables: texts are read at once, pictures one by one.

pyarrow and `datasets` are imported when such a table is opened.
"""

from __future__ import annotations

import bisect
import os
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from medvistagym_core.environment.questions._parquet_pages import ColumnPages, PageError, measure_pages
from medvistagym_core.environment.questions._pictures import picture_bytes
from medvistagym_core.environment.questions._source import (
    MAX_ROWS,
    EmbeddedPicture,
    SourceRow,
    require_few_columns,
    too_many_rows,
)
from medvistagym_core.imaging import MAX_INFLATION
from medvistagym_core.tools import first_line

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_MAX_CACHED_GROUP_BYTES: Final = 32 * 2**20
"""A column of a row group that is at most so large is read whole, and the last one is kept."""
_BATCH_ROWS: Final = 1024
_FEW_PICTURES: Final = 16
_FEW_ROWS: Final = 64
"""Rows of a parquet file that are read at once: a text that is stored once may be that of every row."""
_MAX_INFLATED_BYTES: Final = 64 * 2**20
"""Most bytes that a column of a row group, or all texts of a file, may have that grow more than `MAX_INFLATION` times."""


_MAX_INFLATED_PAGE_BYTES: Final = 8 * 2**20
"""The same of a page, which is in memory several times over while its values are made; most have 1 MiB."""


class ParquetSource:
    """Parquet files with the same columns.

    Pictures are read a row group at a time. Where a row group is larger than 32 MiB, as in a file that was written in one go,
    its pictures are copied to an unnamed temporary file when the first of them is asked for, so that each is found at once.

    Args:
        files: The files, in order, each with the split that its name says, or None.
        label: What sentences call them.

    Raises:
        ValueError: A file is no parquet file, or they hold too many rows.
    """

    def __init__(self, files: Sequence[tuple[Path, str | None]], label: str) -> None:
        self.label, self._files = label, tuple(files)
        self._starts = [0]
        self._open: dict[tuple[int, int], pq.ParquetFile] = {}
        self._group: tuple[tuple[int, int, str], list[Any]] | None = None
        self._spools: dict[tuple[int, int, str], _Spool] = {}
        self._lock = threading.Lock()
        self._pages: list[list[dict[str, ColumnPages]]] = []
        columns: dict[str, None] = {}
        for number in range(len(self._files)):
            file = self._file(number)
            self._pages.append(_measure_pages(self._files[number][0], file))
            columns |= dict.fromkeys(file.schema_arrow.names)
            self._starts.append(self._starts[-1] + file.metadata.num_rows)
        if self._starts[-1] > MAX_ROWS:
            raise ValueError(too_many_rows(label))
        self.columns: Sequence[str] = tuple(columns)

    def rows(self) -> Iterator[SourceRow]:
        for number, (path, split) in enumerate(self._files):
            file = self._file(number)
            embedded = [name for name in file.schema_arrow.names if holds_bytes(file.schema_arrow.field(name).type)]
            read, present = _text_columns(file, embedded)
            row, size, stored = self._starts[number], 0, path.stat().st_size
            for batch in file.iter_batches(_rows_at_once(self._pages[number], read, _FEW_ROWS), columns=read):
                columns = {name: batch.column(name).to_pylist() for name in batch.schema.names}
                size += batch.nbytes + _count_repeated_bytes(batch, columns)
                _check_inflation(path, size, stored, "its texts")
                for place in range(batch.num_rows):
                    values = {name: cells[place] for name, cells in columns.items()}
                    for name in embedded:
                        values[name] = EmbeddedPicture(name) if name in present or values.get(name) else None
                    within = f"{path.name}, row " if len(self._files) > 1 else "row "
                    yield SourceRow(f"{within}{row - self._starts[number] + 1}", row, values, split)
                    row += 1

    def cell(self, row: int, column: str) -> Any:
        number = bisect.bisect_right(self._starts, row) - 1
        with self._lock:
            file = self._file(number)
            within, group = row - self._starts[number], 0
            while within >= (size := file.metadata.row_group(group).num_rows):
                within, group = within - size, group + 1
            key = (number, group, column)
            if sum(pages.total for pages in self._column_pages(number, group, column)) > _MAX_CACHED_GROUP_BYTES:
                if key not in self._spools:
                    self._spools[key] = _Spool(self._cells(number, group, column), self.label)
                return self._spools[key].read(within)
            if self._group is None or self._group[0] != key:
                self._group = None  # let go of the last one first
                self._group = key, list(self._cells(number, group, column))
            return self._group[1][within]

    def _column_pages(self, number: int, group: int, column: str) -> list[ColumnPages]:
        """The pages of all parts of a column."""
        parts = self._pages[number][group].items()
        return [pages for path, pages in parts if path.partition(".")[0] == column]

    def _cells(self, number: int, group: int, column: str) -> Iterator[Any]:
        """The cells of a column in a row group, of which a picture that is stored once may fill many."""
        path, file = self._files[number][0], self._file(number)
        rows = _rows_at_once([self._pages[number][group]], [column], _FEW_PICTURES)
        size = 0
        for batch in file.iter_batches(rows, row_groups=[group], columns=[column], use_threads=False):
            cells = batch.column(0).to_pylist()
            size += batch.nbytes + _count_repeated_bytes(batch, {column: cells})
            _check_inflation(path, size, path.stat().st_size, "its pictures")
            yield from cells

    def _file(self, number: int) -> pq.ParquetFile:
        """The open file; each process has its own."""
        key = os.getpid(), number
        if key not in self._open:
            self._open[key] = open_parquet(self._files[number][0])
        return self._open[key]


class DatasetSource:
    """A split, or several, of the library `datasets`: a saved folder, or from the Hub.

    Args:
        splits: The data sets by split; None for one without a name.
        label: What sentences call it.
    """

    def __init__(self, splits: dict[str | None, Any], label: str) -> None:
        self.label = label
        self._parts = [(split, data.with_format("arrow")) for split, data in splits.items()]
        self._starts = [0]
        for _, data in self._parts:
            self._starts.append(self._starts[-1] + len(data))
        if self._starts[-1] > MAX_ROWS:
            raise ValueError(too_many_rows(label))
        self.columns: Sequence[str] = tuple(
            dict.fromkeys(name for _, data in self._parts for name in data.column_names)
        )

    def rows(self) -> Iterator[SourceRow]:
        for (split, data), start in zip(self._parts, self._starts, strict=False):
            schema = data.features.arrow_schema
            embedded = {name for name in data.column_names if holds_bytes(schema.field(name).type)}
            row = start
            for begin in range(0, len(data), _BATCH_ROWS):
                batch = data[begin : begin + _BATCH_ROWS]
                cells = {
                    name: [
                        EmbeddedPicture(name) if valid else None for valid in batch.column(name).is_valid().to_pylist()
                    ]
                    if name in embedded
                    else batch.column(name).to_pylist()
                    for name in batch.column_names
                }
                for place in range(batch.num_rows):
                    values = {name: column[place] for name, column in cells.items()}
                    yield SourceRow(
                        f"row {row - start + 1}" if split is None else f"{split}, row {row - start + 1}",
                        row,
                        values,
                        split,
                    )
                    row += 1

    def cell(self, row: int, column: str) -> Any:
        number = bisect.bisect_right(self._starts, row) - 1
        place = row - self._starts[number]
        return self._parts[number][1][place : place + 1].column(column).to_pylist()[0]


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a parquet file for reading in pieces.

    Raises:
        ValueError: pyarrow is not installed, or the file is none.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ValueError(
            f"{path.name}: reading parquet needs pyarrow: pip install 'medvistagym-core[tables]'"
        ) from None
    try:
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path.name} is no parquet file: {first_line(error)}") from None
    require_few_columns(path.name, file.metadata.num_columns)
    return file


def _measure_pages(path: Path, file: pq.ParquetFile) -> list[dict[str, ColumnPages]]:
    """The pages of each column of each row group.

    Raises:
        ValueError: They would grow to more than they may; or they are damaged.
    """
    try:
        groups = measure_pages(path, file.metadata)
    except PageError as error:
        raise ValueError(f"{path.name} {error}") from None
    for columns in groups:
        for name, pages in columns.items():
            _check_inflation(path, pages.total, pages.stored, what := f"the column {name[:40]!r}")
            _check_inflation(path, pages.largest, pages.stored, f"a page of {what}", _MAX_INFLATED_PAGE_BYTES)
        # a page of each column is in memory at a time
        largest, stored = sum(p.largest for p in columns.values()), sum(p.stored for p in columns.values())
        _check_inflation(path, largest, stored, "the pages of a row group")
    held = sum(file.metadata.row_group(number).num_rows for number in range(len(groups)))
    if held != file.metadata.num_rows:
        raise ValueError(f"{path.name} says that it has {file.metadata.num_rows:,} rows, and its parts have {held:,}")
    return groups


def _count_repeated_bytes(batch: pa.RecordBatch, columns: Mapping[str, Sequence[Any]]) -> int:
    """The size of cells of which a column stores those that are equal once."""
    from pyarrow import types

    repeated = (name for name in columns if types.is_dictionary(batch.schema.field(name).type))
    return sum(len(cell) for name in repeated for cell in columns[name] if isinstance(cell, str | bytes))


def _rows_at_once(groups: Sequence[Mapping[str, ColumnPages]], columns: Sequence[str], max_rows: int) -> int:
    """How many rows are read at a time: few enough for a row of the largest values, none of which is larger than its page."""
    wanted = {name.partition(".")[0] for name in columns}
    sizes = (p.largest for group in groups for name, p in group.items() if name.partition(".")[0] in wanted)
    return max(1, min(max_rows, _MAX_INFLATED_BYTES // (4 * max(1, max(sizes, default=1)))))


def _check_inflation(path: Path, size: int, stored: int, what: str, allowance: int = _MAX_INFLATED_BYTES) -> None:
    if size > max(allowance, MAX_INFLATION * stored):
        grown = f"{what} would grow from {stored:,} bytes to {size / 2**20:,.0f} MiB"
        raise ValueError(f"{path.name}: {grown}, and at most {MAX_INFLATION} times as much is read")


def load_saved_dataset(folder: Path) -> DatasetSource:
    """A folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote.

    Raises:
        ValueError: `datasets` is not installed, or the folder is broken.
    """
    datasets = _import_datasets(folder.name)
    try:
        loaded = datasets.load_from_disk(str(folder))
    except Exception as error:
        raise ValueError(f"{folder.name} cannot be read as a saved data set: {first_line(error)}") from error
    return DatasetSource(dict(loaded) if hasattr(loaded, "keys") else {None: loaded}, folder.name)


def load_hub_dataset(name: str, config: str | None) -> DatasetSource:
    """A data set of the Hugging Face Hub, from its cache where it is there.

    Raises:
        ValueError: It cannot be had; a sentence says why.
    """
    datasets = _import_datasets(name)
    try:
        loaded = datasets.load_dataset(name, config)
    except Exception as error:
        why = (
            "HF_HUB_OFFLINE is set and it is not in the cache" if datasets.config.HF_HUB_OFFLINE else first_line(error)
        )
        raise ValueError(f"there is no file {name!r}, and the Hub data set {name!r} cannot be had: {why}") from error
    return DatasetSource(dict(loaded), name)


def _import_datasets(label: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise ValueError(f"{label}: reading it needs `datasets`: pip install 'medvistagym-core[tables]'") from None
    return datasets


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether cells of an Arrow type hold bytes: pictures."""
    from pyarrow import types

    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return True
    if types.is_list(kind) or types.is_large_list(kind):
        return holds_bytes(kind.value_type)
    if types.is_struct(kind):
        return any(holds_bytes(kind.field(k).type) for k in range(kind.num_fields))
    return False


def _text_columns(file: pq.ParquetFile, embedded: Sequence[str]) -> tuple[list[str], set[str]]:
    """Columns to read without the pictures in them, and columns of which no cell is empty."""
    leaves = [file.schema.column(k) for k in range(len(file.schema))]
    read: list[str] = []
    present: set[str] = set()
    for name in file.schema_arrow.names:
        own = [leaf.path for leaf in leaves if leaf.path == name or leaf.path.startswith(f"{name}.")]
        if name not in embedded:
            read += own
            continue
        # Whether a cell is empty shows in a part of it that is small, such as the picture's path.
        small = [leaf.path for leaf in leaves if leaf.path in own and leaf.physical_type != "BYTE_ARRAY"]
        small += [path for path in own if path.rpartition(".")[2] == "path"]
        if small:
            read.append(small[0])
        else:
            present.add(name)
    return read, present


def _release_memory() -> None:
    """Give back what reading a large row group took; Arrow keeps it for itself otherwise."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


class _Spool:
    """Pictures of a row group in a temporary file, each found at once. The file goes with the process."""

    def __init__(self, cells: Iterator[Any], label: str) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="medvistagym-")  # noqa: SIM115 it lives as long as this
        weakref.finalize(self, self._file.close)
        self._cells: list[list[tuple[int, int]]] = []
        at = 0
        try:
            for cell in cells:
                places = []
                for data in picture_bytes(cell):
                    self._file.write(data)
                    places.append((at, len(data)))
                    at += len(data)
                self._cells.append(places)
            self._file.flush()
            _release_memory()
        except OSError as error:
            self._file.close()
            raise ValueError(
                f"{label}: its pictures cannot be copied to {tempfile.gettempdir()}: {error.strerror}"
            ) from error

    def read(self, row: int) -> list[bytes]:
        """The pictures of a row, as files' bytes. Safe in several threads and after a fork."""
        return [os.pread(self._file.fileno(), size, begin) for begin, size in self._cells[row]]
