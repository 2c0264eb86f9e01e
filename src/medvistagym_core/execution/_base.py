"""What an executor is: calls of many episodes in, results out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from medvistagym_core.execution._image_store import ImageStore
from medvistagym_core.tools import (
    Toolbox,
    ToolCall,
    ToolResult,
)

CallRequest = tuple[ImageStore, Sequence[ToolCall]]


class Executor(Protocol):
    """Runs the calls of many episodes."""

    @property
    def toolbox(self) -> Toolbox: ...
    def run(self, jobs: Sequence[CallRequest]) -> list[list[ToolResult]]: ...
    def close(self) -> None: ...
