"""Reward terms: functions from the outcome of an episode to a number, by name."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from medvistagym_core.environment.grading import Grade
from medvistagym_core.protocol import Turn
from medvistagym_core.tools import ToolCall, ToolResult


@dataclasses.dataclass(frozen=True)
class EpisodeOutcome:
    """What a reward may look at, once an episode is over.

    Attributes:
        turns: What the policy did, in order.
        results: What its calls gave, per turn; empty for a turn without calls.
        grade: How its answer compares with the right one.
        had_required_information: Whether a call that tells something about the case was made, or none was needed; None
            where the task does not know. It is the task's knowledge, not the policy's: a reward that uses it says so.
    """

    turns: tuple[Turn, ...]
    results: tuple[tuple[ToolResult, ...], ...]
    grade: Grade
    had_required_information: bool | None = None

    @property
    def calls(self) -> int:
        """Calls that the policy made, good or bad, and turns that could not be read."""
        return sum([len(turn.calls) or turn.error is not None for turn in self.turns])

    @property
    def repaired_calls(self) -> int:
        """Calls that ran only after something was mended in their form or their arguments (docs/protocol.md)."""
        pairs = (
            pair
            for turn, results in zip(self.turns, self.results, strict=True)
            for pair in zip(turn.calls, results, strict=False)
        )
        return sum([bool(call.repairs or result.repairs) for call, result in pairs])


RewardTerm = Callable[[EpisodeOutcome], float]


def correctness_signed(outcome: EpisodeOutcome) -> float:
    """+1 right, -1 wrong or no answer, -0.25 abstained."""
    return 1.0 if outcome.grade.correct else -0.25 if outcome.grade.abstained else -1.0


def accuracy(outcome: EpisodeOutcome) -> float:
    """1 for a right answer, else 0."""
    return float(outcome.grade.correct)


def credit(outcome: EpisodeOutcome) -> float:
    """How right the answer is, in 0 to 1 (`Grade.partial_credit`): 1 or 0 but for sets and boxes."""
    return outcome.grade.partial_credit


def wrong(outcome: EpisodeOutcome) -> float:
    """-1 for a wrong answer or none, else 0."""
    return -float(outcome.grade.wrong)


def abstained(outcome: EpisodeOutcome) -> float:
    """1 for the task's "I cannot tell", else 0."""
    return float(outcome.grade.abstained)


def format_reward(outcome: EpisodeOutcome) -> float:
    """+1 when every turn conforms to the protocol and the last one answers, else -1 (R_format)."""
    turns = outcome.turns
    return 1.0 if turns and turns[-1].answer is not None and all(turn.well_formed for turn in turns) else -1.0


def call_count_penalty(outcome: EpisodeOutcome) -> float:
    """Minus the number of calls and unreadable turns, -8 at least."""
    return -float(min(outcome.calls, 8))


def repair_penalty(outcome: EpisodeOutcome) -> float:
    """Minus the number of calls that had to be repaired, -8 at least."""
    return -float(min(outcome.repaired_calls, 8))


def call_cost_when_correct(outcome: EpisodeOutcome) -> float:
    """Minus the number of calls and unreadable turns where the answer is right, -8 at least; else 0."""
    return call_count_penalty(outcome) if outcome.grade.correct else 0.0


def lucky_guess_penalty(outcome: EpisodeOutcome) -> float:
    """-1 for a right answer without a call that told anything, where one was needed: a lucky guess; else 0.

    Uses the task's knowledge of which call tells something.
    """
    return -float(outcome.grade.correct and outcome.had_required_information is False)


def repetition(outcome: EpisodeOutcome) -> float:
    """R_rep, one of 0, -1.5, -2, -3.

    VISTA-Gym gives the values and not the rule; the rule here: -3 when some run of six words comes eight times or more in
    what the policy wrote, -2 when four times or more, -1.5 when a call is made again although the first did not time out or
    break, or the same reasoning is given twice, else 0.
    """
    words = [word for turn in outcome.turns for word in turn.text.split()]
    if len(words) >= 24:
        repeats = max(Counter(zip(*(words[k:] for k in range(6)), strict=False)).values())
        if repeats >= 4:
            return -3.0 if repeats >= 8 else -2.0
    thoughts = [turn.reasoning for turn in outcome.turns if turn.reasoning]
    if len(thoughts) != len(set(thoughts)):
        return -1.5
    seen: set[str] = set()
    for turn, results in zip(outcome.turns, outcome.results, strict=True):
        for call, result in zip(turn.calls, results, strict=False):
            key = _call_key(call)
            if key in seen:
                return -1.5
            if result.error is None or result.error.code not in ("timeout", "tool_failed"):
                seen.add(key)
    return 0.0


def _call_key(call: ToolCall) -> str:
    return call.name + json.dumps(call.arguments, sort_keys=True, default=str)


REWARD_TERMS: Final[Mapping[str, RewardTerm]] = {
    "correct": correctness_signed,
    "right": accuracy,
    "credit": credit,
    "wrong": wrong,
    "abstained": abstained,
    "format": format_reward,
    "repetition": repetition,
    "calls": call_count_penalty,
    "repairs": repair_penalty,
    "efficiency": call_cost_when_correct,
    "uninformed": lucky_guess_penalty,
}
