"""The executor whose tools run in processes of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, Self

from medvistagym_core.execution._base import CallRequest
from medvistagym_core.execution._result_cache import CACHE_BYTES, ResultCache
from medvistagym_core.execution._schedule import ResultFilter, WorkItem, schedule_calls
from medvistagym_core.execution._thread_pool import CPU_COUNT, JobStream, ThreadPool
from medvistagym_core.execution._tool_reference import ToolReference, tool_references
from medvistagym_core.execution._worker_process import WorkerExitedError, WorkerProcessPool, WorkerTimeoutError
from medvistagym_core.tools import Tool, Toolbox, ToolError, ToolResult


class ProcessExecutor:
    """Runs tools in worker processes, which are started when first needed and stay.

    The calls of a tool cross to a process together, arrays as they lie in memory. A tool that ends its process costs
    the call it was at a `tool_failed`; the others are made again in a new process, one by one where a batched kernel
    had them all. A call that exceeds its limit is stopped, with its process. A process ends with its parent, however
    that ends.

    A tool is imported by the process, from its module or its file, so it must stand at the top of one. Each process sets up
    what a tool keeps for itself.

    Args:
        toolbox: The tools that may be called.
        processes: Processes at a time.
        cache_bytes: Memory for results of deterministic tools, by content; 0 for none.
        result_filter: Makes the result that is handed on of what each call gave; None hands it on as it is.

    Raises:
        NotImportableToolError: A tool cannot run in another process.
        ValueError: `processes` is below 1.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        *,
        processes: int = min(CPU_COUNT, 8),
        cache_bytes: int = CACHE_BYTES,
        result_filter: ResultFilter | None = None,
    ) -> None:
        if processes < 1:
            raise ValueError(f"processes is at least 1, not {processes}")
        self._toolbox = toolbox
        self._references = tool_references(toolbox.values())
        self._threads = ThreadPool(processes)  # each waits for one process
        self._processes = WorkerProcessPool(processes)
        self._cache = ResultCache(cache_bytes)
        self._result_filter = result_filter

    @property
    def toolbox(self) -> Toolbox:
        """The tools that may be called; an executor keeps those that it was made with."""
        return self._toolbox

    def close(self) -> None:
        """End the processes and drop the cache."""
        self._processes.close()
        self._threads.close()
        self._cache.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def run(self, requests: Sequence[CallRequest], *, max_timeout_s: float | None = None) -> list[list[ToolResult]]:
        """The results of every call, as `requests` are nested; images are in the stores, their handles in the results.

        Args:
            requests: Calls, each group with the store of its images.
            max_timeout_s: Seconds for a call whose tool may take longer; None for the tool's own limit.
        """
        runner = ProcessRunner(self._threads.open_stream(), self._processes, self._references, max_timeout_s)
        return schedule_calls(requests, self._toolbox, runner, self._cache, self._result_filter)


class ProcessRunner:
    """Hands the items of each tool to processes, in as many parts as there are processes."""

    def __init__(
        self,
        stream: JobStream[Any],
        processes: WorkerProcessPool,
        references: Mapping[str, ToolReference],
        max_timeout_s: float | None = None,
    ) -> None:
        self._stream = stream
        self._processes = processes
        self._references = references
        self._max_timeout_s = max_timeout_s

    def submit(self, items: list[WorkItem]) -> None:
        by_tool: dict[str, list[WorkItem]] = {}
        jobs: list[_ProcessJob] = []
        for item in items:
            if len(item.calls) > 1:
                jobs.append(self._make_job([item]))
            else:
                by_tool.setdefault(item.tool.name, []).append(item)
        for group in by_tool.values():
            parts = min(len(group), self._processes.max_processes)
            jobs += [self._make_job(group[first::parts]) for first in range(parts)]
        self._stream.submit(jobs)

    def wait(self) -> list[WorkItem]:
        return [item for job in self._stream.wait() for item in job.items]

    def abandon(self) -> None:
        self._stream.abandon()

    def _make_job(self, items: list[WorkItem]) -> _ProcessJob:
        tool = items[0].tool
        limits = [limit for limit in (tool.timeout_s, self._max_timeout_s) if limit is not None]
        timeout_s = min(limits, default=None)
        return _ProcessJob(self._processes, self._references[tool.name], items, timeout_s)


class _ProcessJob:
    """Items of one tool, run in a process, which keeps to the time limit of each call."""

    deadline = None

    def __init__(
        self, processes: WorkerProcessPool, reference: ToolReference, items: Sequence[WorkItem], timeout_s: float | None
    ) -> None:
        self._processes = processes
        self._reference = reference
        self.items = items
        self._timeout_s = timeout_s

    def expire(self) -> bool:
        """It is the process that ends a call."""
        return False

    def run(self) -> None:
        """Run the items."""
        tool = self.items[0].tool
        calls = [call for item in self.items for call in item.calls]
        batch = tool.batched and len(calls) > 1 and len(self.items) == 1
        began = perf_counter()
        results: list[ToolResult] = []
        while len(results) < len(calls):
            batch = self._add_results(tool, calls, results, batch=batch) and batch
        if tool.batched and len(calls) > 1 and len(self.items) == 1:
            share_s = (perf_counter() - began) / len(calls)
            results = [result.with_seconds(share_s) for result in results]
        for item in self.items:
            item.results, results = results[: len(item.calls)], results[len(item.calls) :]

    def _add_results(
        self, tool: Tool, calls: Sequence[Mapping[str, Any]], results: list[ToolResult], *, batch: bool
    ) -> bool:
        """Add results, at least one unless a batch crashed: then, which is not to be tried again, False."""
        rest = calls[len(results) :]
        try:
            with self._processes.acquire(self._reference.python) as process:
                for result in process.results(tool.name, self._reference, rest, self._timeout_s, together=batch):
                    results.append(result)  # noqa: PERF402 those before a crash count
        except WorkerExitedError as exited:
            if batch:
                return False
            results.append(ToolResult(error=ToolError("tool_failed", f"{tool.name} {exited}.")))
        except WorkerTimeoutError:
            late = ToolError("timeout", f"{tool.name} took longer than {self._timeout_s:g} s and was given up.")
            results += [ToolResult(error=late)] * (len(rest) if batch else 1)
        except ToolError as error:
            results += [ToolResult(error=error)] * (len(calls) - len(results))
        except Exception as error:  # noqa: BLE001 a broken process must not leave its calls without an answer
            broken = ToolError("tool_failed", f"{tool.name} failed with {type(error).__name__}.")
            results += [ToolResult(error=broken)] * (len(calls) - len(results))
        return True
