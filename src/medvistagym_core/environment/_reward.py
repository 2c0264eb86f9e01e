"""Rewards: named, weighted terms of what happened in an episode.

A `RewardTerm` is a function of an `EpisodeOutcome` (the turns, the results and the grade; never the right answer
itself). A `Reward` is a weighted sum of terms, each logged apart. Terms may come from plugins by name (the hook
`medvistagym_rewards`); a term that fails counts nothing and is warned of.

Presets:

`paper`: correctness, format and repetition as in VISTA-Gym (arXiv 2511.19773), R = R_correct + R_format + R_rep. As
printed there, R_correct is 0 or 1 and a well-formed wrong answer earns +1. Here R_correct is +1 or -1 and the weights
are 0.8, 0.2 and 0.2: a right answer earns 1 and at worst 0, a well-formed wrong one -0.6, an abstention at best 0.

`scout`: +1 right, less 0.05 for each call or malformed turn, at most 8 of them; 0 abstained; -0.5 wrong or no answer. A right
answer after any number of calls is worth more than abstaining, and abstaining more than a wrong one. Calls cost nothing but
where the answer is right, so that looking is never punished for not having found anything.

`scout_informed`: the same, and a right answer without the call it needed is worth nothing. It uses the task's knowledge.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping
from typing import Final

from medvistagym_core.environment._reward_terms import REWARD_TERMS, EpisodeOutcome, RewardTerm
from medvistagym_core.tools import closest_match, first_line

REWARD_PRESETS: Final[Mapping[str, Mapping[str, float]]] = {
    "paper": {"correct": 0.8, "format": 0.2, "repetition": 0.2, "calls": 0.0},
    "scout": {"right": 1.0, "wrong": 0.5, "efficiency": 0.05, "abstained": 0.0, "calls": 0.0},
    "scout_informed": {
        "right": 1.0,
        "wrong": 0.5,
        "efficiency": 0.05,
        "uninformed": 1.0,
        "abstained": 0.0,
        "calls": 0.0,
    },
}


@dataclasses.dataclass(frozen=True)
class RewardBreakdown:
    """A reward and what it is made of.

    Attributes:
        total: The weighted sum.
        terms: Each term's own value, before its weight.
        failed: Why a term counted nothing, by name.
    """

    total: float
    terms: Mapping[str, float]
    failed: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Reward:
    """A weighted sum of terms.

    Attributes:
        name: For reports.
        weights: Weight of each term; one of weight 0 is logged and counts nothing.
        terms: The terms by name; those of `REWARD_TERMS` unless given.

    Raises:
        ValueError: A weight is not finite, or there is no term of its name.
    """

    name: str
    weights: Mapping[str, float]
    terms: Mapping[str, RewardTerm] = dataclasses.field(default_factory=lambda: REWARD_TERMS, repr=False)

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            if name not in self.terms:
                suggestion = closest_match(name, list(self.terms))
                guess = f"did you mean {suggestion}?" if suggestion else f"the terms are {', '.join(self.terms)}"
                raise ValueError(f"there is no reward term {name!r}; {guess}")
            if not math.isfinite(weight):
                raise ValueError(f"the weight of {name} must be finite, not {weight}")

    @classmethod
    def preset(cls, name: str, /, *, terms: Mapping[str, RewardTerm] | None = None, **weights: float) -> Reward:
        """One of `REWARD_PRESETS`, some weights changed or added.

        Args:
            name: Name of the preset.
            terms: More terms by name, such as a registry's.
            **weights: New weights by term.

        Raises:
            ValueError: There is no such preset or term.
        """
        if name not in REWARD_PRESETS:
            raise ValueError(f"there is no reward preset {name!r}; choose one of {', '.join(REWARD_PRESETS)}")
        return cls(name, {**REWARD_PRESETS[name], **weights}, {**REWARD_TERMS, **(terms or {})})

    @classmethod
    def parse(cls, text: str, *, terms: Mapping[str, RewardTerm] | None = None) -> Reward:
        """The reward that a text such as "scout" or "paper,calls=0.1,brief=0.5" names: a preset, and weights to change.

        Args:
            text: What a command line or a recipe says.
            terms: More terms by name, such as a registry's.

        Raises:
            ValueError: There is no such preset or term, or a weight is no number.
        """
        name, *changes = (part.strip() for part in text.split(","))
        weights: dict[str, float] = {}
        for change in changes:
            term, _, weight = change.partition("=")
            try:
                weights[term.strip()] = float(weight)
            except ValueError:
                raise ValueError(f"a weight is written term=number, not {change!r}") from None
        return cls.preset(name, terms=terms, **weights)

    @property
    def uses_privileged_information(self) -> bool:
        """Whether it pays by what only the task knows, beyond the right answer."""
        return bool(self.weights.get("uninformed"))

    def __call__(self, outcome: EpisodeOutcome) -> RewardBreakdown:
        """The score of an episode.

        A term that raises, or gives no finite number, counts 0 and is named in `failed` and in a `PluginWarning`.
        """
        values: dict[str, float] = {}
        failed: dict[str, str] = {}
        total = 0.0
        for name, weight in self.weights.items():
            try:
                value = float(self.terms[name](outcome))
                if not math.isfinite(value):
                    failed[name], value = f"gave {value}", 0.0
            except Exception as error:  # noqa: BLE001 - a plugin's term must not end a run
                failed[name], value = f"{type(error).__name__}: {first_line(error)}", 0.0
            values[name] = value
            total += weight * value
        for name, reason in failed.items():
            _warn_of_failure(name, reason)
        return RewardBreakdown(total, values, failed)


def _warn_of_failure(name: str, reason: str) -> None:
    from medvistagym_core.plugins import PluginWarning

    warnings.warn(f"the reward term {name} failed and counts 0: {reason}", PluginWarning, stacklevel=3)
