"""Where rows come from: a table's file, read row by row, and again one cell at a time where pictures are inside it.

Rows are read once, without the pictures in their cells; a picture is read when it is shown. So a table of any size of pictures
takes the memory of its texts.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

from medvistagym_core.tools import parse_document

MAX_ROWS: Final = 1_000_000
"""Most rows of a table: its texts are held in memory."""
MAX_ROW_BYTES: Final = 64 * 2**20
_MAX_TABLE_ROW_BYTES: Final = 32 * 2**20  # of CSV, whose reader takes four bytes for a character
_MAX_CELLS: Final = 100_000
MAX_COLUMNS: Final = 5_000
"""Most columns of a table."""
CONVERSATION_COLUMNS: Final = ("conversations", "conversatons")
MAX_INLINE_CHARS: Final = 1024
"""The longest text that may be a path; a longer one in a picture column is the picture itself."""


class EmbeddedPicture(NamedTuple):
    """Stands in a row for pictures that are in a cell of it: `QuestionSource.cell` reads them.

    Attributes:
        column: The column of the cell.
    """

    column: str


class SourceRow(NamedTuple):
    """A row of a table.

    Attributes:
        place: Where it stands, such as "line 7".
        row: Its position, for `QuestionSource.cell`.
        values: Cells by column; `EmbeddedPicture` for pictures in the cell.
        split: The split of the file that it is in, where the file's name says so.
    """

    place: str
    row: int
    values: Mapping[str, Any]
    split: str | None = None


class QuestionSource(Protocol):
    """Rows of a table, and its cells."""

    @property
    def label(self) -> str:
        """What sentences call it: the file's name."""
        ...

    @property
    def columns(self) -> Sequence[str]: ...
    def rows(self) -> Iterator[SourceRow]:
        """The rows, in order.

        Raises:
            ValueError: The file is broken, or holds more than `MAX_ROWS` rows.
        """
        ...

    def cell(self, row: int, column: str) -> Any:
        """A cell, whatever it holds.

        Args:
            row: Number of the row, from 0.
            column: Name of the column.
        """
        ...


class LineSource:
    """JSON lines, CSV or TSV: rows are found again by where they begin in the file.

    Args:
        path: The file, in UTF-8.
        form: What it holds; "table" for cells with separators.

    Raises:
        ValueError: The file is empty, or not in UTF-8.
    """

    def __init__(self, path: Path, form: Literal["jsonl", "table"]) -> None:
        self.path, self.label, self._form = path, path.name, form
        self._delimiter = ","
        self._begin = 0
        self.columns: Sequence[str] = ()
        _require_few_lines(path)
        first = next(self._records(0), None)
        if first is None:
            raise ValueError(f"{self.label} is empty")
        if form == "table":
            self._delimiter = _delimiter(path, first[1])
            self._begin, header = self._header()
            self.columns = tuple(header)
        else:
            # Keys may differ from row to row; those of the first rows say what the table has.
            keys: dict[str, None] = {}
            for number, (_, text, _) in enumerate(self._records(0)):
                keys |= dict.fromkeys(self._parse(text))
                if number >= 200 or len(keys) > MAX_COLUMNS:
                    break
            self.columns = tuple(keys)
        require_few_columns(self.label, len(self.columns))

    def rows(self) -> Iterator[SourceRow]:
        for begin, text, line in self._records(self._begin, 2 if self._form == "table" else 1):
            yield SourceRow(f"line {line}", begin, self._parse(text))

    def cell(self, row: int, column: str) -> Any:
        return self._parse(next(self._records(row))[1]).get(column)

    def _header(self) -> tuple[int, list[str]]:
        records = self._records(0)
        header = [name.strip() for name in self._cells(next(records)[1])]
        following = next(records, None)
        return (self.path.stat().st_size if following is None else following[0]), header

    def _records(self, begin: int, line: int = 1) -> Iterator[tuple[int, str, int]]:
        """Records from a place in the file on: where each begins, its text, and the number of its first line."""
        parts: list[str] = []
        size, quoted, first, first_line = 0, False, begin, line
        max_bytes = _MAX_TABLE_ROW_BYTES if self._form == "table" else MAX_ROW_BYTES
        with self.path.open("rb") as file:
            file.seek(begin)
            at = begin
            while raw := file.readline(max_bytes + 1):
                if not parts:
                    first, first_line, size = at, line, 0
                size += len(raw)
                if size > max_bytes:
                    raise ValueError(
                        f"{self.label}, line {first_line}: a row of more than {max_bytes // 2**20} MiB, or a quote without end"
                    )
                try:
                    parts.append(raw.decode("utf-8-sig" if at == 0 else "utf-8"))
                except UnicodeDecodeError as error:
                    location = f"line {line}, byte {error.start}"
                    raise ValueError(f"{self.label} is not in UTF-8 ({location}); save it as UTF-8") from None
                at += len(raw)
                line += 1
                # A quoted cell may hold line ends: the record is whole when its quotes are.
                quoted ^= self._form == "table" and raw.count(b'"') % 2 == 1
                if not quoted:
                    text, parts = "".join(parts), []
                    if text.strip():
                        yield first, text, first_line
            if parts:
                yield first, "".join(parts), first_line

    def _parse(self, text: str) -> dict[str, Any]:
        if self._form == "table":
            cells = self._cells(text)
            row: dict[str, Any] = dict(zip(self.columns, cells, strict=False))
            if len(cells) > len(self.columns):
                row["__error__"] = f"it has {len(cells)} cells, and the table {len(self.columns)} columns"
            return row
        try:
            value = parse_document(text)
        except ValueError as error:
            return {"__error__": f"it is no JSON object ({error})"}
        return (
            value if isinstance(value, dict) else {"__error__": f"it is a JSON {type(value).__name__}, not an object"}
        )

    def _cells(self, text: str) -> list[str]:
        if text.count(self._delimiter) > _MAX_CELLS and text.count('"') < 2:
            raise ValueError(f"{self.label}: a row has more than {_MAX_CELLS:,} cells")
        csv.field_size_limit(MAX_ROW_BYTES)
        rows = list(csv.reader((f"{line}\n" for line in text.split("\n")), delimiter=self._delimiter))
        return rows[0] if rows else []


