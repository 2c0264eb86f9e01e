"""Held-out cases, played by a policy: episodes, rows, trajectories."""

from __future__ import annotations

from pathlib import Path

from medvistagym_core.rollouts import rollout
from medvistagym_core.trajectories import ResultRow, TrajectoryWriter, summarize
from medvistagym_trl.environment import World
from medvistagym_trl.families import Policy
from medvistagym_trl.recipe import EvaluationRecipe
from medvistagym_trl.sample import SampledPolicy


def temperatures(recipe: EvaluationRecipe, trained: float) -> list[tuple[str, float | None]]:
    """Names and temperatures of the decodings; None is greedy. The temperature of training comes first and once."""
    known: dict[str, float | None] = {"trained": trained, "t1": 1.0, "greedy": None}
    wanted = {label(known[decoding]): known[decoding] for decoding in recipe.decodings}
    return list(wanted.items())


def label(temperature: float | None) -> str:
    """What rows call a decoding."""
    return "greedy" if temperature is None else f"T = {temperature:g}"


def evaluate(
    world: World,
    policy: Policy,
    name: str,
    recipe: EvaluationRecipe,
    temperature: float | None,
    *,
    seed: int,
    keep: Path,
) -> list[ResultRow]:
    """Rows of one policy under one decoding.

    Args:
        world: Tools, rules and the held-out split.
        policy: The policy.
        name: What the rows call it.
        recipe: How many cases.
        temperature: Of sampling; None is greedy.
        seed: Of sampling.
        keep: File for the trajectories.

    Raises:
        RuntimeError: The policy itself failed in an episode.
    """
    sampled = SampledPolicy(
        policy, world.schemas, temperature=temperature, max_tokens=recipe.max_tokens, seed=seed, name=name
    )
    keep.parent.mkdir(parents=True, exist_ok=True)
    keep.unlink(missing_ok=True)
    with TrajectoryWriter(keep, world.toolbox) as writer:
        trajectories = list(
            rollout(
                sampled,
                world.task,
                world.toolbox,
                world.split,
                range(recipe.n),
                world.settings,
                seed=world.seed,
                batch=recipe.batch,
                writer=writer,
                executor=world.executor,
            )
        )
    failed = next((t.outcome.reason for t in trajectories if t.outcome.ended == "policy_failed"), None)
    if failed is not None:
        raise RuntimeError(f"the policy {name} failed while it was evaluated: {failed}")
    return summarize(trajectories, name, label(temperature), world.task.families)
