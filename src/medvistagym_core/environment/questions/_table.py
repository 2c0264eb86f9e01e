"""A table of questions, read: its questions by split, what could not be used, and its pictures."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from medvistagym_core.environment.grading import GRADERS, Grader
from medvistagym_core.environment.questions._arrow import load_hub_dataset
from medvistagym_core.environment.questions._columns import COLUMN_NAMES, ColumnMap, map_columns
from medvistagym_core.environment.questions._picture_process import PICTURE_PROCESS
from medvistagym_core.environment.questions._pictures import PictureFolder, RecentPictures, picture_bytes
from medvistagym_core.environment.questions._question import (
    PictureCell,
    PictureFile,
    PictureReference,
    Question,
    RowProblem,
)
from medvistagym_core.environment.questions._row import RowError, canonical_split, read_row
from medvistagym_core.environment.questions._source import (
    LineSource,
    QuestionSource,
    RowsSource,
    read_json_table,
    with_questions,
)
from medvistagym_core.environment.questions._source_process import ProcessSource
from medvistagym_core.imaging import Image, Reader

_SPLIT_ORDER: Final = ("train", "validation", "dev", "test")
_SPLIT_IN_NAME: Final = re.compile(
    r"(?:^|[_.-])(train|training|validation|valid|val|dev|test|testing)(?:[_.-]|$)", re.IGNORECASE
)
_TABLES: Final = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".tab", ".parquet")
_HUB_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_MAX_SHOWN: Final = 5

RowTransform = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
"""Gives a row in the columns of `COLUMN_NAMES`, others being facets; or None for one that is no question of the table.

