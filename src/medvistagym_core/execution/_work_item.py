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

    def run(self, *, interruptible: bool = False) -> None:
        """Run the calls; afterwards there is a result for each.

        Args:
            interruptible: Whether Ctrl-C ends it: in the calling thread, not in one that nobody waits for.
        """
        batch = self.tool.batched and len(self.calls) > 1
        for part in [self.calls] if batch else [[call] for call in self.calls]:
            self._start_clock(len(part))
            began = monotonic()
            try:
                results = self.tool.run_batch(part)
            except BaseException as error:  # an exit or a cancellation costs the tool's calls one error each
                if interruptible and isinstance(error, KeyboardInterrupt):
                    raise
                results = self._errors(len(part), f"{self.tool.name} failed with {type(error).__name__}.")
            if batch:
                results = [result.with_seconds((monotonic() - began) / len(part)) for result in results]
            with self._lock:
                if self._expired:  # given up on meanwhile, and answered for
                    return
                self.results += results
                self.deadline = None

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

    def _start_clock(self, calls: int) -> None:
        limit = self.tool.timeout_s
        self.deadline = None if limit is None else monotonic() + limit * calls

    def _errors(self, count: int, sentence: str) -> list[ToolResult]:
        return [ToolResult(error=ToolError("tool_failed", sentence)) for _ in range(count)]
