"""The reward of finished episodes, as TRL asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medvistagym_core.environment import Episode
from medvistagym_trl._ranks import gather_from_ranks
from medvistagym_trl.rollout import ToolEnvironment

Record = Callable[[Sequence[Episode]], Mapping[str, float]]
"""Takes the finished episodes of a batch, and gives the metrics to log of them."""
Penalty = Callable[[Episode], float]
"""What a finished episode loses of its reward."""


class EpisodeRewardFunction:
    """The reward of finished episodes, as TRL asks for it; those that the policy began are handed on to be counted.

    Args:
        record: Takes the finished episodes of a batch, and gives the metrics to log of them.
        penalty: What is taken off the reward of an episode.
    """

    __name__ = "reward"

    def __init__(self, record: Record, penalty: Penalty = lambda _: 0.0) -> None:
        self._record, self._penalty = record, penalty

    def __call__(
        self,
        completions: Sequence[Any],
        environments: Sequence[ToolEnvironment],
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float | None]:
        """Total reward of each rollout; None, which counts nothing, where the policy's last result was taken back.

        It looked, and did not get to read: to score that as an answer left out would teach it not to look.
        """
        values = self.values(completions, environments)
        explored = gather_from_ranks([each.adapter.explored for each in environments])
        counted = [each.adapter.episode for each in environments if all(explored) or not each.adapter.explored]
        for name, value in self._record(counted).items():
            log_metric(name, value)
        if any(explored):
            log_metric("explored", sum(explored) / len(explored))
        return values

    def values(self, completions: Sequence[Any], environments: Sequence[ToolEnvironment]) -> list[float | None]:
        """The rewards alone; the same when asked again.

        Args:
            completions: Messages that the policy and its tools wrote, for each row.
            environments: The environment of each row.

        Returns:
            A reward for each row; None where a result was taken back, so that the episode does not count.
        """
        episodes = [each.adapter.finish(chat) for chat, each in zip(completions, environments, strict=True)]
        lost = [each.adapter.lost_result for each in environments]
        return [
            None if dropped else float(episode.score.total) - self._penalty(episode)
            for episode, dropped in zip(episodes, lost, strict=True)
        ]