It may raise `ValueError` for a row that cannot be used."""


@dataclasses.dataclass(frozen=True, eq=False)
class QuestionTable:
    """Questions by split.

    Attributes:
        label: What sentences call it.
        splits: Questions by split, in the table's order.
        problems: Rows that were left out so far, and why.
        pictures: Where picture files are.
        source: Where pictures inside cells are.
        folder: The folder that it was found in, where that is to be told.
    """

    label: str
    splits: Mapping[str, Sequence[Question]]
    problems: Sequence[RowProblem] = ()
    pictures: PictureFolder | None = None
    source: QuestionSource | None = None
    folder: Path | None = None
    _recent: RecentPictures = dataclasses.field(default_factory=RecentPictures, repr=False)

    def open_pictures(self, question: Question, readers: Sequence[Reader] = ()) -> tuple[Image, ...]:
        """The images of a question, decoded now.

        Args:
            question: A question of this table.
            readers: What reads files that are no raster images.

        Raises:
            ValueError: One cannot be read; a sentence names the table and the place.
        """
        images: list[Image] = []
        for reference in question.pictures:
            try:
                images += self._open(reference, tuple(readers))
            except ValueError as error:
                raise ValueError(f"{self.label}, {question.place}: {error}") from error
        return tuple(images)

    def picture_key(self, reference: PictureReference) -> str:
        """The same text for the same picture: its path, or a hash of the bytes in its cell.

        Raises:
            ValueError: It is in a cell, and the cell cannot be read.
        """
        if isinstance(reference, PictureFile):
            return reference.path
        return hashlib.sha256(b"".join(self._cell_bytes(reference))).hexdigest()

    def checksum(self, split: str) -> str:
        """SHA-256 of the questions, options and answers of a split, with the paths of their pictures, in their order."""
        total = hashlib.sha256()
        for question in self.splits[split]:
            paths = [reference.path for reference in question.pictures if isinstance(reference, PictureFile)]
            answer = question.answer
            row = [
                question.question,
                question.options,
                answer.value,
                answer.aliases,
                answer.unit,
                answer.tolerance,
                paths,
            ]
            total.update(json.dumps(row, ensure_ascii=False, sort_keys=True).encode("utf-8", "replace"))
        return total.hexdigest()

    def _open(self, reference: PictureReference, readers: tuple[Reader, ...]) -> list[Image]:
        if isinstance(reference, PictureFile):
            if self.pictures is None:
                raise ValueError(f"the picture {reference.path!r} cannot be found: the table has no picture folder")
            folder, path = self.pictures, reference.path
            return self._recent.get((path, readers), functools.partial(folder.open, path, readers))
        images: list[Image] = []
        for data in self._cell_bytes(reference):
            key = hashlib.sha256(data).digest(), readers
            name = f"the picture in {reference.column!r}"
            images += self._recent.get(key, functools.partial(PICTURE_PROCESS.decode, data, readers, name))
        return images

    def _cell_bytes(self, reference: PictureCell) -> list[bytes]:
        if self.source is None:
            raise ValueError("the table has no cells to read pictures from")
        return picture_bytes(self.source.cell(reference.row, reference.column))


def read_table(
    source: QuestionSource,
    *,
    columns: Mapping[str, str] | None = None,
    pictures: PictureFolder | None = None,
    split: str = "test",
    facets: Sequence[str] = (),
    strict: bool = False,
    transform: RowTransform | None = None,
    graders: Mapping[str, Grader] = GRADERS,
) -> QuestionTable:
    """Read all rows of a source, without the pictures in their cells.

    Args:
        source: The rows.
        columns: Column names by part (`COLUMN_NAMES`), for those that are not recognised.
        pictures: Where picture files are; each one named must exist.
        split: The split of rows that say none.
        facets: More columns to break results down by.
        strict: Whether a row that cannot be used is an error.
        transform: Rewrites each row first, for a published format.
        graders: Kinds of answers.

    Raises:
        ValueError: The table has no column for questions or answers, no row can be used, or with `strict` not every row can.
    """
    columns_by_keys: dict[tuple[str, ...], ColumnMap] = {}
    own_columns = tuple(source.columns)
    if transform is None:
        columns_by_keys[own_columns] = map_columns(source.label, own_columns, columns or {})
    splits: dict[str, list[Question]] = {}
    problems: list[RowProblem] = []
    taken: set[str] = set()
    for row in source.rows():
        try:
            if transform is not None and "__error__" not in row.values:
                changed = transform(row.values)
                if changed is None:
                    continue
                row = row._replace(values=changed)
            keys = tuple(row.values) if transform is not None else own_columns
            if transform is None and "__error__" not in row.values and not row.values.keys() <= set(own_columns):
                own_columns = keys = (*own_columns, *(key for key in row.values if key not in own_columns))
            if keys not in columns_by_keys:
                columns_by_keys[keys] = _map_transformed(source.label, keys, columns or {}, transform)
            extra_facets = facets if transform is None else [key for key in keys if key not in COLUMN_NAMES]
            question = read_row(
                row, columns_by_keys[keys], label=source.label, default_split=split, extra_facets=extra_facets,
                pictures=pictures, graders=graders,
            )  # fmt: skip
        except ValueError as error:
            if transform is not None and not isinstance(error, RowError) and "has no column" in str(error):
                raise
            problems.append(RowProblem(row.place, str(error)))
            continue
        if question.id in taken:
            question = _with_place_in_id(question)
        taken.add(question.id)
        splits.setdefault(question.split, []).append(_intern_texts(question))
    _require_usable(source.label, splits, problems, strict)
    ordered = {name: tuple(splits[name]) for name in sorted(splits, key=_split_position)}
    return QuestionTable(source.label, ordered, tuple(problems), pictures, source)


def _with_place_in_id(question: Question) -> Question:
    return dataclasses.replace(question, id=f"{question.id}-{question.place.replace(' ', '-').replace(',', '')}")


def _split_position(name: str) -> int:
    return _SPLIT_ORDER.index(name) if name in _SPLIT_ORDER else len(_SPLIT_ORDER)


def open_source(path: str | Path, config: str | None = None) -> tuple[QuestionSource, Path | None]:
    """Open a table by looking at what it is.

    Args:
        path: A file (.jsonl, .json, .csv, .tsv, .parquet), a folder that `datasets` saved or that holds such files, or the name
            of a data set on the Hugging Face Hub.
        config: Configuration of a Hub data set.

    Returns:
        The source, and the folder that the paths of its pictures begin at; None for one without.

    Raises:
        ValueError: There is nothing, or nothing that is a table.
    """
    file = Path(path)
    if file.is_dir():
        source, folder = _open_folder(file)
        return with_questions(source), folder
    if file.is_file():
        return with_questions(_open_file(file)), file.parent
    if _HUB_NAME.fullmatch(str(path)) and file.suffix not in _TABLES:
        return load_hub_dataset(str(path), config), None
    raise ValueError(f"{path}: there is no such file or folder")


def _open_file(file: Path) -> QuestionSource:
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        return ProcessSource("parquet", ([(file, None)], file.name), file.name)
    if suffix in (".jsonl", ".ndjson"):
        return LineSource(file, "jsonl")
    if suffix == ".json":
        return read_json_table(file)
    if suffix in (".csv", ".tsv", ".tab"):
        return LineSource(file, "table")
    raise ValueError(f"{file.name}: a table of questions ends in one of {', '.join(_TABLES)}")


def _open_folder(folder: Path) -> tuple[QuestionSource, Path | None]:
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return ProcessSource("saved", (folder,), folder.name), folder
    parquet = sorted(folder.rglob("*.parquet"))
    if parquet:
        files = [(file, split_of_name(file.name)) for file in parquet]
        return ProcessSource("parquet", (files, folder.name), folder.name), folder
    tables = sorted(file for file in folder.iterdir() if file.suffix.lower() in _TABLES)
    metadata = [file for file in tables if file.stem == "metadata"]
    if len(metadata or tables) == 1:
        file = (metadata or tables)[0]
        return _open_file(file), folder
    if not tables:
        raise ValueError(f"{folder}: the folder holds no table ({', '.join(_TABLES)}) and no saved data set")
    raise ValueError(
        f"{folder}: the folder holds several tables; name one of {', '.join(file.name for file in tables[:10])}"
    )


def split_of_name(name: str) -> str | None:
    """The split that a file's name says, such as "test-00000-of-00001.parquet"."""
    match = _SPLIT_IN_NAME.search(name.rpartition(".")[0])
    return canonical_split(match[1]) if match else None


