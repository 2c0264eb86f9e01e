"""The second process of a run: policies to compare with, and the evaluation of SFT's, while the first goes on.

It saves time and nothing else: when it cannot do its work (a task that only the first process has, a crash), the first
process does it afterwards.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from medvistagym_core.execution import module_program


class BaselineProcess:
    """A second process at work on a run folder (`python -m medvistagym_trl.run FOLDER`); leaving the context ends it."""

    def __init__(self, folder: Path) -> None:
        # It ends when its standard input does: so it never outlives this process, however that ends.
        command = module_program(sys.executable, "medvistagym_trl.run", str(folder))
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, "MALLOC_ARENA_MAX": "2"})

    def wait(self) -> None:
        """Until it has ended, well or not."""
        self._process.wait()

    def stop(self) -> None:
        """End it if it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
