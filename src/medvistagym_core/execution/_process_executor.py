"""The executor whose tools run in processes of their own."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

from medvistagym_core.execution._local import CACHE_BYTES, LocalExecutor
from medvistagym_core.execution._schedule import CallBatch
from medvistagym_core.execution._thread_pool import CPU_COUNT, TIMED_OUT
from medvistagym_core.execution._tool_profile import ToolProfile
from medvistagym_core.execution._tool_reference import ToolReference, tool_references
from medvistagym_core.execution._worker_process import WorkerExitedError, WorkerProcessPool, WorkerTimeoutError
from medvistagym_core.tools import Toolbox, ToolError, ToolResult


class ProcessExecutor(LocalExecutor):
    """Runs tools in worker processes, which are started when first needed and stay.

    The calls of a tool cross to a process together, arrays as they lie in memory. A tool that ends its process costs
    the call it was at a `tool_failed`; the others are made again in a new process, one by one where a batched kernel
    had them all. A call that exceeds its limit is stopped, with its process. A process ends with its parent, however
    that ends.

    A tool is imported by the process, from its module or its file, so it must stand at the top of one. Each process sets up
    what a tool keeps for itself.

    Args:
        toolbox: The tools that may be called.
        processes: Most processes at a time.
        cache_bytes: Memory for results of deterministic tools, by content; 0 for none.

    Raises:
        IsolationError: A tool cannot run in another process.
    """

    _inline = False

    def __init__(self, toolbox: Toolbox, *, processes: int = min(CPU_COUNT, 8), cache_bytes: int = CACHE_BYTES) -> None:
        if processes < 1:
            raise ValueError(f"processes is at least 1, not {processes}")
        super().__init__(toolbox, workers=processes, cache_bytes=cache_bytes)
        self._origins = tool_references(toolbox.values())
        self._processes = WorkerProcessPool(processes)

    def close(self) -> None:
        """End the processes and drop the cache."""
        self._processes.close()
        super().close()

    def _split_batch(self, group: CallBatch) -> list[list[int]]:
        count = len(group.arguments)
        if group.known.batched:
            return [list(range(count))]
        parts = min(count, self._processes.most)
        return [list(range(first, count, parts)) for first in range(parts)]

    def _limit(self, known: ToolProfile, count: int) -> float | None:
        return None  # a process keeps to it, call by call

    def _unit(self, known: ToolProfile, arguments: Sequence[dict[str, Any]]) -> ProcessWorkItem:
        return ProcessWorkItem(self._processes, self._origins[known.tool.name], known, arguments)


class ProcessWorkItem:
    """Some calls of a tool, made in a process."""

    def __init__(
        self,
        processes: WorkerProcessPool,
        origin: ToolReference,
        known: ToolProfile,
        arguments: Sequence[dict[str, Any]],
    ) -> None:
        self._processes = processes
        self._origin = origin
        self._known = known
        self._arguments = arguments

    def __call__(self) -> list[ToolResult]:
        """The results."""
        began = perf_counter()
        calls, results = self._arguments, list[ToolResult]()
        together = self._known.batched and len(calls) > 1
        while len(results) < len(calls):
            together = self._go_on(results, together) and together
        wall = perf_counter() - began
        self._known.record_timing(wall, 0.0)
        if self._known.batched and len(calls) > 1:
            return [result.with_seconds(wall / len(calls)) for result in results]
        return results

    def _go_on(self, results: list[ToolResult], together: bool) -> bool:
        """Add results, at least one unless a batch crashed; then, not to be tried again, False."""
        known, name = self._known, self._known.tool.name
        rest = self._arguments[len(results) :]
        try:
            with self._processes.acquire() as process:
                for result in process.results(name, self._origin, rest, known.timeout_s, together=together):
                    results.append(result)  # noqa: PERF402 those before a crash count
        except WorkerExitedError as ended:
            if together:
                return False
            results.append(ToolResult(error=ToolError("tool_failed", f"{name} {ended}.")))
        except WorkerTimeoutError:
            results += known.to_results(TIMED_OUT, len(rest) if together else 1)
        except ToolError as error:
            results += [ToolResult(error=error)] * (len(self._arguments) - len(results))
        return True
