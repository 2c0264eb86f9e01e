"""Calls of one tool that are run in one go, and what came of them."""

from __future__ import annotations

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
    """

    def __init__(self, tool: Tool, calls: Sequence[Mapping[str, Any]]) -> None:
        self.tool = tool
        self.calls = calls
        self.results: list[ToolResult] = []

    @property
    def parts(self) -> list[Sequence[Mapping[str, Any]]]:
        """The calls, those that the tool takes together in one part."""
        return [self.calls] if self.tool.batched or len(self.calls) == 1 else [[call] for call in self.calls]

    def run(self, *, interruptible: bool = False) -> None:
        """Run the calls; afterwards there is a result for each.

        Args:
            interruptible: Whether Ctrl-C ends it: in the calling thread, not in one that nobody waits for.
        """
        for calls in self.parts:
            self.results += self.run_part(calls, interruptible=interruptible)

    def run_part(self, calls: Sequence[Mapping[str, Any]], *, interruptible: bool = False) -> list[ToolResult]:
        """The results of calls that the tool takes together.

        Args:
            calls: One of `parts`.
            interruptible: As of `run`.
        """
        began = monotonic()
        try:
            results = self.tool.run_batch(calls)
        except BaseException as error:  # an exit or a cancellation costs the tool's calls one error each
            if interruptible and isinstance(error, KeyboardInterrupt):
                raise
            failed = ToolError("tool_failed", f"{self.tool.name} failed with {type(error).__name__}.")
            results = [ToolResult(error=failed)] * len(calls)
        if len(calls) == 1:
            return results
        share_s = (monotonic() - began) / len(calls)
        return [result.with_seconds(share_s) for result in results]
