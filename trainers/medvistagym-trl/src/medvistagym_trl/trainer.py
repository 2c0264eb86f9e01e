"""What `medvistagym train` and `medvistagym eval` call. Importing it loads neither torch nor transformers."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from medvistagym_core.environment import EpisodeConfig, Task
    from medvistagym_core.plugins import Registry
    from medvistagym_core.rollouts import Policy
    from medvistagym_core.tools import Toolbox
    from medvistagym_core.trajectories import Results

DEFAULT: Final = "scoutvqa"
QUICK: Final[Mapping[str, Any]] = {
    "perception.steps": 12,
    "sft.steps": 6,
    "sft.batch": 16,
    "grpo.steps": 3,
    "grpo.completions": 32,
    "grpo.save_every": 2,
    "comparison.no_tools_steps": 4,
    "comparison.untrained_steps": 4,
    "evaluation.n": 16,
}
"""What `--quick` changes: every phase runs, and no figure means anything."""


class TrlTrainer:
    """Trains a vision-language policy on a toolbox: perception, SFT, GRPO, evaluation."""

    name = "trl"
    description = "SFT and GRPO with TRL, for the tiny built-in policy or a local Qwen-VL checkpoint"

    def recipes(self) -> Mapping[str, str]:
        """Recipes that ship with the trainer, and a line about each."""
        from medvistagym_trl.recipe import load_recipe, recipe_names

        return {name: load_recipe(name).description for name in recipe_names()}

    def tool_schemas(self, toolbox: Toolbox) -> list[Mapping[str, Any]]:
        """The schemas that TRL renders into the prompt for a toolbox, in order; the conformance kit compares them."""
        from medvistagym_trl.environment import tool_methods

        return [method.__json_schema__ for method in tool_methods(toolbox)]

    def train(
        self,
        registry: Registry,
        *,
        run: Path,
        recipe: str | Path | None = None,
        changes: Mapping[str, Any] | None = None,
        tools: str | None = None,
        model: str | Path | None = None,
        quick: bool = False,
        resume: bool = False,
    ) -> Results:
        """Train, evaluate, and leave everything in a run folder.

        Args:
            registry: What is installed.
            run: The run folder.
            recipe: Name of a shipped recipe, or a YAML file.
            changes: Settings to change, by dotted name.
            tools: Toolbox selection; the recipe's, or else the task's own, when None.
            model: Folder of a checkpoint to train; None builds the tiny policy.
            quick: A run of about a minute that shows only that everything runs.
            resume: Go on with the run in `run`; its own recipe counts.

        Raises:
            SelectionError: A recipe, setting, task, tool, model or run folder that cannot be had; a sentence says why.
        """
        from medvistagym_trl.recipe import RecipeError, load_recipe

        # What cannot be had is said before torch is loaded, which takes seconds.
        run = Path(run)
        if resume:
            if recipe is not None or changes or tools is not None or model is not None or quick:
                raise RecipeError("a resumed run keeps its own recipe, tools and model: give --run and --resume alone")
            if not (run / "recipe.yaml").is_file():
                raise RecipeError(f"{run} is no run folder: it holds no recipe.yaml")
            settled = load_recipe(run / "recipe.yaml")
        else:
            settled = load_recipe(recipe or DEFAULT).overridden({**(QUICK if quick else {}), **(changes or {})})
            if tools is not None:
                settled = settled.overridden({"tools": tools.split(",")})
            if model is not None:
                settled = settled.overridden({"model.path": str(Path(model).resolve())})
        task: Task = registry.task(settled.task)
        settled = settled if settled.tools is not None else settled.overridden({"tools": list(task.tools)})
        registry.toolbox(settled.tools or ())
        quiet()
        from medvistagym_trl.families import load_processor
        from medvistagym_trl.phases import Phases
        from medvistagym_trl.run import Run
        from medvistagym_trl.world import make_toolbox

        toolbox = make_toolbox(settled, registry)
        if model is not None:
            load_processor(model, list(toolbox.schemas("huggingface")))
        opened = Run.resume(run, toolbox) if resume else Run.begin(run, settled, toolbox)
        return Phases(opened, task).go()

    def load_policy(
        self,
        registry: Registry,
        path: str | Path,
        task: Task,
        toolbox: Toolbox,
        *,
        temperature: float | None = None,
        seed: int = 0,
    ) -> tuple[Policy, EpisodeConfig]:
        """Open a trained policy.

        Args:
            registry: What is installed.
            path: A run folder (its final policy), or a checkpoint in one, or any supported checkpoint.
            task: The task to play.
            toolbox: The tools it is given, which need not be those it was trained with.
            temperature: Of sampling; 0 is greedy; None is the temperature it was trained with, or 1.
            seed: Of sampling.

        Returns:
            The policy, and how its episodes are played.
        """
        quiet()
        from medvistagym_trl.opening import open_policy

        return open_policy(Path(path), task, toolbox, temperature=temperature, seed=seed)


def quiet() -> None:
    """Nothing is downloaded, libraries do not chatter, and idle threads sleep; set before they are imported."""
    for name, value in (
        ("HF_HUB_OFFLINE", "1"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("TRL_EXPERIMENTAL_SILENCE", "1"),
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("OMP_WAIT_POLICY", "passive"),  # threads that spin while they wait stop a busy machine altogether
    ):
        os.environ.setdefault(name, value)
    # TRL still uses names that transformers has renamed; a user can do nothing about it.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
