"""One turn of several episodes, with all their calls in one run of an executor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medvistagym_core.environment._episode import Episode
from medvistagym_core.execution import CallRequest, Executor
from medvistagym_core.protocol import Turn


def step_episodes(
    executor: Executor,
    episodes: Sequence[Episode],
    turns: Sequence[str | Mapping[str, Any] | Turn],
    seconds: float | Sequence[float] = 0.0,
) -> None:
    """One turn of several episodes: all their calls in one run of the executor.

    Args:
        executor: Runs the calls.
        episodes: Episodes that are not over.
        turns: What the policy wrote, one an episode: text, an assistant's chat message, or a turn already read.
        seconds: Wall time the policy took, for all of them or one an episode.
    """
    durations = seconds if isinstance(seconds, Sequence) else [seconds] * len(episodes)
    waiting: list[Episode] = []
    requests: list[CallRequest] = []
    for episode, turn, duration in zip(episodes, turns, durations, strict=True):
        calls = episode.submit_turn(turn, duration)
        if calls:
            waiting.append(episode)
            requests.append((episode.store, calls))
    if waiting:
        for episode, results in zip(waiting, executor.run(requests), strict=True):
            episode.apply_results(results)
