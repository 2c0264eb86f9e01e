"""Lessons: training episodes acted out after a script, as SFT shows them to the policy.

A demonstrator gives the script of a case. `hesitant` and `exploring` change one: so that it gives up now and then, and so
that it tries tools which the task knows nothing of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from medvistagym_core.environment import Case, Episode, ToolScript
from medvistagym_core.rollouts import sample_arguments
from medvistagym_core.tools import ToolCall, ToolSpec
from medvistagym_core.trajectories import PolicyRecord, TrajectoryWriter
from medvistagym_trl.environment import World

Demonstrator = Callable[[Case, np.random.Generator], ToolScript]


def act_out(world: World, index: int, demonstrator: Demonstrator, seed: int) -> Episode:
    """Play a training case after a script; the finished episode.

    Args:
        world: Cases, rules and tools.
        index: The case.
        demonstrator: Gives the script, which yields calls, is sent their results, and returns the answer.
        seed: Of the demonstrator's choices.
    """
    episode = world.episode(index)
    script = demonstrator(episode.case, np.random.default_rng([seed, index]))
    try:
        call = next(script)
        while not episode.done:
            pending = episode.submit_turn(world.settings.protocol.format_turn(calls=[call]))
            results = world.executor.run([(episode.store, pending)])[0]
            episode.submit_results(results)
            call = script.send(results[0])
    except StopIteration as stop:
        if not episode.done:
            episode.submit_turn(world.settings.protocol.format_turn(answer=stop.value))
    return episode


def hesitant(script: ToolScript, share: float, abstention: str, rng: np.random.Generator) -> ToolScript:
    """A script that gives up, with probability `share`, where it would make its first call."""
    try:
        call = next(script)
        if rng.random() < share:
            return abstention
        while True:
            result = yield call
            call = script.send(result)
    except StopIteration as stop:
        return str(stop.value)


def exploring(script: ToolScript, tools: Sequence[ToolSpec], share: float, rng: np.random.Generator) -> ToolScript:
    """A script that, with probability `share`, first makes a random valid call of one of `tools`, whatever comes of it."""
    if tools and rng.random() < share:
        spec = tools[int(rng.integers(len(tools)))]
        yield ToolCall(name=spec.name, arguments=sample_arguments(spec.parameters, spec.images, 1, rng))
    return (yield from script)


def write_lessons(
    world: World, demonstrator: Demonstrator, name: str, indices: Sequence[int], seed: int, path: Path
) -> None:
    """Act lessons out once more, for whoever wants to see what was taught, into a trajectory file.

    Args:
        world: Cases, rules and tools.
        demonstrator: Gives the scripts.
        name: What the file calls the demonstrator.
        indices: The cases.
        seed: Of the demonstrator's choices.
        path: The file; replaced if it is there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    record = PolicyRecord(name=name, sampling={})
    with TrajectoryWriter(path, world.toolbox) as writer:
        for index in indices:
            episode = act_out(world, index, demonstrator, seed)
            writer.write(episode.to_trajectory(record), episode.rendered_images())
