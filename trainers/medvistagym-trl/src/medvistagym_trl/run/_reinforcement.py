"""The stages of reinforcement learning: GRPO, and its tail on the cases that are answered rarely."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from medvistagym_core.rollouts import rollout
from medvistagym_core.trajectories import SamplingParams
from medvistagym_trl._ranks import on_first_rank, rank
from medvistagym_trl.model import LoadedModel
from medvistagym_trl.rollout import locate_case, training_cases
from medvistagym_trl.run._callbacks import GrpoLogCallback
from medvistagym_trl.run._setup import (
    GRPO_CASES,
    LOOKS,
    REDRAW_CASES,
    TAIL_CASES,
    RunSetup,
    completion_tokens,
    conversation_tokens,
    perception_collator,
)
from medvistagym_trl.run._trajectory_log import TrainingTrajectoryLog
from medvistagym_trl.run._validation import keep_best, restore_best, validation_callbacks
from medvistagym_trl.stages import PerceptionCallback, SamplingPolicy, bound_engine, train_grpo, whole_checkpoints


def run_grpo(setup: RunSetup, before: str) -> None:
    """Reinforcement learning, from the policy that the stage `before` ended with."""
    grpo = setup.recipe.grpo
    if not grpo.steps:
        setup.pass_on(before, "grpo")
        return
    model = setup.load_to_train(before)
    count = grpo.steps * grpo.completions // grpo.group
    others = training_cases(setup.context, REDRAW_CASES, count * grpo.redraws) if grpo.zero_variance == "redraw" else ()
    _train(setup, "grpo", model, training_cases(setup.context, GRPO_CASES, count), others)


def run_grpo_tail(setup: RunSetup, before: str) -> None:
    """More of it on those of some candidate cases that the policy answers right in few of a group's episodes."""
    grpo = setup.recipe.grpo
    tail, model = grpo.tail, setup.load_to_train(before)
    candidates = training_cases(setup.context, TAIL_CASES, tail.candidates)
    if setup.engine is not None:
        setup.engine.prepare(model)
    rates = on_first_rank(lambda: _pass_rates(setup, model, candidates))
    chosen = [case for case, rate in rates.items() if tail.min_pass_rate <= rate <= tail.max_pass_rate]
    setup.folder.print_progress(
        f"tail curriculum: {len(chosen)} of {len(rates)} cases have a pass rate from {tail.min_pass_rate:g} to "
        f"{tail.max_pass_rate:g}"
    )
    if not chosen:
        setup.folder.print_progress("warning: no case is left for it; the run ends with the policy before it")
        setup.pass_on(before, "grpo_tail")
        return
    count = tail.steps * grpo.completions // grpo.group
    _train(setup, "grpo_tail", model, [chosen[k % len(chosen)] for k in range(count)], chosen)


def _train(
    setup: RunSetup, phase: str, model: LoadedModel, cases: Sequence[int], redraw_cases: Sequence[int] = ()
) -> None:
    recipe = setup.recipe
    mine = f"-rank{rank()}" if rank() else ""
    folder, path = setup.steps_folder(phase), setup.trajectories(f"training-{phase}{mine}.jsonl")
    if not whole_checkpoints(folder):
        path.unlink(missing_ok=True)
    completion = completion_tokens(setup.context, recipe, model.processor)
    sampling: SamplingParams = {"temperature": recipe.grpo.temperature, "max_tokens": completion, "seed": recipe.seed}
    logger = GrpoLogCallback(
        setup.folder,
        phase,
        recipe.grpo,
        TrainingTrajectoryLog(path, sampling),
        restore=lambda: restore_best(setup, phase, model),
        before=[line for line in setup.folder.metrics() if line["phase"] == phase],
    )
    looks = perception_collator(setup, setup.context, model) if recipe.grpo.looks else None
    seeing = [] if looks is None else [PerceptionCallback(looks, LOOKS, recipe.grpo.looks)]
    trainer = train_grpo(
        model,
        setup.context,
        bound_engine(recipe, lambda: conversation_tokens(setup.context, recipe, model.processor)),
        cases=cases,
        completion=completion,
        folder=folder,
        record=logger.record,
        penalty=logger.penalty,
        redraw_cases=redraw_cases,
        callbacks=[logger, *seeing, *validation_callbacks(setup, phase, model, recipe.grpo.validation)],
        engine=setup.engine,
    )
    if trainer.unbatched_calls:
        setup.folder.print_progress(f"{trainer.unbatched_calls} tool calls were run alone: TRL's tool loop has changed")
    setup.folder.save(phase, model)
    keep_best(setup, phase, recipe.grpo.validation)


def _pass_rates(setup: RunSetup, model: LoadedModel, candidates: Sequence[int]) -> dict[int, float]:
    """Share of right answers to each candidate case, in as many episodes as a group has."""
    context, recipe = setup.context, setup.recipe
    policy = SamplingPolicy(
        model,
        context.rendered_schemas,
        context.config.protocol,
        temperature=recipe.grpo.temperature,
        max_tokens=recipe.evaluation.max_tokens,
        seed=recipe.seed,
        name="tail curriculum",
        engine=setup.engine,
    )
    right: Counter[int] = Counter()
    for task in context.tasks:
        mine = {position: case for case in candidates for part, position in [_locate(setup, case)] if part is task}
        for trajectory in rollout(
            policy,
            task,
            context.toolbox,
            context.split,
            list(mine),
            context.config,
            seed=context.seed,
            samples=recipe.grpo.group,
            batch=recipe.evaluation.batch,
            executor=context.executor,
        ):
            right[mine[trajectory.index]] += trajectory.outcome.correct
    return {case: right[case] / recipe.grpo.group for case in candidates}


def _locate(setup: RunSetup, case: int) -> tuple[object, int]:
    return locate_case(setup.context.task, setup.context.split, case)
