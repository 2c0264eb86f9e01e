"""The environment as gymnasium knows it: `reset` and `step`, alone and as a vector.

An action is the text of a turn. An observation is what is new: `text`, and `images`, the pictures in it. The episode itself,
with its chat messages and handles, is `MedVistaEnv.episode`. The reward comes with the last step; an answer terminates, running
out of turns or tokens truncates. `info` has the case's name, the turns and calls so far, the code of the last error, and at the
end the reward's terms; it never has the right answer.

This module imports gymnasium; the rest of the core does not.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any, Final

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from medvistagym_core import conversation
from medvistagym_core.episode import Episode, step_episodes
from medvistagym_core.execution import Executor, LocalExecutor
from medvistagym_core.registry import Toolbox
from medvistagym_core.reward import Score
from medvistagym_core.settings import Settings
from medvistagym_core.task import Task

__all__ = ["MedVistaEnv", "MedVistaVectorEnv", "Picture", "Writing"]

LONGEST = 1_000_000
View = dict[str, Any]
_CUT: Final = frozenset(("turns", "tokens"))


class Writing(spaces.Text):
    """Any text of up to a million characters; samples are short and printable."""

    def __init__(self, seed: int | np.random.Generator | None = None) -> None:
        super().__init__(LONGEST, min_length=0, charset=string.printable, seed=seed)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A short random text."""
        letters = self.np_random.choice(list(string.printable), size=int(self.np_random.integers(1, 33)))
        return "".join(letters)

    def contains(self, x: Any) -> bool:
        """Whether `x` is such a text."""
        return isinstance(x, str) and len(x) <= LONGEST


class Picture(spaces.Space[Any]):
    """A picture of any size: uint8 `(H, W, 3)`, the longer side at most `side` pixels when one is given."""

    def __init__(self, side: int | None = None, seed: int | np.random.Generator | None = None) -> None:
        super().__init__(None, np.uint8, seed)
        self.side = side

    @property
    def is_np_flattenable(self) -> bool:
        """Pictures differ in size, so they do not flatten."""
        return False

    def sample(self, mask: Any = None, probability: Any = None) -> Any:
        """A small picture of noise."""
        height, width = self.np_random.integers(1, min(self.side or 16, 16) + 1, 2)
        return self.np_random.integers(0, 256, (height, width, 3), np.uint8)

    def contains(self, x: Any) -> bool:
        """Whether `x` is such a picture."""
        fits = isinstance(x, np.ndarray) and x.dtype == np.uint8 and x.ndim == 3 and x.shape[2] == 3 and x.size > 0
        return fits and (self.side is None or max(x.shape[:2]) <= self.side)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Picture) and other.side == self.side

    def __hash__(self) -> int:
        return hash(("Picture", self.side))

    def __repr__(self) -> str:
        return f"Picture({self.side or ''})"


def _observation_space(settings: Settings) -> spaces.Dict:
    return spaces.Dict({"text": Writing(), "images": spaces.Sequence(Picture(settings.view_side))})


def _observed(episode: Episode) -> View:
    text, images = _seen(episode)
    return {"text": text, "images": images}


def _seen(episode: Episode) -> tuple[str, tuple[Any, ...]]:
    """The text and the pictures of what is new."""
    steps = episode.steps
    if not steps:
        side = episode.settings.view_side
        return episode.opening_text, tuple([conversation.picture(image, side).rgb for image in episode.case.images])
    if (text := steps[-1].text) is not None:  # what follows says the same, at three times the cost
        return text, ()
    texts: list[str] = []
    images: list[Any] = []
    for block in episode.news_blocks:
        if block["type"] == "text":
            texts.append(block["text"])
        else:
            images.append(episode.picture(block["image"]).rgb)
    return "\n".join(texts), tuple(images)


def _facts(episode: Episode) -> dict[str, Any]:
    return {"case": episode.id, "turn": episode.turns, "calls": episode.calls, "error": episode.last_error or ""}


def _gathered(values: Sequence[Any], dtype: type) -> np.ndarray:
    """An array of one value an environment."""
    found: np.ndarray = np.empty(len(values), dtype)
    found[:] = values
    return found


