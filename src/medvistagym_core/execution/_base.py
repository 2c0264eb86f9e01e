"""The `Executor` contract: it takes the calls of many episodes and returns their results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from medvistagym_core.execution._image_store import ImageStore
from medvistagym_core.tools import Toolbox, ToolCall, ToolResult

CallRequest = tuple[ImageStore, Sequence[ToolCall]]
"""The calls of one episode's turn, in order, and the images that they may name."""


class Executor(Protocol):
    """Runs the calls of many episodes.

    A plugin offers one by the hook `medvistagym_executors`, as a function of the toolbox. `schedule_calls` does everything
    that is not particular to where tools run.
    """

    @property
    def toolbox(self) -> Toolbox:
        """The tools that may be called."""
        ...

    def run(self, requests: Sequence[CallRequest]) -> list[list[ToolResult]]:
        """The results of every call, as `requests` are nested; images are in the stores, their handles in the results.

        A fault of the policy or of a tool is a result with an error, never an exception.
        """
        ...

    def close(self) -> None:
        """Give back what it holds: threads, processes, connections."""
        ...
