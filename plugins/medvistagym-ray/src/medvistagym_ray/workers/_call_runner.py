"""Runs the calls of a worker, one group after another, and counts them.

It is not part of the actor's class: Ray wraps every method of that, which costs a call more than all that is done here.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from medvistagym_core.tools import Tool, ToolError, ToolResult
from medvistagym_ray.workers._call_journal import CallJournal, NoteCalls

_LATENCIES: Final = 512


class CallCounts(NamedTuple):
    """How many calls there were.

    Attributes:
        queued: Calls that wait.
        running: Calls that run.
        done: Calls that are done.
        mean_s: Mean time of the last calls.
        p95_s: Time that 95 of 100 of them did not exceed.
    """

    queued: int
    running: int
    done: int
    mean_s: float
    p95_s: float


class CallRunner:
    """Runs calls.

    Args:
        journal: Is told which calls run.
    """

    def __init__(self, journal: CallJournal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._received = self._done = self._running = 0
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)

    def receive(self, calls: int) -> None:
        """Count calls that came."""
        with self._lock:
            self._received += calls

    def refuse(self, calls: int) -> None:
        """Count calls that came and will not run."""
        with self._lock:
            self._done += calls

    def counts(self) -> CallCounts:
        """How many calls there were so far."""
        with self._lock:
            latencies = sorted(self._latencies)
            received, done, running = self._received, self._done, self._running
        mean_s = statistics.fmean(latencies) if latencies else 0.0
        p95_s = latencies[int(0.95 * (len(latencies) - 1))] if latencies else 0.0
        return CallCounts(received - done - running, running, done, mean_s, p95_s)

    def run(
        self,
        tool: Tool,
        calls: Sequence[dict[str, Any]],
        keys: Sequence[str],
        groups: Sequence[Sequence[int]],
        results: list[ToolResult | None],
    ) -> None:
        """Run groups of calls, and put each result at the position of its call.

        Args:
            tool: The tool.
            calls: Its arguments, of each call.
            keys: Of each call, by which the journal knows it.
            groups: Positions of the calls that run together.
            results: Of each call; changed.
        """
        with self._journal.running() as note:
            for group in groups:
                done = self._run_group(tool, [calls[k] for k in group], [keys[k] for k in group], note)
                for k, result in zip(group, done, strict=True):
                    results[k] = result

    def _run_group(self, tool: Tool, calls: list[dict[str, Any]], keys: list[str], note: NoteCalls) -> list[ToolResult]:
        """Results of calls that run together; what a tool throws beyond exceptions costs them one error each."""
        count = len(calls)
        with self._lock:
            self._running += count
        began = time.perf_counter()
        note(keys, None if tool.timeout_s is None else tool.timeout_s * count)
        try:
            results = tool.run_batch(calls)
        except BaseException as error:  # noqa: BLE001 an exit or a cancellation
            failed = ToolError("tool_failed", f"{tool.name} failed with {type(error).__name__}.")
            results = [ToolResult(error=failed) for _ in calls]
        share_s = (time.perf_counter() - began) / count
        if count > 1:
            results = [result.with_seconds(share_s) for result in results]
        with self._lock:
            self._running -= count
            self._done += count
            self._latencies.extend([share_s] * count)
        return results
