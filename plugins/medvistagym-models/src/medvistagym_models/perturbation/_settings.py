"""Settings of perturbations: which results are perturbed, how many, and how."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable
from typing import Any, Final, get_args

from medvistagym_core.tools import Perturbation, closest_match

KINDS: Final[tuple[Perturbation, ...]] = get_args(Perturbation)
BUILT_IN: Final = ("local", "process")
"""Executors that are there without a plugin."""


@dataclasses.dataclass(frozen=True)
class PerturbationSettings:
    """Which results are made wrong, how many, and how.

    Attributes:
        rate: Share of the results that is made wrong, 0 to 1.
        kinds: What is done to one, chosen evenly among those that can be done to it.
        seed: Equal calls of equal images are treated alike under one seed, in whichever order they come.
        tools: Patterns of the names of tools, joined by +; None for those whose results name a model.
        executor: What runs the tools, as `--executor` names it: "local", "process", "ray:ADDRESS", ...
    """

    rate: float = 0.2
    kinds: tuple[Perturbation, ...] = KINDS
    seed: int = 0
    tools: str | None = None
    executor: str = "local"

    def names(self, tool: str) -> bool:
        """Whether one of the patterns is that of a tool's name."""
        return any(fnmatch.fnmatchcase(tool, pattern) for pattern in (self.tools or "").split("+"))


def parse_settings(text: str) -> PerturbationSettings:
    """The settings that a text says, such as "rate=0.3,seed=1,kinds=dropped+shifted,tools=find_*,executor=process".

    Raises:
        ValueError: It is none; the sentence says what is accepted.
    """
    readers: dict[str, Callable[[str], Any]] = {
        "rate": _rate,
        "kinds": _kinds,
        "seed": int,
        "tools": str,
        "executor": str,
    }
    values: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or name not in readers or name in values:
            near = closest_match(name, list(readers))
            hint = (
                f"did you mean {near}?"
                if near and name not in readers
                else f"the settings are {', '.join(readers)}, each once"
            )
            raise ValueError(f"perturb takes settings such as rate=0.2,seed=1, not {part!r}; {hint}")
        try:
            values[name] = readers[name](value)
        except ValueError as error:
            raise ValueError(f"perturb: {name}={value}: {error}") from None
    return PerturbationSettings(**values)


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 <= rate <= 1:
        raise ValueError("a rate lies between 0 and 1")
    return rate


def _kinds(text: str) -> tuple[Perturbation, ...]:
    kinds = text.split("+")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"{unknown[0]!r} is not one of {', '.join(KINDS)}, joined by +")
    return tuple(kind for kind in KINDS if kind in kinds)
