"""Choosing the next case of a task: in order, or at random with a seed."""

from __future__ import annotations

from typing import Any, Final

import gymnasium

from medvistagym_core.environment._capabilities import count_cases
from medvistagym_core.environment._config import EpisodeConfig
from medvistagym_core.environment._episode import Episode
from medvistagym_core.environment._task import Task
from medvistagym_core.tools import Toolbox

_CASES_WITHOUT_END: Final = 1000
"""How many cases of a task without an end are drawn from."""


class _CaseSampler:
    """Deals out episodes of a task."""

    def __init__(
        self,
        task: Task,
        toolbox: Toolbox,
        settings: EpisodeConfig,
        split: str | None,
        cases: int | None,
        seed: int,
    ) -> None:
        if split is None:
            split = task.splits[0] if len(task.splits) == 1 else "train"
        if split not in task.splits:
            raise ValueError(f"{task.name} has no split {split!r}; it has {', '.join(task.splits)}")
        if cases is not None and cases < 1:
            raise ValueError(f"cases is at least 1, not {cases}")
        self.task, self.toolbox, self.settings = task, toolbox, settings
        self.split, self.seed = split, seed
        count = count_cases(task, split)
        size = count if count is not None else cases or _CASES_WITHOUT_END
        self.cases = size if cases is None else min(cases, size)

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
