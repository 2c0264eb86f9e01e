"""The second process of a run: it trains the policies to compare with while the first goes on with the main one.

`python -m medvistagym_trl.side FOLDER` runs the side phases of a run folder. It saves time and nothing else: when it cannot
do its work (a task that only the first process knows, a crash), the first process does it afterwards.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path


class Side:
    """A side process at work on a run folder."""

    def __init__(self, folder: Path) -> None:
        # It ends when its standard input does: so it never outlives this process, however that ends.
        command = [sys.executable, "-m", "medvistagym_trl.side", str(folder)]
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


def end_with_parent() -> None:
    """End this process as soon as its standard input is closed."""

    def watch() -> None:
        while os.read(0, 1):  # not through sys.stdin, whose lock a forked data loader would find held for ever
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: list[str]) -> int:
    """Run the side phases of the folder named on the command line."""
    end_with_parent()
    from medvistagym_core.plugins import Registry
    from medvistagym_trl.trainer import quiet

    quiet()
    from medvistagym_trl.phases import Phases
    from medvistagym_trl.run import Run
    from medvistagym_trl.world import make_toolbox

    folder = Path(arguments[0])
    recipe = Run.recipe_of(folder)
    registry = Registry.discover()
    run = Run.resume(folder, make_toolbox(recipe, registry))
    try:
        Phases(run, registry.task(recipe.task)).side()
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
