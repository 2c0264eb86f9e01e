"""Rewards: named, weighted terms of what happened in an episode.

A `Term` is a function of an `Outcome` (the turns, the results and the grade; never the right answer itself). A `Reward` is a
weighted sum of terms, each logged apart. Terms may come from plugins by name (the hook `medvistagym_rewards`); a term that
fails counts nothing and says so in `Score.failed`.

Presets:

`paper`: correctness, format and repetition as in VISTA-Gym (arXiv 2511.19773), R = R_correct + R_format + R_rep. As printed
there, R_correct is 0 or 1 and a well-formed wrong answer earns +1. Here R_correct is +1 or -1 and the weights are 0.8, 0.2 and
0.2: a right answer earns 1 and at worst 0, a well-formed wrong one -0.6, an abstention at best 0.

`scout`: +1 right, less 0.05 for each call or malformed turn, at most 8 of them; 0 abstained; -0.5 wrong or no answer. A right
answer after any number of calls is worth more than abstaining, and abstaining more than a wrong one. Calls cost nothing but
where the answer is right, so that looking is never punished for not having found anything.

`scout_informed`: the same, and a right answer without the call it needed is worth nothing. It uses the task's knowledge.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from medvistagym_core.grading import Grade
from medvistagym_core.protocol import Turn
from medvistagym_core.tool import ToolCall, ToolResult, nearest


class Played(Protocol):
    """A turn of an episode and what its calls gave."""

    @property
    def turn(self) -> Turn: ...
    @property
    def given(self) -> tuple[ToolResult, ...]: ...


_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_new: Final = tuple.__new__  # that of a named tuple takes twice as long


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a reward may look at, once an episode is over.

    Attributes:
        turns: What the policy did, in order.
        results: What its calls gave, per turn; empty for a turn without calls.
        grade: How its answer compares with the right one.
        informed: Whether a call that tells something about the case was made, or none was needed; None where the task does
            not know. It is the task's knowledge, not the policy's: a reward that uses it says so.
    """

    turns: tuple[Turn, ...]
    results: tuple[tuple[ToolResult, ...], ...]
    grade: Grade
    informed: bool | None = None

    @cached_property
    def calls(self) -> int:
        """Calls that the policy made, good or bad, and turns that could not be read."""
        return sum([len(turn.calls) or turn.error is not None for turn in self.turns])

    @classmethod
    def of(cls, steps: Sequence[Played], calls: int, grade: Grade, informed: bool | None) -> Outcome:
        """The outcome of some steps, with as many calls. Most rewards ask for no more than that and the grade, so turns and
        results are gathered when somebody looks at them.
        """
        outcome = object.__new__(cls)
        outcome.__dict__.update(calls=calls, grade=grade, informed=informed, _steps=steps)
        return outcome

    def __reduce__(self) -> tuple[Any, ...]:
        return Outcome, (self.turns, self.results, self.grade, self.informed)


def _gathered(field: str, of: str) -> None:
    """Have a field of an outcome gathered from its steps, where it was not given."""
    part = attrgetter(of)
    found = cached_property(lambda outcome: tuple(map(part, outcome._steps)))  # noqa: SLF001 what `Outcome.of` put there
    found.__set_name__(Outcome, field)
    setattr(Outcome, field, found)


_gathered("turns", "turn")
_gathered("results", "given")

Term = Callable[[Outcome], float]


def correct(outcome: Outcome) -> float:
    """+1 right, -1 wrong or no answer, -0.25 abstained."""
    return 1.0 if outcome.grade.correct else -0.25 if outcome.grade.abstained else -1.0


def right(outcome: Outcome) -> float:
    """1 for a right answer, else 0."""
    return float(outcome.grade.correct)


def credit(outcome: Outcome) -> float:
    """How right the answer is, in 0 to 1 (`Grade.credit`): 1 or 0 but for sets, boxes and free texts."""
    return outcome.grade.credit


def wrong(outcome: Outcome) -> float:
    """-1 for a wrong answer or none, else 0."""
    return -float(outcome.grade.wrong)


def abstained(outcome: Outcome) -> float:
    """1 for the task's "I cannot tell", else 0."""
    return float(outcome.grade.abstained)


def well_formed(outcome: Outcome) -> float:
    """+1 when every turn conforms to the protocol and the last one answers, else -1 (R_format)."""
    turns = outcome.turns
    return 1.0 if turns and turns[-1].answer is not None and all(turn.conforms for turn in turns) else -1.0


def calls(outcome: Outcome) -> float:
    """Minus the number of calls and unreadable turns, -8 at least."""
    return -float(min(outcome.calls, 8))


