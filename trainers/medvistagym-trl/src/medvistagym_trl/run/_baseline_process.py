"""The second process of a run: policies to compare with, and what is evaluated of SFT's and GRPO's, while the first goes on.

It saves time and nothing else: when it cannot do its work (a task that only the first process has, a crash), the first
process does it afterwards.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from medvistagym_core.execution import ChildProcess


class BaselineProcess:
    """A second process at work on a run folder (`medvistagym_trl.run.__main__`); leaving the context ends it."""

    def __init__(self, folder: Path) -> None:
        self._child = ChildProcess("medvistagym_trl.run", str(folder), output=True, variables={"MALLOC_ARENA_MAX": "2"})

    def wait(self) -> None:
        """Until it has ended, well or not."""
        self._child.wait()

    def stop(self) -> None:
        """End it if it still runs; a step that it is taking is finished and saved."""
        self._child.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
