"""A work item in a thread of the pool, with the time limit of its tool."""

from __future__ import annotations

import threading
from time import monotonic

from medvistagym_core.execution._schedule import WorkItem
from medvistagym_core.tools import ToolError, ToolResult


class ThreadJob:
    """Runs a work item, and answers for the calls that take too long.

    Args:
        item: The item.

    Attributes:
        items: The item.
        deadline: When the call that runs now has taken too long, on the clock of `time.monotonic`; None while none runs, or
            where the tool has no time limit.
    """

    def __init__(self, item: WorkItem) -> None:
        self.items = [item]
        self.deadline: float | None = None
        self._expired = False
        self._lock = threading.Lock()

    def run(self) -> None:
        """Run the calls; afterwards there is a result for each."""
        (item,) = self.items
        limit_s = item.tool.timeout_s
        for calls in item.parts:
            self.deadline = None if limit_s is None else monotonic() + limit_s * len(calls)
            results = item.run_part(calls)
            with self._lock:
                if self._expired:  # the calls have been answered for
                    return
                item.results += results
                self.deadline = None

    def expire(self) -> bool:
        """Answer for the calls that are not done if one takes too long: that one, and those behind it, which will not run."""
        with self._lock:
            if self.deadline is None or monotonic() <= self.deadline:
                return False
            self._expired = True
            (item,) = self.items
            tool = item.tool
            late = ToolError("timeout", f"{tool.name} took longer than {tool.timeout_s:g} s and was given up.")
            item.results += [ToolResult(error=late)] * (len(item.calls) if tool.batched else 1)
            unrun = ToolError("tool_failed", f"{tool.name} did not run: an earlier call of it has not come back.")
            item.results += [ToolResult(error=unrun)] * (len(item.calls) - len(item.results))
            return True
