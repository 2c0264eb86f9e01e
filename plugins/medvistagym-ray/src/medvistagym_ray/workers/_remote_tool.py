"""A tool of the toolbox and where it runs, the parts that its calls are sent in, and what a turn of them took."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence

from medvistagym_core.execution import WorkItem
from medvistagym_core.tools import Tool, ToolResult
from medvistagym_ray.workers._call_batch import SharedTool
from medvistagym_ray.workers._worker_group import WorkerGroup


class RemoteTool:
    """A tool of the toolbox and where it runs.

    Attributes:
        tool: The tool.
        shared: As workers have it; None if it never leaves this process.
        group: Its workers.
        auto: Whether this process may run it too.
        seconds: Time of a call, as measured; None at first.
    """

    def __init__(self, tool: Tool, shared: SharedTool | None, group: WorkerGroup | None, *, auto: bool) -> None:
        self.tool = tool
        self.shared = shared
        self.group = group
        self.auto = auto
        self.seconds: float | None = None


class CallPart:
    """Calls that are sent to a worker together: `(item, position)`, in groups that run together."""

    def __init__(self, remote: RemoteTool, groups: list[list[tuple[WorkItem, int]]]) -> None:
        self.remote = remote
        self.groups = groups
        self.id = uuid.uuid4().hex
        self.tries = 0

    @property
    def calls(self) -> list[tuple[WorkItem, int]]:
        return [call for group in self.groups for call in group]


class ToolTurn:
    """Calls of a function that began together.

    Args:
        location: "local" or "pool".
        calls: How many.
    """

    def __init__(self, location: str, calls: int) -> None:
        self.location = location
        self.calls = calls
        self.began = time.perf_counter()
        self._left = calls
        self._seconds: list[float] = []

    @property
    def kernel_s(self) -> float | None:
        """Time of the function's own code a call; None if none ran."""
        return sum(self._seconds) / len(self._seconds) if self._seconds else None

    def add(self, results: Sequence[ToolResult]) -> bool:
        """Take note of calls that are done; whether all are."""
        self._seconds += [result.seconds for result in results if not result.cached]
        self._left -= len(results)
        return self._left <= 0
