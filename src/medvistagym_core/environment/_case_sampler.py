"""Which case is dealt next: in order, or by a seeded draw."""

from __future__ import annotations

from typing import Any

import gymnasium

from medvistagym_core.environment._config import EpisodeConfig
from medvistagym_core.environment._episode import Episode
from medvistagym_core.environment._task import Task
from medvistagym_core.tools import Toolbox


class _CaseSampler:
    """Deals out episodes of a task."""

    def __init__(
        self, task: Task, toolbox: Toolbox, settings: EpisodeConfig, split: str, cases: int, seed: int
    ) -> None:
        if split not in task.splits:
            raise ValueError(f"{task.name} has no split {split!r}; it has {', '.join(task.splits)}")
        if cases < 1:
            raise ValueError(f"cases is at least 1, not {cases}")
        self.task, self.toolbox, self.settings = task, toolbox, settings
        self.split, self.cases, self.seed = split, cases, seed

    def make_episode(self, drawn: int, options: dict[str, Any] | None = None) -> Episode:
        split, index = self.split, drawn
        if options:
            split, index = options.get("split", split), options.get("index", index)
        return Episode.from_task(self.task, split, index, self.toolbox, self.settings, seed=self.seed)


class _IndexSampler:
    """Positions of cases, drawn some at a time: the same as one by one, and quicker."""

    def __init__(self, cases: int, seed: int | None = None) -> None:
        self._rng = gymnasium.utils.seeding.np_random(seed)[0]
        self._cases = cases
        self._ready: list[int] = []

    def next(self) -> int:
        if not self._ready:
            self._ready = self._rng.integers(self._cases, size=64).tolist()[::-1]
        return self._ready.pop()
