"""Calls of one tool that are run in one go, and what came of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

from medvistagym_core.tools import Tool, ToolError, ToolResult


class WorkItem:
    """One call; or several of a tool with a kernel for many, or of a tool that takes one call at a time.

    Args:
        tool: The tool.
        calls: The arguments of each call, with images in place of handles.

    Attributes:
        results: The results so far, one for each call in order.
        deadline: When the call that runs now has taken too long, on the clock of `time.monotonic`; None while none runs, or
            where the tool has no time limit.
    """

    def __init__(self, tool: Tool, calls: Sequence[Mapping[str, Any]]) -> None:
        self.tool = tool
        self.calls = calls
        self.results: list[ToolResult] = []
        self.deadline: float | None = None
        self._expired = False
        self._lock = threading.Lock()

    @property
    def items(self) -> list[WorkItem]:
        """Itself, as a job that has one item."""
        return [self]

    def run(self, *, interruptible: bool = False) -> None:
        """Run the calls; afterwards there is a result for each.

        Args:
            interruptible: Whether Ctrl-C ends it: in the calling thread, not in one that nobody waits for.
        """
        if self.tool.batched and len(self.calls) > 1:
            began = monotonic()
            results = self._run_part(self.calls, interruptible)
            share_s = (monotonic() - began) / len(self.calls)
            self._add([result.with_seconds(share_s) for result in results])
            return
        for call in self.calls:
            if not self._add(self._run_part([call], interruptible)):
                return

    def _run_part(self, calls: Sequence[Mapping[str, Any]], interruptible: bool) -> list[ToolResult]:
        limit_s = self.tool.timeout_s
        self.deadline = None if limit_s is None else monotonic() + limit_s * len(calls)
        try:
            return self.tool.run_batch(calls)
        except BaseException as error:  # an exit or a cancellation costs the tool's calls one error each
            if interruptible and isinstance(error, KeyboardInterrupt):
                raise
            return self._errors(len(calls), f"{self.tool.name} failed with {type(error).__name__}.")

    def _add(self, results: list[ToolResult]) -> bool:
        """Add results, unless they come too late: then the calls have been answered for, and it gives False."""
        with self._lock:
            if self._expired:
                return False
            self.results += results
            self.deadline = None
            return True

    def expire(self) -> bool:
        """Answer for the calls that are not done if one takes too long: that one, and those behind it, which will not run."""
        with self._lock:
            if self.deadline is None or monotonic() <= self.deadline:
                return False
            self._expired = True
            count = len(self.calls) if self.tool.batched else 1
            limit = self.tool.timeout_s
            late = ToolError("timeout", f"{self.tool.name} took longer than {limit:g} s and was given up.")
            self.results += [ToolResult(error=late) for _ in range(count)]
            self.fail(f"{self.tool.name} did not run: an earlier call of it has not come back.")
            return True

    def fail(self, sentence: str) -> None:
        """Answer for the calls that are not done with an error."""
        self.results += self._errors(len(self.calls) - len(self.results), sentence)

    def _errors(self, count: int, sentence: str) -> list[ToolResult]:
        return [ToolResult(error=ToolError("tool_failed", sentence)) for _ in range(count)]
