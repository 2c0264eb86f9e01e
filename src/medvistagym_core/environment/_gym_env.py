"""The environment as gymnasium knows it: `reset` and `step`, alone and as a vector.

An action is the text of a turn. An observation is what is new: `text`, and `images`, the pictures in it. The episode itself,
with its chat messages and handles, is `MedVistaEnv.episode`. The reward comes with the last step; an answer terminates, running
out of turns or tokens truncates. `info` has the case's name, the turns and calls so far, the code of the last error, and at the
end the reward's terms; it never has the right answer.

This module imports gymnasium; the rest of the core does not.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from medvistagym_core.environment._case_sampler import _CaseSampler
from medvistagym_core.environment._config import EpisodeConfig
from medvistagym_core.environment._episode import Episode, step_episodes
from medvistagym_core.environment._spaces import (
    _TRUNCATED,
    EnvObservation,
    TextSpace,
    _gym_info,
    _gym_observation,
    _observation_space,
)
from medvistagym_core.environment._task import Task
from medvistagym_core.execution import Executor, LocalExecutor
from medvistagym_core.protocol import message_text
from medvistagym_core.tools import Toolbox


class MedVistaEnv(gymnasium.Env[EnvObservation, str]):
    """One episode after another.

    Args:
        task: Where cases come from.
        toolbox: The tools that may be called.
        settings: How episodes are played.
        split: Split of the cases; "train", or the task's only one, unless given.
        cases: Cases are drawn from the first so many of the split; from all, or the first 1,000 of a task without an end,
            unless given. `reset(options={"index": ...})` picks one, and
            `options={"split": ...}` another split.
        case_seed: Seed of the cases.
        executor: Runs the calls; one of its own when None, which `close` closes.
        render_mode: "rgb_array" for the newest picture, "ansi" for the conversation as text, or None.

    Raises:
        ValueError: `render_mode` is none of those, the task has no such split, or `cases` is below 1.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 1}  # noqa: RUF012

    def __init__(
        self,
        task: Task,
        toolbox: Toolbox,
        settings: EpisodeConfig | None = None,
        *,
        split: str | None = None,
        cases: int | None = None,
        case_seed: int = 0,
        executor: Executor | None = None,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode is 'rgb_array', 'ansi' or None, not {render_mode!r}")
        self.settings = settings or EpisodeConfig()
        self.render_mode = render_mode
        self.action_space = TextSpace()
        self.observation_space = _observation_space(self.settings)
        self._cases = _CaseSampler(task, toolbox, self.settings, split, cases, case_seed)
        self._shared_executor = executor
        self._own_executor: LocalExecutor | None = None
        self._episode: Episode | None = None

    @property
    def episode(self) -> Episode:
        """The episode being played.

        Raises:
            RuntimeError: `reset` has not been called.
        """
        if self._episode is None:
            raise RuntimeError("call reset before step or render")
        return self._episode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[EnvObservation, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Seed of the draws of cases from here on; they go on as they were when None.
            options: {"index": ...} for a case in place of a drawn one, {"split": ...} for another split.

        Returns:
            The first observation and its `info`.

        Raises:
            ValueError: There is no such case.
        """
        super().reset(seed=seed)
        self._episode = self._cases.make_episode(int(self.np_random.integers(self._cases.cases)), options)
        return _gym_observation(self._episode), _gym_info(self._episode)

    def step(self, action: str) -> tuple[EnvObservation, float, bool, bool, dict[str, Any]]:
        """Play a turn.

        Raises:
            TypeError: The action is not text.
            RuntimeError: The episode is over, or was not begun.
        """
        if not isinstance(action, str):
            raise TypeError(f"an action is the text of a turn, not {type(action).__name__}")
        episode = self.episode
        step_episodes(self._executor(), [episode], [action])
        info = _gym_info(episode)
        if episode.done:
            info["terms"] = dict(episode.score.terms)
        reward = episode.score.total if episode.done else 0.0
        return (
            _gym_observation(episode),
            reward,
            episode.termination == "answered",
            episode.termination in _TRUNCATED,
            info,
        )

    def render(self) -> Any:
        """The newest picture as uint8 `(H, W, 3)`, or the conversation as text."""
        if self.render_mode == "rgb_array":
            return np.array(self.episode.rendered(len(self.episode.store) - 1).rgb)
        if self.render_mode == "ansi":
            return message_text(self.episode.messages)
        return None

    def close(self) -> None:
        """Drop the episode and close an executor of its own."""
        self._episode = None
        if self._own_executor is not None:
            self._own_executor.close()
            self._own_executor = None

    def _executor(self) -> Executor:
        if self._shared_executor is not None:
            return self._shared_executor
        if self._own_executor is None:
            self._own_executor = LocalExecutor(self._cases.toolbox)
        return self._own_executor
