"""Tables that compiled libraries read, in a process of their own.

pyarrow ends its process on some damaged parquet files, and allocates what a file claims. So such a table is read by a child,
whose end costs one sentence. Requests and answers follow each other: rows come some at a time, whenever they are asked for.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

from medvistagym_core.environment.questions._source import QuestionSource, SourceRow
from medvistagym_core.execution import (
    ChildEndedError,
    ChildProcess,
    answer_requests,
    limit_memory,
    register_fork_reset,
)

Kind = Literal["parquet", "saved"]
_ANSWER_S: Final = 600.0  # copying the pictures of a large file from a slow disk takes minutes
_CHUNK_ROWS: Final = 1024
_CHUNK_CHARS: Final = 4 * 2**20
_MAX_BYTES: Final = 4 * 2**30
"""Memory that the child may take beyond what it starts with."""


class ProcessSource:
    """A table that a child reads. After a fork, and after it ended, another child begins anew.

    Args:
        kind: What reads it.
        arguments: Of `ParquetSource` or `load_saved_dataset`.
        label: What sentences call it.

    Raises:
        ValueError: It cannot be read; a sentence says why.
    """

    def __init__(self, kind: Kind, arguments: Sequence[Any], label: str) -> None:
        self.label, self._kind, self._arguments = label, kind, tuple(arguments)
        self._lock = threading.RLock()
        self._child: ChildProcess | None = None
        register_fork_reset(self)
        self.columns: Sequence[str] = self._ask("columns")

    def rows(self) -> Iterator[SourceRow]:
        """Every row, in order.

        Raises:
            ValueError: One cannot be read; or the reader ended since the first, and with it the place that was reached.
        """
        with self._lock:
            number, child = self._ask("rows"), self._child
        while True:
            with self._lock:
                if self._child is not child:  # another one's iterators have the same numbers
                    raise ValueError(f"the reader of {self.label} ended; read its rows again from the first")
                chunk = self._ask("next", number)
            if not chunk:
                return
            yield from chunk

    def cell(self, row: int, column: str) -> Any:
        return self._ask("cell", row, column)

    def reset_after_fork(self) -> None:
        """Leave the child to the process that this one was forked from, a thread of which may hold the lock."""
        if self._child is not None:
            self._child.let_go()
        self._lock, self._child = threading.RLock(), None

    def _ask(self, *request: Any) -> Any:
        with self._lock:
            if self._child is None:
                self._child = ChildProcess(__name__, self._kind)
                self._send(("open", *self._arguments))
            return self._send(request)

    def _send(self, request: tuple[Any, ...]) -> Any:
        assert self._child is not None
        child = self._child
        try:
            status, answer = child.ask(request, _ANSWER_S)
        except ChildEndedError as ended:
            self._child = None
            raise ValueError(f"{self.label} is damaged: its reader {ended} while it was read") from None
        except BaseException:
            self._child = None
            raise
        if status == "error":
            raise ValueError(answer)
        return answer

    def __getstate__(self) -> dict[str, Any]:
        return {"kind": self._kind, "arguments": self._arguments, "label": self.label}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


class _Reader:
    """The table, in the child."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._source: QuestionSource | None = None
        self._chunks: dict[int, Iterator[list[SourceRow]]] = {}
        self._numbers = itertools.count()

    def answer(self, request: tuple[Any, ...]) -> tuple[str, Any]:
        """A "value", or an "error" with a sentence."""
        try:
            return "value", self._answer(*request)
        except MemoryError:
            return "error", f"it takes more than {_MAX_BYTES >> 30} GiB to read"
        except Exception as error:  # noqa: BLE001 - of the library that reads it
            text = str(error).strip() or type(error).__name__
            return "error", text if isinstance(error, ValueError) else f"it cannot be read: {text[:300]}"

    def _answer(self, name: str, *arguments: Any) -> Any:
        if name == "open":
            with contextlib.suppress(ImportError):  # opening says what is not installed
                importlib.import_module("pyarrow.parquet" if self._kind == "parquet" else "datasets")
            limit_memory(_MAX_BYTES)  # beyond what the libraries take
            self._source = _open(self._kind, *arguments)
            return None
        if self._source is None:
            raise ValueError("it could not be opened")
        if name == "columns":
            return self._source.columns
        if name == "rows":
            number = next(self._numbers)
            self._chunks[number] = _in_chunks(self._source.rows())
            return number
        if name == "next":
            return _next_chunk(self._chunks, *arguments)
        return self._source.cell(*arguments)


def _open(kind: Kind, *arguments: Any) -> QuestionSource:
    from medvistagym_core.environment.questions import _arrow

    if kind == "parquet":
        return _arrow.ParquetSource(*arguments)
    return _arrow.load_saved_dataset(*arguments)


def _in_chunks(rows: Iterator[SourceRow]) -> Iterator[list[SourceRow]]:
    chunk: list[SourceRow] = []
    chars = 0
    for row in rows:
        chunk.append(row)
        chars += sum(len(value) for value in row.values.values() if isinstance(value, str))
        if len(chunk) >= _CHUNK_ROWS or chars > _CHUNK_CHARS:
            yield chunk
            chunk, chars = [], 0
    if chunk:
        yield chunk


def _next_chunk(chunks: dict[int, Iterator[list[SourceRow]]], number: int) -> list[SourceRow]:
    """The next rows of an iterator, which is dropped at its end or when it fails."""
    rows = chunks.pop(number)
    if chunk := next(rows, []):
        chunks[number] = rows
    return chunk


if __name__ == "__main__":
    _kind: Any = sys.argv[3]
    answer_requests(_Reader(_kind).answer, sys.argv[1:3])
