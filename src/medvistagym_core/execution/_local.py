"""Running tools in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from medvistagym_core.execution._base import CallRequest
from medvistagym_core.execution._process_executor import ProcessRunner
from medvistagym_core.execution._result_cache import CACHE_BYTES, ResultCache
from medvistagym_core.execution._schedule import ResultFilter, Runner, WorkItem, schedule_calls
from medvistagym_core.execution._thread_job import ThreadJob
from medvistagym_core.execution._thread_pool import CPU_COUNT, JobStream, ThreadPool
from medvistagym_core.execution._tool_reference import ToolReference, tool_references
from medvistagym_core.execution._worker_process import WorkerProcessPool
from medvistagym_core.tools import Toolbox, ToolResult


class LocalExecutor:
    """Runs tools in this process: light ones in the calling thread, others in threads that overlap.

    A tool that names an interpreter of its own (`Tool.python`) is run by that one, in a process that stays.

    Args:
        toolbox: The tools that may be called.
        workers: Calls at work at a time.
        cache_bytes: Memory for results of deterministic tools, by content; 0 for none.
        result_filter: Makes the result that is handed on of what each call gave; None hands it on as it is.

    Raises:
        NotImportableToolError: A tool names an interpreter that is not there, or cannot be run by another one.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        *,
        workers: int = 64,
        cache_bytes: int = CACHE_BYTES,
        result_filter: ResultFilter | None = None,
    ) -> None:
        self._toolbox = toolbox
        self._tools = dict(toolbox)  # looked up with every call
        self._references = tool_references(tool for tool in toolbox.values() if tool.python is not None)
        self._threads = ThreadPool(workers)
        self._processes = WorkerProcessPool(min(CPU_COUNT, 8))
        self._cache = ResultCache(cache_bytes)
        self._result_filter = result_filter

    @property
    def toolbox(self) -> Toolbox:
        """The tools that may be called; an executor keeps those that it was made with."""
        return self._toolbox

    def close(self) -> None:
        """End the processes, let the threads end and drop the cache."""
        self._processes.close()
        self._threads.close()
        self._cache.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def run(self, requests: Sequence[CallRequest]) -> list[list[ToolResult]]:
        """The results of every call, as `requests` are nested; images are in the stores, their handles in the results."""
        return schedule_calls(requests, self._tools, self.open_runner(), self._cache, self._result_filter)

    def open_runner(self) -> Runner:
        """What runs work items here, for an executor that sends others elsewhere."""
        return _LocalRunner(self._threads, self._processes, self._references)


class _LocalRunner:
    """Runs light tools at once and hands everything else to threads, which wait for those that run elsewhere."""

    def __init__(
        self, threads: ThreadPool, processes: WorkerProcessPool, references: Mapping[str, ToolReference]
    ) -> None:
        self._threads = threads
        self._processes = processes
        self._references = references
        self._stream: JobStream[Any] | None = None
        self._done: list[WorkItem] = []

    def submit(self, items: list[WorkItem]) -> None:
        light: list[WorkItem] = []
        heavy: list[WorkItem] = []
        elsewhere: list[WorkItem] = []
        for item in items:
            if item.tool.name in self._references:
                elsewhere.append(item)
            elif item.tool.light:
                light.append(item)
            else:
                heavy.append(item)
        if heavy or elsewhere:
            self._stream = self._stream or self._threads.open_stream()
            self._stream.submit([ThreadJob(item) for item in heavy])
            if elsewhere:
                ProcessRunner(self._stream, self._processes, self._references).submit(elsewhere)
        for item in light:
            item.run(interruptible=True)
        self._done += light

    def wait(self) -> list[WorkItem]:
        if self._done:
            done, self._done = self._done, []
            return done
        return [item for job in self._stream.wait() for item in job.items] if self._stream is not None else []

    def abandon(self) -> None:
        if self._stream is not None:
            self._stream.abandon()