def efficiency(outcome: Outcome) -> float:
    """Minus the number of calls and unreadable turns where the answer is right, -8 at least; else 0."""
    return calls(outcome) if outcome.grade.correct else 0.0


def uninformed(outcome: Outcome) -> float:
    """-1 for a right answer without a call that told anything, where one was needed: a lucky guess; else 0.

    Uses the task's knowledge of which call tells something.
    """
    return -float(outcome.grade.correct and outcome.informed is False)


def repetition(outcome: Outcome) -> float:
    """R_rep, one of 0, -1.5, -2, -3.

    VISTA-Gym gives the values and not the rule; the rule here: -3 when some run of six words comes eight times or more in
    what the policy wrote, -2 when four times or more, -1.5 when a call is made again although the first did not time out or
    break, or the same reasoning is given twice, else 0.
    """
    words = [word for turn in outcome.turns for word in turn.text.split()]
    if len(words) >= 24:
        most = max(Counter(zip(*(words[k:] for k in range(6)), strict=False)).values())
        if most >= 4:
            return -3.0 if most >= 8 else -2.0
    thoughts = [turn.think for turn in outcome.turns if turn.think]
    if len(thoughts) != len(set(thoughts)):
        return -1.5
    seen: set[str] = set()
    for turn, results in zip(outcome.turns, outcome.results, strict=True):
        for call, result in zip(turn.calls, results, strict=False):
            key = _same(call)
            if key in seen:
                return -1.5
            if result.error is None or result.error.code not in ("timeout", "tool_failed"):
                seen.add(key)
    return 0.0


def _same(call: ToolCall) -> str:
    return call.name + json.dumps(call.arguments, sort_keys=True, default=str)


TERMS: Final[Mapping[str, Term]] = {
    "correct": correct,
    "right": right,
    "credit": credit,
    "wrong": wrong,
    "abstained": abstained,
    "format": well_formed,
    "repetition": repetition,
    "calls": calls,
    "efficiency": efficiency,
    "uninformed": uninformed,
}

PRESETS: Final[Mapping[str, Mapping[str, float]]] = {
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


class Score(NamedTuple):
    """A reward and what it is made of.

    Attributes:
        total: The weighted sum.
        terms: Each term's own value, before its weight.
        failed: Why a term counted nothing, by name.
    """

    total: float
    terms: Mapping[str, float]
    failed: Mapping[str, str] = _NOTHING


@dataclasses.dataclass(frozen=True)
class Reward:
    """A weighted sum of terms.

    Attributes:
        name: For reports.
        weights: Weight of each term; one of weight 0 is logged and counts nothing.
        terms: The terms by name; those of `TERMS` unless given.
    """

    name: str
    weights: Mapping[str, float]
    terms: Mapping[str, Term] = dataclasses.field(default_factory=lambda: TERMS, repr=False)

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            if name not in self.terms:
                near = nearest(name, list(self.terms))
                guess = f"did you mean {near}?" if near else f"the terms are {', '.join(self.terms)}"
                raise ValueError(f"there is no reward term {name!r}; {guess}")
            if not math.isfinite(weight):
                raise ValueError(f"the weight of {name} must be finite, not {weight}")

    @classmethod
    def preset(cls, name: str, /, *, terms: Mapping[str, Term] | None = None, **weights: float) -> Reward:
        """One of `PRESETS`, some weights changed or added.

        Args:
            name: Name of the preset.
            terms: More terms by name, such as a registry's.
            **weights: New weights by term.

        Raises:
            ValueError: There is no such preset or term.
        """
        if name not in PRESETS:
            raise ValueError(f"there is no reward preset {name!r}; choose one of {', '.join(PRESETS)}")
        return cls(name, {**PRESETS[name], **weights}, {**TERMS, **(terms or {})})

    @classmethod
    def parse(cls, text: str, *, terms: Mapping[str, Term] | None = None) -> Reward:
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
    def uses_truth(self) -> bool:
        """Whether it pays by what only the task knows, beyond the right answer."""
        return bool(self.weights.get("uninformed"))

    def __call__(self, outcome: Outcome) -> Score:
        """The score of an episode. A term that raises, or gives no finite number, counts 0 and is named in `failed`."""
        values: dict[str, float] = {}
        failed: dict[str, str] = {}
        total, terms, isfinite = 0.0, self.terms, math.isfinite
        for name, weight in self.weights.items():
            try:
                value = terms[name](outcome)
                if type(value) is not float:
                    value = float(value)
                if not isfinite(value):
                    failed[name], value = f"gave {value}", 0.0
            except Exception as error:  # noqa: BLE001 - a plugin's term must not end a run
                failed[name], value = f"{type(error).__name__}: {str(error)[:200]}", 0.0
            values[name] = value
            total += weight * value
        return _new(Score, (total, values, failed))
