"""Many episodes at once as one gymnasium vector environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from medvistagym_core.environment._case_sampler import _CaseSampler, _IndexSampler
from medvistagym_core.environment._config import EpisodeConfig
from medvistagym_core.environment._episode import Episode, step_episodes
from medvistagym_core.environment._reward import RewardBreakdown
from medvistagym_core.environment._spaces import (
    _TRUNCATED,
    EnvObservation,
    TextSpace,
    _object_array,
    _observation_parts,
    _observation_space,
)
from medvistagym_core.environment._task import Task
from medvistagym_core.execution import Executor, LocalExecutor
from medvistagym_core.tools import Toolbox


class MedVistaVectorEnv(VectorEnv[EnvObservation, Sequence[str], Any]):
    """Several episodes at a time, all their tool calls in one run of the executor.

    An episode that ended is begun anew by the next `step`, which ignores its action and gives it reward 0 (gymnasium's
    next-step autoreset). Cases are drawn as in `num_envs` environments seeded `seed`, `seed + 1`, ...

    Args:
        task: Where cases come from.
        toolbox: The tools that may be called.
        num_envs: Episodes at a time.
        settings: How episodes are played.
        split: Split of the cases; "train", or the task's only one, unless given.
        cases: Cases are drawn from the first so many of the split; from all, or the first 1,000 of a task without an end,
            unless given.
        case_seed: Seed of the cases.
        executor: Runs the calls; one of its own when None, which `close` closes.

    Raises:
        ValueError: `num_envs` or `cases` is below 1, or the task has no such split.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        task: Task,
        toolbox: Toolbox,
        num_envs: int,
        settings: EpisodeConfig | None = None,
        *,
        split: str | None = None,
        cases: int | None = None,
        case_seed: int = 0,
        executor: Executor | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs is at least 1, not {num_envs}")
        self.num_envs = num_envs
        self.settings = settings or EpisodeConfig()
        self.render_mode = None
        self.single_action_space = TextSpace()
        self.single_observation_space = _observation_space(self.settings)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._cases = _CaseSampler(task, toolbox, self.settings, split, cases, case_seed)
        self._own_executor = LocalExecutor(toolbox) if executor is None else None
        self._executor: Executor = executor or self._own_executor  # type: ignore[assignment]
        self._draws = [_IndexSampler(self._cases.cases) for _ in range(num_envs)]
        self.episodes: list[Episode] = []

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[EnvObservation, dict[str, Any]]:
        """Begin all episodes anew.

        Args:
            seed: Seed of the draws of cases, one for each environment, or one to which their numbers are added; an
                environment
                whose seed is None goes on drawing as it was.
            options: As for `MedVistaEnv.reset`, the same for all.

        Returns:
            The first observations, and their `info`.

        Raises:
            ValueError: There are more or fewer seeds than environments, or there is no such case.
        """
        seeds = (
            [None if seed is None else seed + k for k in range(self.num_envs)]
            if not isinstance(seed, Sequence)
            else list(seed)
        )
        if len(seeds) != self.num_envs:
            raise ValueError(f"there are {self.num_envs} environments, not {len(seeds)} seeds")
        for k, one in enumerate(seeds):
            if one is not None:
                self._draws[k] = _IndexSampler(self._cases.cases, one)
        self.episodes = [self._cases.make_episode(draws.next(), options) for draws in self._draws]
        return self._observe(), self._info()

    def step(self, actions: Sequence[str]) -> tuple[EnvObservation, Any, Any, Any, dict[str, Any]]:
        """Play a turn of every episode; those that had ended are begun anew instead.

        Raises:
            ValueError: There are not as many actions as environments.
            RuntimeError: `reset` has not been called.
        """
        if not self.episodes:
            raise RuntimeError("call reset before step")
        if len(actions) != self.num_envs:
            raise ValueError(f"there are {self.num_envs} environments, not {len(actions)} actions")
        live: list[Episode] = []
        turns: list[str] = []
        for k, episode in enumerate(self.episodes):
            if episode.termination is not None:
                self.episodes[k] = self._cases.make_episode(self._draws[k].next())
            else:
                live.append(episode)
                turns.append(actions[k])
        step_episodes(self._executor, live, turns)
        rewards = np.zeros(self.num_envs)
        terminated, truncated = np.zeros((2, self.num_envs), bool)
        over = [k for k, episode in enumerate(self.episodes) if episode.termination is not None]
        scores: list[RewardBreakdown] = []
        if over:
            where, ended = np.array(over), [self.episodes[k] for k in over]
            scores = [episode.score for episode in ended]
            rewards[where] = [score.total for score in scores]
            terminated[where] = [episode.termination == "answered" for episode in ended]
            truncated[where] = [episode.termination in _TRUNCATED for episode in ended]
        return self._observe(), rewards, terminated, truncated, self._info(over, scores)

    def close_extras(self, **kwargs: Any) -> None:
        """Drop the episodes and close an executor of its own."""
        self.episodes = []
        if self._own_executor is not None:
            self._own_executor.close()

    def _observe(self) -> EnvObservation:
        texts: list[str] = []
        pictures: list[tuple[Any, ...]] = []
        for episode in self.episodes:
            text, images = _observation_parts(episode)
            texts.append(text)
            pictures.append(images)
        return {"images": tuple(pictures), "text": tuple(texts)}

    def _info(self, over: Sequence[int] = (), scores: Sequence[RewardBreakdown] = ()) -> dict[str, Any]:
        """What `VectorEnv._add_info` would make of everybody's facts, an array a key and its mask.

        Args:
            over: The episodes that are over.
            scores: What each of them is worth.
        """
        episodes = self.episodes
        info: dict[str, Any] = {
            "case": _object_array([episode.id for episode in episodes], object),
            "turn": _object_array([len(episode.steps) for episode in episodes], int),
            "calls": _object_array([episode.calls for episode in episodes], int),
            "error": _object_array(
                [episode.steps[-1].error or "" if episode.steps else "" for episode in episodes], object
            ),
        }
        for key in tuple(info):
            info[f"_{key}"] = np.ones(self.num_envs, bool)
        if over:
            mask, where = np.zeros(self.num_envs, bool), np.array(over)
            mask[where] = True
            terms: dict[str, Any] = {}
            for name in self.settings.reward.weights:
                terms[name] = np.zeros(self.num_envs)
                terms[name][where] = [score.terms[name] for score in scores]
                terms[f"_{name}"] = mask.copy()
            info["terms"], info["_terms"] = terms, mask
        return info
