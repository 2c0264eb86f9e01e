"""Tables that compiled libraries read, in a process of their own.

pyarrow ends its process on some damaged parquet files, and allocates what a file claims. So such a table is read by a child,
whose end costs one sentence. Requests and answers follow each other: rows come some at a time, whenever they are asked for.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, Final, Literal

from medvistagym_core.environment.questions._source import QuestionSource, SourceRow
from medvistagym_core.execution import register_fork_reset

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
        self._child: _Child | None = None
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
                self._child = _Child(self._kind)
                self._send(("open", *self._arguments))
            return self._send(request)

    def _send(self, request: tuple[Any, ...]) -> Any:
        assert self._child is not None
        child = self._child
        try:
            status, answer = child.ask(request)
        except (EOFError, OSError):
            self._child = None
            raise ValueError(f"{self.label} is damaged: {child.end()} while it was read") from None
        except BaseException:  # its answer would be taken for that to the next request
            self._child = None
            child.end()
            raise
        if status == "error":
            raise ValueError(answer)
        return answer

    def __getstate__(self) -> dict[str, Any]:
        return {"kind": self._kind, "arguments": self._arguments, "label": self.label}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


class _Child:
    def __init__(self, kind: Kind) -> None:
        here, there = Pipe()
        with there:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(there.fileno()), kind],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(there.fileno(),),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
                start_new_session=True,  # Ctrl-C is for the parent
            )
        self._connection: Connection = here
        self.let_go = weakref.finalize(self, _let_go, here, self._process, os.getpid())

    def ask(self, request: tuple[Any, ...]) -> tuple[str, Any]:
        self._connection.send(request)
        if not self._connection.poll(_ANSWER_S):
            raise EOFError
        status, answer = self._connection.recv()
        return str(status), answer

    def end(self) -> str:
        """End it; how it ended."""
        self._connection.close()
        try:
            code = self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return "its reader took too long"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"its reader crashed ({signal.Signals(-code).name})"
        return "its reader ended"


def _let_go(connection: Connection, process: subprocess.Popen[bytes], owner: int) -> None:
    connection.close()
    if owner != os.getpid():
        process.returncode = 0  # it is no child of this process
        return
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _main(descriptor: int, kind: Kind) -> None:
    connection = Connection(descriptor)
    source: QuestionSource | None = None
    chunks: dict[int, Iterator[list[SourceRow]]] = {}
    numbers = itertools.count()
    while True:
        try:
            name, *arguments = connection.recv()
        except EOFError:
            return
        try:
            answer: Any = None
            if name == "open":
                with contextlib.suppress(ImportError):  # opening says what is not installed
                    importlib.import_module("pyarrow.parquet" if kind == "parquet" else "datasets")
                _limit_memory()  # beyond what the libraries take
                source = _open(kind, *arguments)
            elif source is None:
                raise ValueError("it could not be opened")
            elif name == "columns":
                answer = source.columns
            elif name == "rows":
                answer = next(numbers)
                chunks[answer] = _in_chunks(source.rows())
            elif name == "next":
                answer = _next_chunk(chunks, *arguments)
            else:
                answer = source.cell(*arguments)
            connection.send(("value", answer))
        except BrokenPipeError:
            return
        except MemoryError:
            connection.send(("error", f"it takes more than {_MAX_BYTES >> 30} GiB to read"))
        except Exception as error:  # noqa: BLE001 - of the library that reads it
            text = str(error).strip() or type(error).__name__
            connection.send(("error", text if isinstance(error, ValueError) else f"it cannot be read: {text[:300]}"))


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


def _limit_memory() -> None:
    """Let this process allocate so much beyond what it has; Linux keeps to it, other systems have no such limit."""
    try:
        import resource

        status = Path("/proc/self/status").read_text("ascii")
    except (ImportError, OSError):
        return
    (kibibytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmData:"))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = int(kibibytes) * 1024 + _MAX_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2])  # type: ignore[arg-type]
