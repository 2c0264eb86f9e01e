"""Formats that several benchmarks share: the Hub's copies, and folders of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medvistagym_core.environment.questions import (
    PictureFolder,
    Question,
    QuestionSource,
    QuestionTable,
    RowProblem,
    open_source,
    read_table,
    rows_source,
    split_of_name,
)
from medvistagym_core.tools import parse_document
from medvistagym_vqa._benchmark import BenchmarkArguments
from medvistagym_vqa._data_folder import DataFolder

RowTransform = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]


def read_columns(
    folder: DataFolder,
    arguments: BenchmarkArguments,
    columns: set[str],
    transform: RowTransform,
    *,
    without: frozenset[str] = frozenset(),
) -> QuestionTable | None:
    """A copy in parquet, or in a folder that `datasets` saved, which has some columns.

    Args:
        folder: Where to look.
        arguments: What the user said.
        columns: Columns that it must have.
        transform: Rewrites its rows.
        without: Columns that it must not have, since then it is another format.
    """
    places: list[Path] = folder.saved_datasets()
    parquet = folder.named(r".*\.parquet")
    if parquet:
        places.append(folder.root)
    for place in places:
        source, _ = open_source(place)
        names = set(source.columns)
        if columns <= names and not without & names:
            return read_table(source, transform=transform, strict=arguments.strict)
    return None


class SplitTables(Mapping[str, Sequence[Question]]):
    """Splits that lie in files of their own: each is read when it is first asked for.

    Args:
        readers: Reads the table of a split, by split.

    Attributes:
        problems: Rows that could not be used in the splits read so far.
    """

    def __init__(self, readers: Mapping[str, Callable[[], QuestionTable]]) -> None:
        self._readers = readers
        self._questions: dict[str, Sequence[Question]] = {}
        self.problems: list[RowProblem] = []

    def __getitem__(self, split: str) -> Sequence[Question]:
        if split not in self._questions:
            table = self._readers[split]()
            self._questions[split] = table.splits[split]
            self.problems += table.problems
        return self._questions[split]

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


def picture_folder(folder: DataFolder, arguments: BenchmarkArguments, table: Path) -> PictureFolder:
    """Where pictures are: as the user said, or in the folder of the table and the archives beside it, at any depth."""
    if arguments.pictures is not None:
        return PictureFolder([arguments.pictures], search=True)
    root = folder.root if folder.root.is_dir() else table.parent
    return PictureFolder([root, *folder.archives()], search=True)


def json_rows(path: Path) -> list[dict[str, Any]] | None:
    """The rows of a JSON file that is a list of objects; None for any other file."""
    try:
        rows = parse_document(path.read_bytes())
    except (ValueError, OSError):
        return None
    return rows if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows) else None


def split_files(files: Sequence[Path]) -> dict[str, Path]:
    """Files by the split that their names say: "validate.json" is validation."""
    found: dict[str, Path] = {}
    for file in files:
        split = split_of_name(file.name) or ("validation" if file.stem.lower() == "validate" else None)
        if split is not None:
            found.setdefault(split, file)
    return found


def joined_source(label: str, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> QuestionSource:
    """Rows of several splits as one source; each row is told its split."""
    joined = [{**row, "split": split} for split, part in rows.items() for row in part]
    places = [f"{split}, row {number + 1}" for split, part in rows.items() for number in range(len(part))]
    return rows_source(label, joined, places)
