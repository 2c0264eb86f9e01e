"""Held-out cases, played by a policy: episodes, rows, trajectories."""

from __future__ import annotations

from pathlib import Path

from medvistagym_core.rollouts import rollout
from medvistagym_core.trajectories import ResultRow, TrajectoryWriter, summarize
from medvistagym_trl._recipe import EvaluationRecipe
from medvistagym_trl.model import LoadedModel
from medvistagym_trl.rollout import RolloutContext
from medvistagym_trl.stages._sampling_policy import SamplingPolicy


def decoding_temperatures(recipe: EvaluationRecipe, trained: float) -> list[tuple[str, float | None]]:
    """Names and temperatures of the decodings; None is greedy. The temperature of training comes first and once."""
    temperatures: dict[str, float | None] = {"trained": trained, "t1": 1.0, "greedy": None}
    chosen = {decoding_label(temperatures[name]): temperatures[name] for name in recipe.decodings}
    return list(chosen.items())


def decoding_label(temperature: float | None) -> str:
    """What rows call a decoding."""
    return "greedy" if temperature is None else f"T = {temperature:g}"


def evaluate(
    context: RolloutContext,
    model: LoadedModel,
    name: str,
    recipe: EvaluationRecipe,
    temperature: float | None,
    *,
    seed: int,
    keep: Path,
) -> list[ResultRow]:
    """Rows of one policy under one decoding.

    Args:
        context: Tools, rules and the held-out split.
        model: The model.
        name: What the rows call the policy.
        recipe: How many cases.
        temperature: Of sampling; None is greedy.
        seed: Of sampling.
        keep: File for the trajectories.

    Raises:
        RuntimeError: The policy itself failed in an episode.
    """
    policy = SamplingPolicy(
        model,
        context.rendered_schemas,
        context.config.protocol,
        temperature=temperature,
        max_tokens=recipe.max_tokens,
        seed=seed,
        name=name,
    )
    keep.parent.mkdir(parents=True, exist_ok=True)
    keep.unlink(missing_ok=True)
    with TrajectoryWriter(keep, context.toolbox) as writer:
        trajectories = [
            trajectory
            for task in context.tasks
            for trajectory in rollout(
                policy,
                task,
                context.toolbox,
                context.split,
                range(context.count(task, recipe.n)),
                context.config,
                seed=context.seed,
                batch=recipe.batch,
                writer=writer,
                executor=context.executor,
            )
        ]
    failed = next((t.outcome.reason for t in trajectories if t.outcome.ended == "policy_failed"), None)
    if failed is not None:
        raise RuntimeError(f"the policy {name} failed while it was evaluated: {failed}")
    families: tuple[str, ...] = context.task.families
    if len(context.tasks) > 1:  # of a mix, each task is a row
        trajectories = [trajectory.model_copy(update={"family": trajectory.task}) for trajectory in trajectories]
        families = tuple(task.name for task in context.tasks)
    return summarize(trajectories, name, decoding_label(temperature), families)