def rows_source(label: str, rows: Iterable[Mapping[str, Any]], places: Sequence[str] = ()) -> QuestionSource:
    """Rows that a program made, as a source.

    Args:
        label: What sentences call it.
        rows: The rows, by column.
        places: Where each row stands; "row 1" and so on unless given.

    Raises:
        ValueError: There are more rows than a table may have.
    """
    return RowsSource(label, list(rows), places)


def _map_transformed(
    label: str, keys: Sequence[str], columns: Mapping[str, str], transform: RowTransform | None
) -> ColumnMap:
    if transform is None:
        return map_columns(label, keys, columns)
    one = {part: part for part in keys if part in COLUMN_NAMES}
    pictures = ((one.pop("images"), None),) if "images" in one else ()
    return ColumnMap(one, pictures)


def _require_usable(
    label: str, splits: Mapping[str, Sequence[Question]], problems: Sequence[RowProblem], strict: bool
) -> None:
    examples = "; ".join(str(problem) for problem in problems[:_MAX_SHOWN])
    more = f"; and {len(problems) - _MAX_SHOWN} more" if len(problems) > _MAX_SHOWN else ""
    if problems and (strict or not splits):
        count = "no row" if not splits else f"{len(problems)} of {sum(map(len, splits.values())) + len(problems)} rows"
        verb = "can be used" if not splits else "cannot be used"
        raise ValueError(f"{label}: {count} {verb}: {examples}{more}")
    if not splits:
        raise ValueError(f"{label} holds no question")


def _intern_texts(question: Question) -> Question:
    """The question with texts that many share kept once."""
    intern = sys.intern
    facets = {intern(name): intern(value) for name, value in question.facets.items()}
    return dataclasses.replace(
        question,
        facets=facets,
        split=intern(question.split),
        family=intern(question.family),
        options=tuple(intern(option) for option in question.options),
    )
