"""Demonstrations: training episodes played after a script.

A `DemonstrationFactory` gives the script of a case. `with_early_abstention` and `with_random_first_call` change one: so that it
gives up now and then, and so that it tries tools which the task never asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from medvistagym_core.environment import Case, Episode, ToolScript
from medvistagym_core.rollouts import sample_arguments
from medvistagym_core.tools import ToolCall, ToolSpec
from medvistagym_core.trajectories import PolicyRecord, TrajectoryWriter
from medvistagym_trl._recipe import RecipeError
from medvistagym_trl.rollout._context import RolloutContext

DemonstrationFactory = Callable[[Case, np.random.Generator], ToolScript]


def run_demonstration(context: RolloutContext, index: int, factory: DemonstrationFactory, seed: int) -> Episode:
    """Play a training case after a script; the finished episode.

    Args:
        context: Cases, rules and tools.
        index: The case.
        factory: Gives the script, which yields calls, is sent their results, and returns the answer.
        seed: Of the script's choices.

    Raises:
        RecipeError: The script makes more calls than an episode may have, or a turn that an episode refuses.
    """
    episode = context.make_episode(index)
    script = factory(episode.case, np.random.default_rng([seed, index]))
    try:
        call = next(script)
        while not episode.done:
            calls = episode.submit_turn(context.config.protocol.format_turn(calls=[call]))
            if not calls:
                raise RecipeError(_refusal(episode, context.config.limits.max_calls))
            results = context.executor.run([(episode.store, calls)])[0]
            episode.submit_results(results)
            call = script.send(results[0])
    except StopIteration as stop:
        if not episode.done:
            episode.submit_turn(context.config.protocol.format_turn(answer=stop.value))
    return episode


def _refusal(episode: Episode, max_calls: int) -> str:
    """Why nothing of the last turn of a script was run."""
    step = episode.steps[-1]
    if step.turn.error is None and episode.calls > max_calls:
        return (
            f"the script of {episode.case.id} makes more than the {max_calls} calls that an episode may have, so that it "
            "shows no answer: set episode.max_calls higher"
        )
    return f"turn {episode.turns} of the script of {episode.case.id} is refused: {step.turn.error or step.results[-1].error}"


def with_early_abstention(script: ToolScript, share: float, abstention: str, rng: np.random.Generator) -> ToolScript:
    """A script that gives up, with probability `share`, where it would make its first call.

    Args:
        script: The script to change.
        share: Probability, 0 to 1.
        abstention: The answer then.
        rng: Draws once, at the first call.
    """
    try:
        call = next(script)
        if rng.random() < share:
            return abstention
        while True:
            result = yield call
            call = script.send(result)
    except StopIteration as stop:
        return str(stop.value)


def with_random_first_call(
    script: ToolScript, tools: Sequence[ToolSpec], share: float, rng: np.random.Generator
) -> ToolScript:
    """A script that, with probability `share`, first makes a random valid call of one of `tools`, whatever comes of it.

    Args:
        script: The script to change.
        tools: The tools to draw from, evenly; none changes nothing.
        share: Probability, 0 to 1.
        rng: Draws whether, which tool, and its arguments.
    """
    if tools and rng.random() < share:
        spec = tools[int(rng.integers(len(tools)))]
        yield ToolCall(name=spec.name, arguments=sample_arguments(spec.parameters, spec.images, 1, rng))
    return (yield from script)


def write_demonstrations(
    context: RolloutContext, factory: DemonstrationFactory, name: str, indices: Sequence[int], seed: int, path: Path
) -> None:
    """Play demonstrations into a trajectory file, to be looked at.

    Args:
        context: Cases, rules and tools.
        factory: Gives the scripts.
        name: What the file calls the policy.
        indices: The cases.
        seed: Of the scripts' choices.
        path: The file; replaced if it is there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    record = PolicyRecord(name=name, sampling={})
    with TrajectoryWriter(path, context.toolbox) as writer:
        for index in indices:
            episode = run_demonstration(context, index, factory, seed)
            writer.write(episode.to_trajectory(record), episode.rendered_images())
