"""A worker process as its parent sees it, and the worker processes of an executor."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from medvistagym_core.execution._child_process import ChildProcess, signal_name
from medvistagym_core.execution._fork import register_fork_reset
from medvistagym_core.execution._pickle_channel import TOOL_LOADED, UnpicklableMessageError
from medvistagym_core.execution._tool_reference import ToolReference
from medvistagym_core.tools import CORE, ToolError, ToolResult, core_version

START_S: Final = 120.0
_END_S: Final = 5.0
MAX_GROWTH_BYTES: Final = 2**30
"""Memory that a process may gain after the first results of its tools before another takes its place: its tools leak."""


class WorkerExitedError(Exception):
    """The process ended, or was ended; `str` says how, as what its tool did."""


class WorkerTimeoutError(Exception):
    """The tool exceeded its limit; the process was ended."""


class WorkerProcess:
    """A process that runs tools, one call after another.

    Args:
        python: Its interpreter, which must have this version of the core installed; the one of this process when None.
    """

    def __init__(self, python: str | None = None) -> None:
        self.python = python
        self._child = ChildProcess("medvistagym_core.execution._worker_main", python=python, output=True)
        self._loaded: set[str] = set()
        self._settled_bytes: int | None = None  # once its tools are loaded

    def results(
        self,
        name: str,
        origin: ToolReference,
        calls: Sequence[Mapping[str, Any]],
        limit: float | None,
        *,
        together: bool,
    ) -> Iterator[ToolResult]:
        """The results of calls, each as soon as it is there.

        Args:
            name: The tool's name.
            origin: Where it is from.
            calls: Arguments with images in place of handles.
            limit: Seconds allowed to each call; None for no limit.
            together: Whether the tool's kernel takes them all at once.

        Raises:
            ToolError: `tool_failed`, since the tool cannot be loaded there, so that no call of it can succeed.
            WorkerExitedError: The process ended before all results were there.
            WorkerTimeoutError: The call after those already given took too long.
        """
        whole = True
        try:
            if name not in self._loaded:
                self._settled_bytes = None
            self._child.send((name, None if name in self._loaded else origin, calls, together))
            whole = False
            self._begin(name)
            if together:
                yield from self._answer(name, None if limit is None else limit * len(calls), len(calls))
            else:
                for _ in calls:
                    yield from self._answer(name, limit, 1)
            whole = True
        except TimeoutError:
            raise WorkerTimeoutError from None
        except (EOFError, OSError):
            raise WorkerExitedError(self._end()) from None
        finally:
            if not whole and self.alive:  # what is still to come would be taken for the answer to the next request
                self.kill()

    def _begin(self, name: str) -> None:
        try:
            answer = self._child.receive(START_S)
        except TimeoutError:
            raise ToolError("tool_failed", f"{name} was not loaded within {START_S:g} s.") from None
        except (EOFError, OSError):
            raise ToolError("tool_failed", f"{name} {self._end()} while it was loaded{self._remedy()}.") from None
        if isinstance(answer, ToolError):
            raise answer
        if not (isinstance(answer, str) and answer == TOOL_LOADED):
            raise ToolError("tool_failed", f"{name} broke its process while it was loaded.")
        self._loaded.add(name)

    def _answer(self, name: str, limit: float | None, count: int) -> list[ToolResult]:
        try:
            answer = self._child.receive(limit)
        except UnpicklableMessageError as error:
            message = f"{name} gave a result that cannot be handed over: {error}."
            return [ToolResult(error=ToolError("tool_failed", message))] * count
        answers = answer if isinstance(answer, list) else [answer]
        if len(answers) != count or not all(isinstance(one, ToolResult) for one in answers):
            raise ToolError("tool_failed", f"{name} broke the connection to its process.")
        return answers

    def kill(self) -> None:
        """End it and whatever it started, at once."""
        self._child.end(0)

    def has_outgrown(self) -> bool:
        """Whether it holds `MAX_GROWTH_BYTES` more than after the first results of the tool that was loaded last.

        False where the system does not say what a process holds.
        """
        size = self._child.memory_bytes
        if size is None:
            return False
        if self._settled_bytes is None:
            self._settled_bytes = size
        return size - self._settled_bytes > MAX_GROWTH_BYTES

    def reset_after_fork(self) -> None:
        """Leave it to the process that this one was forked from."""
        self._child.let_go()

    @property
    def alive(self) -> bool:
        """Whether it can be used."""
        return self._child.alive

    def _remedy(self) -> str:
        """What to do when another interpreter ends at once: most often it lacks the core."""
        if self.python is None:
            return ""
        return f"; {self.python} needs {CORE} {core_version()} and the tool's package (pip install)"

    def _end(self) -> str:
        """How it ended."""
        code = self._child.end(_END_S)
        if code is None:
            return "broke off the connection to its process"
        if name := signal_name(code):
            return f"crashed its process ({name})"
        return f"ended its process (exit code {code})"


class WorkerProcessPool:
    """At most `max_processes` worker processes, started when they are needed and replaced when they end."""

    def __init__(self, max_processes: int) -> None:
        self.max_processes = max_processes
        self._free = threading.Semaphore(max_processes)
        self._idle: list[WorkerProcess] = []
        self._all: set[WorkerProcess] = set()
        self._lock = threading.Lock()
        self._closed = False
        register_fork_reset(self)

    def reset_after_fork(self) -> None:
        """Begin anew in a forked child, whose questions would get mixed with those of its parent."""
        for process in self._all:
            process.reset_after_fork()
        self._free, self._lock = threading.Semaphore(self.max_processes), threading.Lock()
        self._idle, self._all = [], set()

    @contextlib.contextmanager
    def acquire(self, python: str | None = None) -> Iterator[WorkerProcess]:
        """A process for the time being; waits for one when all are at work.

        Args:
            python: Its interpreter; that of this process when None.

        Raises:
            ToolError: `tool_failed`, since the executor was closed or the system starts no process.
        """
        with self._free:
            process = self._take_idle(python)
            try:
                yield process
            finally:
                outgrown = process.alive and process.has_outgrown()
                with self._lock:
                    if process.alive and not self._closed and not outgrown:
                        self._idle.append(process)
                    else:
                        self._all.discard(process)
                if outgrown:
                    process.kill()

    def _take_idle(self, python: str | None) -> WorkerProcess:
        with self._lock:
            while not self._closed and (idle := [process for process in self._idle if process.python == python]):
                process = idle[-1]
                self._idle.remove(process)
                if process.alive:
                    return process
                self._all.discard(process)
                process.kill()
            if self._closed:
                raise ToolError("tool_failed", "The tools were closed before this call ran.")
            try:
                process = WorkerProcess(python)
            except OSError as error:
                raise ToolError("tool_failed", f"No process can be started for the tool: {error}.") from None
            self._all.add(process)
            return process

    def close(self) -> None:
        """End them all."""
        with self._lock:
            self._closed = True
            processes, self._all, self._idle = list(self._all), set(), []
        for process in processes:
            process.kill()
