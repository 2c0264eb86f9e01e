"""Running tools in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

from medvistagym_core.execution._base import CallRequest
from medvistagym_core.execution._result_cache import ResultCache
from medvistagym_core.execution._schedule import Runner, schedule_calls
from medvistagym_core.execution._thread_pool import JobStream, ThreadPool
from medvistagym_core.execution._work_item import WorkItem
from medvistagym_core.tools import Toolbox, ToolResult

CACHE_BYTES: Final = 256 * 2**20


class LocalExecutor:
    """Runs tools in this process: light ones in the calling thread, others in threads that overlap.

    Args:
        toolbox: The tools that may be called.
        workers: Calls at work at a time.
        cache_bytes: Memory for results of deterministic tools, by content; 0 for none.
    """

    def __init__(self, toolbox: Toolbox, *, workers: int = 64, cache_bytes: int = CACHE_BYTES) -> None:
        self.toolbox = toolbox
        self._threads = ThreadPool(workers)
        self._cache = ResultCache(cache_bytes)

    def close(self) -> None:
        """Let the threads end and drop the cache."""
        self._threads.close()
        self._cache.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def run(self, requests: Sequence[CallRequest]) -> list[list[ToolResult]]:
        """The results of every call, as `requests` are nested; images are in the stores, their handles in the results."""
        return schedule_calls(requests, self.toolbox, self.open_runner(), self._cache)

    def open_runner(self) -> Runner:
        """What runs work items here, for an executor that sends others elsewhere."""
        return _LocalRunner(self._threads)


class _LocalRunner:
    """Runs light tools at once and hands everything else to threads."""

    def __init__(self, threads: ThreadPool) -> None:
        self._threads = threads
        self._stream: JobStream[WorkItem] | None = None
        self._done: list[WorkItem] = []

    def submit(self, items: list[WorkItem]) -> None:
        heavy = [item for item in items if not item.tool.light]
        if heavy:
            self._stream = self._stream or self._threads.open_stream()
            self._stream.submit(heavy)
        for item in items:
            if item.tool.light:
                item.run(interruptible=True)
                self._done.append(item)

    def wait(self) -> list[WorkItem]:
        if self._done:
            done, self._done = self._done, []
            return done
        return self._stream.wait() if self._stream is not None else []

    def abandon(self) -> None:
        if self._stream is not None:
            self._stream.abandon()
