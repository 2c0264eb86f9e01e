"""What a `BaselineProcess` runs: the stages of a run that its first process does not wait for, and halves of its validations.

`python -m medvistagym_trl.run CONNECTION LIFELINE FOLDER`, as a `ChildProcess` of the core starts it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from medvistagym_core.environment import make_task
from medvistagym_core.execution import RequestChannel
from medvistagym_core.plugins import Registry
from medvistagym_trl._libraries import configure_libraries
from medvistagym_trl.rollout import make_toolbox, mix_tasks
from medvistagym_trl.run._folder import RunFolder
from medvistagym_trl.run._pipeline import TrainingPipeline


def main(arguments: list[str]) -> int:
    """Run the side stages of the folder named on the command line."""
    first = RequestChannel(arguments[:2])
    configure_libraries()
    folder = Path(arguments[2])
    recipe = RunFolder.read_recipe(folder)
    registry = Registry.discover()
    run = RunFolder.resume(folder, make_toolbox(recipe, registry), beside=True)
    try:
        task = mix_tasks([make_task(registry, name, recipe.task_arguments) for name in recipe.tasks])
        TrainingPipeline(run, task, registry, beside=True).run_beside(first)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
