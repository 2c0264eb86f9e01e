"""How much answers depend on what tools return, from episodes that went on from replaced results."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from medvistagym_core.environment.grading import normalize_answer
from medvistagym_core.scoring._document import ToolReliance
from medvistagym_core.trajectories import OVERALL, Trajectory, wilson_interval


@dataclasses.dataclass(frozen=True)
class ReplacedAnswer:
    """What an episode answered with the recorded result, and with another one.

    Attributes:
        before: The record.
        after: The record with the replaced result.
        tool: Name of the tool whose result was replaced.
        followed: Whether the second answer is right for the case that the result came from; None where there is none, or
            where both cases have the same right answer.
    """

    before: Trajectory
    after: Trajectory
    tool: str
    followed: bool | None = None

    @property
    def changed(self) -> bool:
        """Whether the answers differ by more than case, articles and punctuation."""
        first, second = self.before.outcome.answer, self.after.outcome.answer
        return normalize_answer(first or "") != normalize_answer(second or "")

    @property
    def should_change(self) -> bool | None:
        """Whether the result told the answer: the task says which tool a case needs; None where it does not."""
        needed = self.before.outcome.needed
        return None if needed is None else needed == self.tool


def measure_reliance(
    answers: Iterable[ReplacedAnswer], results: Literal["blank", "shuffled", "swapped"]
) -> list[ToolReliance]:
    """Reliance on each tool, for each kind of question and for all of them. Episodes in which the policy failed are left out.

    Args:
        answers: The answers.
        results: What the results were replaced by.
    """
    groups: dict[tuple[str, str, str], list[ReplacedAnswer]] = defaultdict(list)
    for answer in answers:
        if "policy_failed" in (answer.before.outcome.ended, answer.after.outcome.ended):
            continue
        for family in (answer.before.family, OVERALL):
            groups[answer.before.task, answer.tool, family].append(answer)
    order = sorted(groups, key=lambda key: (key[0], key[1], key[2] == OVERALL, key[2]))
    return [_reliance(*key, results, groups[key]) for key in order]


def _reliance(
    task: str,
    tool: str,
    family: str,
    results: Literal["blank", "shuffled", "swapped"],
    answers: Sequence[ReplacedAnswer],
) -> ToolReliance:
    # A question is the unit of the interval: its samplings count as one, with the mean of what became of them.
    questions = len({answer.before.case for answer in answers})
    low, high = wilson_interval(questions * sum(answer.changed for answer in answers) / len(answers), questions)
    should = [answer.changed for answer in answers if answer.should_change]
    return ToolReliance(
        task=task,
        results=results,
        tool=tool,
        family=family,
        episodes=len(answers),
        changed=_share([answer.changed for answer in answers]),
        low=low,
        high=high,
        should_change=len(should),
        changed_when_should=_share(should),
        changed_when_should_not=_share([answer.changed for answer in answers if answer.should_change is False]),
        accuracy_before=_share([answer.before.outcome.correct for answer in answers]),
        accuracy_after=_share([answer.after.outcome.correct for answer in answers]),
        followed=_share([answer.followed for answer in answers if answer.followed is not None]),
    )


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None
