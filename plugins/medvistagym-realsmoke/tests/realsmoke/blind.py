"""A policy that answers without looking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medvistagym_core.environment import Observation


class Blind:
    """Draws an option, and for a number says one; it reads no image."""

    name = "blind"
    sampling: dict[str, Any] = {}  # noqa: RUF012

    def act(self, observations: Sequence[Observation]) -> list[str | Exception]:
        said = []
        for observation in observations:
            rng = np.random.default_rng(observation.seed)
            options = observation.options or ("100 mm",)
            said.append(f"<answer>{options[int(rng.integers(len(options)))]}</answer>")
        return said  # type: ignore[return-value] # a list of texts is one of texts or errors
