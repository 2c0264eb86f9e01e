"""What all stages of a run share: its folder, recipe, task and rollout contexts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

from medvistagym_core.environment import Task
from medvistagym_core.plugins import Registry
from medvistagym_core.tools import Toolbox
from medvistagym_trl._recipe import Recipe
from medvistagym_trl.model import LoadedModel, is_reference, referenced, to_device
from medvistagym_trl.rollout import RolloutContext, make_rollout_context
from medvistagym_trl.run._folder import RunFolder

SFT_CASES: Final = 5_000_000
GRPO_CASES: Final = 7_000_000
PLAIN_CASES: Final = 3_000_000
SELF_SAMPLING_CASES: Final = 9_000_000
TAIL_CASES: Final = 11_000_000
EXPLORATION_CASES: Final = 13_000_000
REDRAW_CASES: Final = 15_000_000
"""Where the training cases of each stage begin: no stage sees another's, where the task deals that many."""


@dataclasses.dataclass(frozen=True)
class RunSetup:
    """A run folder with what its recipe stands for.

    Attributes:
        folder: The run folder.
        task: The task, or the mix of tasks.
        context: Episodes with the run's toolbox.
        context_without_tools: The same without any tool.
    """

    folder: RunFolder
    task: Task
    context: RolloutContext
    context_without_tools: RolloutContext

    @property
    def recipe(self) -> Recipe:
        """The recipe."""
        return self.folder.recipe

    def load(self, phase: str) -> LoadedModel:
        """The model that a stage ended with, to be played."""
        return to_device(self.folder.load(phase, self.context.schemas))

    def load_to_train(self, phase: str) -> LoadedModel:
        """The model that a stage ended with, to be trained further."""
        return self.folder.load(phase, self.context.schemas, train=True)

    def pass_on(self, before: str, phase: str) -> None:
        """Let a stage that trains nothing end with the model that it began with."""
        source = self.folder.checkpoint(before)
        if is_reference(source):
            self.folder.save_reference(phase, str(referenced(source)))
        else:
            self.folder.save(phase, self.load_to_train(before))

    def trajectories(self, name: str) -> Path:
        """A trajectory file of the run."""
        return self.folder.path / "trajectories" / name

    def steps_folder(self, phase: str) -> Path:
        """Where the trainer of a stage keeps what it needs to go on."""
        return self.folder.path / "checkpoints" / f"{phase}_steps"

    def close(self) -> None:
        """Close the executors, and let the folder go."""
        self.context.close()
        self.context_without_tools.close()
        self.folder.close()


def make_setup(folder: RunFolder, task: Task, registry: Registry) -> RunSetup:
    """The setup of a run folder.

    Args:
        folder: The run folder.
        task: The recipe's task, or the mix of its tasks.
        registry: Gives reward terms and executors of plugins.
    """
    context = make_rollout_context(folder.recipe, task, folder.toolbox, registry)
    return RunSetup(folder, task, context, make_rollout_context(folder.recipe, task, Toolbox({}), registry))


def supervised_phases(recipe: Recipe) -> list[str]:
    """The supervised stages of the policy itself, in order; the last leaves the policy that GRPO begins with."""
    return ["sft", *(f"self_sampling_{number}" for number in range(1, recipe.sft.self_sampling.rounds + 1))]


def final_phase(recipe: Recipe) -> str:
    """The stage that leaves the trained policy."""
    return "grpo_tail" if recipe.grpo.tail.steps else "grpo"
