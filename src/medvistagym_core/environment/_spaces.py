"""The gymnasium spaces of text and images, and observations made for them."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from gymnasium import spaces

from medvistagym_core.environment._config import EpisodeConfig
from medvistagym_core.environment._episode import Episode
from medvistagym_core.protocol import result_lines

MAX_TEXT_LENGTH = 1_000_000
EnvObservation = dict[str, Any]
_TRUNCATED: Final = frozenset(("turns", "tokens"))


class TextSpace(spaces.Text):
    """Any text of up to a million characters; samples are short and printable."""

    def __init__(self, seed: int | np.random.Generator | None = None) -> None:
        super().__init__(MAX_TEXT_LENGTH, min_length=0, charset=string.printable, seed=seed)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A short random text."""
        letters = self.np_random.choice(list(string.printable), size=int(self.np_random.integers(1, 33)))
        return "".join(letters)

    def contains(self, x: Any) -> bool:
        """Whether `x` is such a text."""
        return isinstance(x, str) and len(x) <= MAX_TEXT_LENGTH


class ImageSpace(spaces.Space[Any]):
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
        return isinstance(other, ImageSpace) and other.side == self.side

    def __hash__(self) -> int:
        return hash(("Picture", self.side))

    def __repr__(self) -> str:
        return f"Picture({self.side or ''})"


def _observation_space(settings: EpisodeConfig) -> spaces.Dict:
    return spaces.Dict({"text": TextSpace(), "images": spaces.Sequence(ImageSpace(settings.view_side))})


def _gym_observation(episode: Episode) -> EnvObservation:
    text, images = _observation_parts(episode)
    return {"text": text, "images": images}


def _observation_parts(episode: Episode) -> tuple[str, tuple[Any, ...]]:
    """The text and the pictures of what is new."""
    if not episode.steps:
        side = episode.settings.view_side
        return episode.initial_text, tuple([image.rendered(side).rgb for image in episode.case.images])
    max_chars, compact = episode.settings.limits.max_observation, episode.settings.compact
    lines: list[str] = []
    images: list[Any] = []
    for result in episode.steps[-1].shown_results:
        lines += result_lines(result, max_chars, compact)
        images += [episode.rendered(handle).rgb for handle in result.handles]
    return "\n".join(lines), tuple(images)


def _gym_info(episode: Episode) -> dict[str, Any]:
    return {"case": episode.id, "turn": episode.turns, "calls": episode.calls, "error": episode.last_error or ""}


def _object_array(values: Sequence[Any], dtype: type) -> np.ndarray:
    """An array of one value an environment."""
    array: np.ndarray = np.empty(len(values), dtype)
    array[:] = values
    return array
