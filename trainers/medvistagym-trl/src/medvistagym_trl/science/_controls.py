"""Rows that need no training: tools handed over at test time, each tool left out, the task's expert."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from medvistagym_core.environment import HasExpert, Task
from medvistagym_core.plugins import Registry
from medvistagym_core.rollouts import ExpertPolicy, rollout
from medvistagym_core.tools import Toolbox, ToolboxLock
from medvistagym_core.trajectories import TrajectoryWriter
from medvistagym_trl._recipe import Recipe
from medvistagym_trl.rollout import make_rollout_context
from medvistagym_trl.run import RunFolder, load_trained_policy
from medvistagym_trl.stages import decoding_label

if TYPE_CHECKING:
    from medvistagym_core.rollouts import Policy

EXPERT_CALLS: Final = 8
EXPERT: Final = f"scripted expert, up to {EXPERT_CALLS} calls"
HANDED: Final = "no tools, handed tools at test time"


def control_titles(run: Path) -> dict[str, str]:
    """What the table calls each control of a main run, by the stem of its file; whether it was played is not asked."""
    lock = ToolboxLock.model_validate_json((run / "toolbox.lock.json").read_bytes())
    return {
        "handed": HANDED,
        **{f"without-{name}": f"SFT + GRPO, without {name}" for name in [tool.name for tool in lock.tools]},
        "expert": EXPERT,
    }


def play_controls(folder: RunFolder, task: Task, registry: Registry) -> None:
    """Play the controls of a finished run at the temperature of training, each into a trajectory file of the run.

    Those that are there already are kept.

    Args:
        folder: The main run of a seed.
        task: Its task.
        registry: What is installed.
    """
    recipe, toolbox = folder.recipe, folder.toolbox
    temperature = recipe.grpo.temperature
    label = decoding_label(temperature).replace(" ", "")
    plays = {f"without-{name}": (folder.path, [other for other in toolbox if other != name]) for name in toolbox}
    if "no_tools" in recipe.comparison.policies:
        plays["handed"] = (folder.path / "checkpoints" / "no_tools", list(toolbox))
    for stem, (checkpoint, names) in plays.items():
        path = folder.path / "trajectories" / f"control-{stem}-{label}.jsonl"
        if not _is_whole(path, recipe):
            rest = registry.toolbox(names)
            policy, _ = load_trained_policy(registry, checkpoint, task, rest, temperature=temperature, seed=recipe.seed)
            _play(policy, recipe, task, rest, registry, path)
    path = folder.path / "trajectories" / f"control-expert-{label}.jsonl"
    if isinstance(task, HasExpert) and not _is_whole(path, recipe):
        # It may look at more places than a policy has calls for, so that it shows what the tools can tell.
        rules = recipe.with_overrides({"episode.max_calls": EXPERT_CALLS})
        _play(ExpertPolicy(task, seed=recipe.seed), rules, task, toolbox, registry, path)


def _is_whole(path: Path, recipe: Recipe) -> bool:
    """Whether a file holds as many episodes as the evaluation has cases: one that was cut short is played again."""
    if not path.is_file():
        return False
    with path.open("rb") as lines:
        return sum(1 for _ in lines) >= recipe.evaluation.n


def _play(policy: Policy, recipe: Recipe, task: Task, toolbox: Toolbox, registry: Registry, path: Path) -> None:
    made = make_rollout_context(recipe, task, toolbox, registry)
    context = made.as_measured(recipe.evaluation.split)
    path.unlink(missing_ok=True)
    try:
        with TrajectoryWriter(path, toolbox) as writer:
            for _ in rollout(
                policy,
                task,
                toolbox,
                context.split,
                range(context.count(task, recipe.evaluation.n)),
                context.config,
                seed=context.seed,
                batch=recipe.evaluation.batch,
                writer=writer,
                executor=context.executor,
            ):
                pass
    finally:
        context.close()
        made.close()
