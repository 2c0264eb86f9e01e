"""`python -m medvistagym_trl.run FOLDER`: the stages of a run that its first process does not wait for."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from medvistagym_core.environment import make_task
from medvistagym_core.plugins import Registry
from medvistagym_trl._libraries import configure_libraries
from medvistagym_trl.rollout import make_toolbox, mix_tasks
from medvistagym_trl.run._folder import RunFolder
from medvistagym_trl.run._pipeline import TrainingPipeline


def exit_when_stdin_closes() -> None:
    """End this process as soon as its standard input is closed."""

    def watch() -> None:
        while os.read(0, 1):  # not through sys.stdin, whose lock a forked data loader would find held for ever
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: list[str]) -> int:
    """Run the side stages of the folder named on the command line."""
    exit_when_stdin_closes()
    configure_libraries()
    folder = Path(arguments[0])
    recipe = RunFolder.read_recipe(folder)
    registry = Registry.discover()
    run = RunFolder.resume(folder, make_toolbox(recipe, registry), beside=True)
    try:
        task = mix_tasks([make_task(registry, name, recipe.task_arguments) for name in recipe.tasks])
        TrainingPipeline(run, task, registry, beside=True).run_beside()
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
