"""Held-out cases, played by a policy: episodes, rows, trajectories. Of several processes, each plays a share of the cases."""

from __future__ import annotations

from pathlib import Path

from medvistagym_core.rollouts import rollout
from medvistagym_core.storage import write_atomically
from medvistagym_core.trajectories import ResultRow, Trajectory, TrajectoryWriter, summarize
from medvistagym_trl._ranks import gather_from_ranks, rank, rank_count, wait_for_ranks
from medvistagym_trl._recipe import EvaluationRecipe
from medvistagym_trl.model import LoadedModel
from medvistagym_trl.rollout import RolloutContext
from medvistagym_trl.stages._sampling_engine import SamplingEngine
from medvistagym_trl.stages._sampling_policy import SamplingPolicy


def decoding_temperatures(recipe: EvaluationRecipe, trained: float) -> list[tuple[str, float | None]]:
    """Names and temperatures of the decodings, in the recipe's order and each once; None is greedy.

    Args:
        recipe: Which decodings are asked for.
        trained: The temperature of training.
    """
    temperatures: dict[str, float | None] = {"trained": trained, "t1": 1.0, "greedy": None}
    chosen = {decoding_label(temperatures[name]): temperatures[name] for name in recipe.decodings}
    return list(chosen.items())


def decoding_label(temperature: float | None) -> str:
    """What rows call a decoding: "greedy" where the temperature is None, else such as "T = 0.7"."""
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
    engine: SamplingEngine | None = None,
) -> list[ResultRow]:
    """Rows of one policy under one decoding, the same on all ranks.

    Each rank plays every n-th case. What is sampled depends on the number of ranks; greedy decoding does not.

    Args:
        context: Tools, rules and the held-out split.
        model: The model.
        name: What the rows call the policy.
        recipe: How many cases.
        temperature: Of sampling; None is greedy.
        seed: Of sampling.
        keep: File for the trajectories; those of other ranks lie beside it until rank 0 has taken them in.
        engine: Writes the turns; None for transformers.

    Raises:
        RuntimeError: The policy itself failed in an episode.
    """
    policy = SamplingPolicy(
        model,
        context.rendered_schemas,
        context.config.protocol,
        temperature=temperature,
        max_tokens=recipe.max_tokens,
        seed=seed + rank(),
        name=name,
        engine=engine,
    )
    if engine is not None:
        wait_for_ranks()  # a server holds the weights once rank 0 has sent them
    trajectories = gather_from_ranks(_play_share(context, policy, recipe, _file_of_rank(keep, rank())))
    if rank() == 0:
        _join_files(keep)
    failed = next((t.outcome.reason for t in trajectories if t.outcome.ended == "policy_failed"), None)
    if failed is not None:
        raise RuntimeError(f"the policy {name} failed while it was evaluated: {failed}")
    families: tuple[str, ...] = context.task.families
    if len(context.tasks) > 1:  # of a mix, each task is a row
        trajectories = [trajectory.model_copy(update={"family": trajectory.task}) for trajectory in trajectories]
        families = tuple(task.name for task in context.tasks)
    return summarize(trajectories, name, decoding_label(temperature), families)


def _play_share(
    context: RolloutContext, policy: SamplingPolicy, recipe: EvaluationRecipe, file: Path
) -> list[Trajectory]:
    """The episodes of every n-th case, for this one of n ranks, which are written to a file as well."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    with TrajectoryWriter(file, context.toolbox) as writer:
        return [
            trajectory
            for task in context.tasks
            for trajectory in rollout(
                policy,
                task,
                context.toolbox,
                context.split,
                range(rank(), context.count(task, recipe.n), rank_count()),
                context.config,
                seed=context.seed,
                batch=recipe.batch,
                writer=writer,
                executor=context.executor,
            )
        ]


def _file_of_rank(path: Path, number: int) -> Path:
    return path if number == 0 else path.with_name(f".{path.stem}-rank{number}{path.suffix}")


def _join_files(path: Path) -> None:
    """Take what other ranks have kept into the first one's file, which is whole at every moment."""
    others = [_file_of_rank(path, number) for number in range(1, rank_count())]
    if not others:
        return
    with write_atomically(path) as part:
        part.write_bytes(b"".join(file.read_bytes() for file in (path, *others) if file.is_file()))
    for file in others:
        file.unlink(missing_ok=True)
        file.with_suffix(".lock.json").unlink(missing_ok=True)
