"""The second process of a run: policies to compare with, and what is evaluated of SFT's and GRPO's, while the first goes on.

While it waits for the first one, it plays the greedy half of that one's validations, where both compute alike.

It saves time and nothing else: when it cannot do its work (a task that only the first process has, a crash), the first
process does it afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from medvistagym_core.execution import ChildProcess


class BaselineProcess:
    """A second process at work on a run folder (`medvistagym_trl.run.__main__`); leaving the context ends it.

    Args:
        folder: The run folder.
        waits: Whether it has nothing to do before the first process has done more.
    """

    def __init__(self, folder: Path, waits: Callable[[], bool]) -> None:
        self._child = ChildProcess("medvistagym_trl.run", str(folder), output=True, variables={"MALLOC_ARENA_MAX": "2"})
        self._waits = waits

    @property
    def is_free(self) -> bool:
        """Whether it has nothing else to do."""
        return self._child.alive and self._waits()

    def ask(self, request: Any) -> bool:
        """Hand it a request while it is free, and go on; whether it was there to take it.

        Args:
            request: What `answer_validation` takes.
        """
        try:
            self._child.send(request)
        except OSError:
            return False
        return True

    def answer(self) -> Any:
        """The answer to the request that it was handed, once there is one; None where it ended instead."""
        try:
            return self._child.receive()
        except (EOFError, OSError):
            return None

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
