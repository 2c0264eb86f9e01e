"""What all stages of a run share: its folder, recipe, task and rollout contexts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.environment import HasPerceptionItems, Task
from medvistagym_core.plugins import Registry
from medvistagym_core.tools import Toolbox
from medvistagym_trl._ranks import weights_are_sharded
from medvistagym_trl._recipe import Recipe
from medvistagym_trl.model import LoadedModel, is_reference, referenced, to_device
from medvistagym_trl.rollout import RolloutContext, make_rollout_context
from medvistagym_trl.run._folder import RunFolder
from medvistagym_trl.stages import PerceptionCollator, SamplingEngine, engine_refusal, measure_tokens, vllm_mode

if TYPE_CHECKING:
    from medvistagym_trl.run._baseline_process import BaselineProcess

SFT_CASES: Final = 5_000_000
GRPO_CASES: Final = 7_000_000
PLAIN_CASES: Final = 3_000_000
SELF_SAMPLING_CASES: Final = 9_000_000
TAIL_CASES: Final = 11_000_000
EXPLORATION_CASES: Final = 13_000_000
REDRAW_CASES: Final = 15_000_000
LOOKS: Final = 17_000_000
"""Where the training cases of each stage begin: no stage sees another's, where the task deals that many."""


@dataclasses.dataclass(frozen=True)
class RunSetup:
    """A run folder with what its recipe stands for.

    Attributes:
        folder: The run folder.
        task: The task, or the mix of tasks.
        context: Episodes with the run's toolbox.
        context_without_tools: The same without any tool.
        make_context: The same with another toolbox; close it.
        engine: The vLLM engine of the run, for GRPO and all that is played outside of it; None where transformers plays that.
        second: The second process of the run; None where there is none, and in that one itself.
    """

    folder: RunFolder
    task: Task
    context: RolloutContext
    context_without_tools: RolloutContext
    make_context: Callable[[Toolbox], RolloutContext]
    engine: SamplingEngine | None = None
    second: BaselineProcess | None = None

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

    def context_without(self, tool: str) -> RolloutContext:
        """Episodes with the run's toolbox but for one tool; close it."""
        toolbox = self.folder.toolbox
        return self.make_context(Toolbox({name: toolbox[name] for name in toolbox if name != tool}))

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


def make_setup(folder: RunFolder, task: Task, registry: Registry, *, beside: bool = False) -> RunSetup:
    """The setup of a run folder.

    Args:
        folder: The run folder.
        task: The recipe's task, or the mix of its tasks.
        registry: Gives reward terms and executors of plugins.
        beside: Whether this is the second process of a run.
    """
    recipe, engine = folder.recipe, None

    def make_context(toolbox: Toolbox) -> RolloutContext:
        return make_rollout_context(recipe, task, toolbox, registry)

    context = make_context(folder.toolbox)
    if vllm_mode(recipe) is not None and recipe.grpo.steps:
        refusal = engine_refusal(recipe, sharded=weights_are_sharded(), beside=beside)
        if refusal is None:
            conversation = partial(conversation_tokens, context, recipe)
            engine = SamplingEngine(recipe, conversation, folder.path / "parity", folder.log)
        else:
            folder.print_progress(f"evaluation, validation and self-sampling use transformers: {refusal}")
    return RunSetup(folder, task, context, make_context(Toolbox({})), make_context, engine)


def perception_collator(setup: RunSetup, context: RolloutContext, model: LoadedModel) -> PerceptionCollator | None:
    """Makes batches of perception items, where the task offers them and the model is the tiny one."""
    if not isinstance(setup.task, HasPerceptionItems) or not setup.recipe.warms_up:
        return None
    rules = setup.recipe.perception
    return PerceptionCollator(
        context,
        setup.task,
        model.processor,
        rules.unclear_cells,
        model.end_of_turn,
        as_results=rules.as_results if rules.result_steps else 0.0,
    )


def completion_tokens(context: RolloutContext, recipe: Recipe, processor: Any) -> int:
    """Most tokens of a completion of GRPO: as the recipe says, or as an episode with all its calls takes."""
    if recipe.grpo.max_completion is not None:
        return recipe.grpo.max_completion
    return measure_tokens(context, processor).completion(recipe.episode.max_calls, recipe.grpo.max_turn_tokens)


def conversation_tokens(context: RolloutContext, recipe: Recipe, processor: Any) -> int:
    """Tokens of the longest conversation, of GRPO or of an evaluation."""
    budget = measure_tokens(context, processor)
    evaluated = budget.completion(recipe.episode.max_calls, recipe.evaluation.max_tokens)
    return budget.prompt + max(completion_tokens(context, recipe, processor), evaluated)