class RowsSource:
    """Rows that are in memory: a JSON file with a list of objects, or what a program made.

    Args:
        label: What sentences call it.
        rows: The rows.
        places: Where each stands; "row 1" and so on unless given.
    """

    def __init__(self, label: str, rows: Sequence[Mapping[str, Any]], places: Sequence[str] = ()) -> None:
        if len(rows) > MAX_ROWS:
            raise ValueError(too_many_rows(label))
        self.label, self._rows, self._places = label, rows, places
        self.columns: Sequence[str] = tuple(dict.fromkeys(key for row in rows[:200] for key in row))

    def rows(self) -> Iterator[SourceRow]:
        for number, row in enumerate(self._rows):
            yield SourceRow(self._places[number] if self._places else f"row {number + 1}", number, row)

    def cell(self, row: int, column: str) -> Any:
        return self._rows[row].get(column)


class ConversationSource:
    """Rows of chat data (LLaVA's format): the first message is the question and the second one the answer.

    Args:
        source: Rows with a column `conversations`, or `conversatons` as some published files spell it.
    """

    def __init__(self, source: QuestionSource) -> None:
        self._source, self.label = source, source.label
        self._column = next(name for name in CONVERSATION_COLUMNS if name in source.columns)
        self.columns: Sequence[str] = ("question", "answer", *(n for n in source.columns if n != self._column))

    def rows(self) -> Iterator[SourceRow]:
        for row in self._source.rows():
            values = dict(row.values)
            values["question"], values["answer"] = _messages(values.pop(self._column, None))
            yield row._replace(values=values)

    def cell(self, row: int, column: str) -> Any:
        return self._source.cell(row, column)


def with_questions(source: QuestionSource) -> QuestionSource:
    """The source, with questions and answers taken from its conversations where it has those and no question."""
    chats = any(name in source.columns for name in CONVERSATION_COLUMNS)
    return ConversationSource(source) if chats and "question" not in source.columns else source


def read_json_table(path: Path) -> RowsSource:
    """A JSON file with a list of objects, or an object with one such list.

    Raises:
        ValueError: It is neither.
    """
    if path.stat().st_size > 2**30:
        raise ValueError(f"{path.name} is larger than 1 GiB; write it as JSON lines (.jsonl)")
    try:
        value = parse_document(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path.name} is no JSON file that can be read: {error}") from None
    lists = (
        [value]
        if isinstance(value, list)
        else [v for v in value.values() if isinstance(v, list)]
        if isinstance(value, dict)
        else []
    )
    if len(lists) != 1 or not all(isinstance(row, dict) for row in lists[0]):
        raise ValueError(f"{path.name} holds no list of objects, one a question")
    return RowsSource(path.name, lists[0])


def _messages(conversation: Any) -> tuple[str, str]:
    """Question and answer of a conversation; empty where it has none."""
    messages = conversation if isinstance(conversation, list) else []
    texts = [str(m.get("value", m.get("content", ""))) if isinstance(m, dict) else "" for m in messages[:2]]
    question, answer, *_ = (*texts, "", "")
    return question, answer


def too_many_rows(label: str) -> str:
    return (
        f"{label} holds more than {MAX_ROWS:,} rows; a table of questions holds at most that many: split it into several "
        "files"
    )


def require_few_columns(label: str, count: int) -> None:
    """Refuse a table that is too wide to be one of questions.

    Raises:
        ValueError: It is.
    """
    if count > MAX_COLUMNS:
        raise ValueError(f"{label} has more than {MAX_COLUMNS:,} columns, which no table of questions has")


def _require_few_lines(path: Path) -> None:
    lines = quotes = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            lines += block.count(b"\n")
            quotes += block.count(b'"') if path.suffix != ".jsonl" else 0
            # Only quoted cells with line ends could make fewer rows of so many lines.
            if lines > 4 * MAX_ROWS or (lines > MAX_ROWS + 1 and not quotes):
                raise ValueError(too_many_rows(path.name))


def _delimiter(path: Path, header: str) -> str:
    if path.suffix.lower() in (".tsv", ".tab"):
        return "\t"
    return max((",", ";", "\t"), key=header.count)