class _Cases:
    """Deals out episodes of a task."""

    def __init__(self, task: Task, toolbox: Toolbox, settings: Settings, split: str, cases: int, seed: int) -> None:
        if split not in task.splits:
            raise ValueError(f"{task.name} has no split {split!r}; it has {', '.join(task.splits)}")
        if cases < 1:
            raise ValueError(f"cases is at least 1, not {cases}")
        self.task, self.toolbox, self.settings = task, toolbox, settings
        self.split, self.cases, self.seed = split, cases, seed

    def deal(self, drawn: int, options: dict[str, Any] | None = None) -> Episode:
        split, index = self.split, drawn
        if options:
            split, index = options.get("split", split), options.get("index", index)
        return Episode.of(self.task, split, index, self.toolbox, self.settings, seed=self.seed)


class _Draws:
    """Positions of cases, drawn some at a time: the same as one by one, and quicker."""

    def __init__(self, cases: int, seed: int | None = None) -> None:
        self._rng = gymnasium.utils.seeding.np_random(seed)[0]
        self._cases = cases
        self._ready: list[int] = []

    def next(self) -> int:
        if not self._ready:
            self._ready = self._rng.integers(self._cases, size=64).tolist()[::-1]
        return self._ready.pop()


class MedVistaEnv(gymnasium.Env[View, str]):
    """One episode after another.

    Args:
        task: Where cases come from.
        toolbox: The tools that may be called.
        settings: How episodes are played.
        split: Split of the cases.
        cases: Cases are drawn from the first so many of the split; `reset(options={"index": ...})` picks one, and
            `options={"split": ...}` another split.
        case_seed: Seed of the cases.
        executor: Runs the calls; one of its own when None, which `close` closes.
        render_mode: "rgb_array" for the newest picture, "ansi" for the conversation as text, or None.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 1}  # noqa: RUF012

    def __init__(
        self,
        task: Task,
        toolbox: Toolbox,
        settings: Settings | None = None,
        *,
        split: str = "train",
        cases: int = 1000,
        case_seed: int = 0,
        executor: Executor | None = None,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode is 'rgb_array', 'ansi' or None, not {render_mode!r}")
        self.settings = settings or Settings()
        self.render_mode = render_mode
        self.action_space = Writing()
        self.observation_space = _observation_space(self.settings)
        self._cases = _Cases(task, toolbox, self.settings, split, cases, case_seed)
        self._given = executor
        self._own: LocalExecutor | None = None
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

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[View, dict[str, Any]]:
        """Begin an episode; see `options` of the class."""
        super().reset(seed=seed)
        self._episode = self._cases.deal(int(self.np_random.integers(self._cases.cases)), options)
        return _observed(self._episode), _facts(self._episode)

    def step(self, action: str) -> tuple[View, float, bool, bool, dict[str, Any]]:
        """Play a turn.

        Raises:
            TypeError: The action is not text.
            RuntimeError: The episode is over, or was not begun.
        """
        if not isinstance(action, str):
            raise TypeError(f"an action is the text of a turn, not {type(action).__name__}")
        episode = self.episode
        step_episodes(self._executor(), [episode], [action])
        info = _facts(episode)
        if episode.done:
            info["terms"] = dict(episode.score.terms)
        reward = episode.score.total if episode.done else 0.0
        return _observed(episode), reward, episode.ended == "answered", episode.ended in _CUT, info

    def render(self) -> Any:
        """The newest picture as uint8 `(H, W, 3)`, or the conversation as text."""
        if self.render_mode == "rgb_array":
            return np.array(self.episode.picture(len(self.episode.store) - 1).rgb)
        if self.render_mode == "ansi":
            return conversation.text_of(self.episode.messages)
        return None

    def close(self) -> None:
        """Drop the episode and close an executor of its own."""
        self._episode = None
        if self._own is not None:
            self._own.close()
            self._own = None

    def _executor(self) -> Executor:
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = LocalExecutor(self._cases.toolbox)
        return self._own


class MedVistaVectorEnv(VectorEnv[View, Sequence[str], Any]):
    """Several episodes at a time, all their tool calls in one run of the executor.

    An episode that ended is begun anew by the next `step`, which ignores its action and gives it reward 0 (gymnasium's
    next-step autoreset). Cases are drawn as in `num_envs` environments seeded `seed`, `seed + 1`, ...

    Args:
        task: Where cases come from.
        toolbox: The tools that may be called.
        num_envs: Episodes at a time.
        settings: How episodes are played.
        split: Split of the cases.
        cases: Cases are drawn from the first so many of the split.
        case_seed: Seed of the cases.
        executor: Runs the calls; one of its own when None, which `close` closes.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        task: Task,
        toolbox: Toolbox,
        num_envs: int,
        settings: Settings | None = None,
        *,
        split: str = "train",
        cases: int = 1000,
        case_seed: int = 0,
        executor: Executor | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs is at least 1, not {num_envs}")
        self.num_envs = num_envs
        self.settings = settings or Settings()
        self.render_mode = None
        self.single_action_space = Writing()
        self.single_observation_space = _observation_space(self.settings)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._cases = _Cases(task, toolbox, self.settings, split, cases, case_seed)
        self._own = LocalExecutor(toolbox) if executor is None else None
        self._executor: Executor = executor or self._own  # type: ignore[assignment]
        self._draws = [_Draws(cases) for _ in range(num_envs)]
        self.episodes: list[Episode] = []

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[View, dict[str, Any]]:
        """Begin all episodes anew."""
        seeds = (
            [None if seed is None else seed + k for k in range(self.num_envs)]
            if not isinstance(seed, Sequence)
            else list(seed)
        )
        if len(seeds) != self.num_envs:
            raise ValueError(f"there are {self.num_envs} environments, not {len(seeds)} seeds")
        for k, one in enumerate(seeds):
            if one is not None:
                self._draws[k] = _Draws(self._cases.cases, one)
        self.episodes = [self._cases.deal(draws.next(), options) for draws in self._draws]
        return self._observed(), self._info()

    def step(self, actions: Sequence[str]) -> tuple[View, Any, Any, Any, dict[str, Any]]:
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
        said: list[str] = []
        for k, episode in enumerate(self.episodes):
            if episode.ended is not None:
                self.episodes[k] = self._cases.deal(self._draws[k].next())
            else:
                live.append(episode)
                said.append(actions[k])
        step_episodes(self._executor, live, said)
        rewards = np.zeros(self.num_envs)
        terminated, truncated = np.zeros((2, self.num_envs), bool)
        over = [k for k, episode in enumerate(self.episodes) if episode.ended is not None]
        scores: list[Score] = []
        if over:
            where, ended = np.array(over), [self.episodes[k] for k in over]
            scores = [episode.score for episode in ended]
            rewards[where] = [score.total for score in scores]
            terminated[where] = [episode.ended == "answered" for episode in ended]
            truncated[where] = [episode.ended in _CUT for episode in ended]
        return self._observed(), rewards, terminated, truncated, self._info(over, scores)

    def close_extras(self, **kwargs: Any) -> None:
        """Drop the episodes and close an executor of its own."""
        self.episodes = []
        if self._own is not None:
            self._own.close()

    def _observed(self) -> View:
        texts: list[str] = []
        images: list[tuple[Any, ...]] = []
        for episode in self.episodes:
            steps = episode.steps
            text = steps[-1].text if steps else None
            shown: tuple[Any, ...] = ()
            if text is None:
                text, shown = _seen(episode)
            texts.append(text)
            images.append(shown)
        return {"images": tuple(images), "text": tuple(texts)}

    def _info(self, over: Sequence[int] = (), scores: Sequence[Score] = ()) -> dict[str, Any]:
        """What `VectorEnv._add_info` would make of everybody's facts, an array a key and its mask.

        Args:
            over: The episodes that are over.
            scores: What each of them is worth.
        """
        episodes = self.episodes
        info: dict[str, Any] = {
            "case": _gathered([episode.id for episode in episodes], object),
            "turn": _gathered([len(episode.steps) for episode in episodes], int),
            "calls": _gathered([episode.calls for episode in episodes], int),
            "error": _gathered(
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
