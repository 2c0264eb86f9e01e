"""Rows that need no training: tools handed over at test time, each tool left out, the task's expert."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medvistagym_core.environment import HasExpert, Task
from medvistagym_core.plugins import Registry
from medvistagym_core.rollouts import ExpertPolicy, rollout
from medvistagym_core.tools import Toolbox, ToolboxLock
from medvistagym_core.trajectories import TrajectoryWriter
from medvistagym_trl._recipe import Recipe
from medvistagym_trl.rollout import RolloutContext, make_rollout_context
from medvistagym_trl.run import RunFolder, load_trained_policy
from medvistagym_trl.stages import decoding_temperatures

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
    """Play the controls of a finished run under its first decoding, each into a trajectory file of the run.

    Those that are there already are kept.

    Args:
        folder: The main run of a seed.
        task: Its task.
        registry: What is installed.
    """
    recipe, toolbox = folder.recipe, folder.toolbox
    name, temperature = decoding_temperatures(recipe.evaluation, recipe.grpo.temperature)[0]
    label = name.replace(" ", "")
    with _measured_context(recipe, task, toolbox, registry) as context:
        cases = context.count(task, recipe.evaluation.n)
    plays = {f"without-{name}": (folder.path, [other for other in toolbox if other != name]) for name in toolbox}
    if "no_tools" in recipe.comparison.policies:
        plays["handed"] = (folder.path / "checkpoints" / "no_tools", list(toolbox))
    for stem, (checkpoint, names) in plays.items():
        path = folder.path / "trajectories" / f"control-{stem}-{label}.jsonl"
        if not _is_whole(path, cases):
            rest = registry.toolbox(names)
            policy, _ = load_trained_policy(
                registry, checkpoint, task, rest, temperature=temperature or 0.0, seed=recipe.seed
            )
            with _measured_context(recipe, task, rest, registry) as context:
                _play(policy, recipe, context, cases, path)
    path = folder.path / "trajectories" / f"control-expert-{label}.jsonl"
    if isinstance(task, HasExpert) and not _is_whole(path, cases):
        # It may look at more places than a policy has calls for, so that it shows what the tools can tell.
        rules = recipe.with_overrides({"episode.max_calls": EXPERT_CALLS})
        with _measured_context(rules, task, toolbox, registry) as context:
            _play(ExpertPolicy(task, seed=recipe.seed), rules, context, cases, path)


def _is_whole(path: Path, cases: int) -> bool:
    """Whether a file holds as many episodes as there are cases: one that was cut short is played again."""
    if not path.is_file():
        return False
    with path.open("rb") as lines:
        return sum(1 for _ in lines) >= cases


@contextlib.contextmanager
def _measured_context(recipe: Recipe, task: Task, toolbox: Toolbox, registry: Registry) -> Iterator[RolloutContext]:
    """The rules that a recipe measures with, on its split; their executors are closed in the end."""
    context = make_rollout_context(recipe, task, toolbox, registry)
    with contextlib.closing(context), contextlib.closing(context.as_measured(recipe.evaluation.split)) as measured:
        yield measured


def _play(policy: Policy, recipe: Recipe, context: RolloutContext, cases: int, path: Path) -> None:
    path.unlink(missing_ok=True)
    with TrajectoryWriter(path, context.toolbox) as writer:
        for _ in rollout(
            policy,
            context.task,
            context.toolbox,
            context.split,
            range(cases),
            context.config,
            seed=context.seed,
            batch=recipe.evaluation.batch,
            writer=writer,
            executor=context.executor,
        ):
            pass
