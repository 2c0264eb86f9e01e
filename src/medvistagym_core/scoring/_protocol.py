"""The `ScoringProtocol` contract, and the scores that it returns."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, Protocol

from medvistagym_core.scoring._item import ScoredItem, benchmark_key
from medvistagym_core.scoring._judge import Judge, Judgement
from medvistagym_core.scoring._measures import Measures
from medvistagym_core.trajectories import wilson_interval

Verdict = Literal["right", "wrong", "measured", "drawn", "unjudged", "error", "excluded"]
"""right, wrong: what they say. measured: a share of words, neither of both. drawn: the harness draws a letter, and the score is
what a draw is expected to give. unjudged: a judge is needed and none was given. error: the judge or the item failed. excluded:
not a question of this protocol."""


@dataclasses.dataclass(frozen=True, slots=True)
class ItemScore:
    """What one answer is worth under one protocol.

    Attributes:
        item: The question and the answer.
        verdict: What became of it.
        score: What it is worth, in 0 to 1; None when it is unjudged, an error or excluded.
        group: What the protocol counts it under: "closed", "open" or "choice".
        answer: The answer as the protocol read it.
        reason: Why, where the verdict alone does not say.
        measures: Measures of the words, for questions without options.
        judgement: What was asked of a judge, and what it said.
        rule_score: What the protocol's rule gives where a judge decides.
    """

    item: ScoredItem
    verdict: Verdict
    score: float | None = None
    group: str = ""
    answer: str = ""
    reason: str = ""
    measures: Measures | None = None
    judgement: Judgement | None = None
    rule_score: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Denominator:
    """A number as it would be published, with what it counts.

    Attributes:
        benchmark: The benchmark as the items name it.
        name: What is counted, such as "closed accuracy".
        value: The mean of the scores; None when there are none, or when some questions are unjudged.
        total: Questions that the number is about, in all.
        scored: Questions with a score.
        score_sum: Sum of the scores.
        low: Lower end of the 95 % Wilson interval of `value`.
        high: Its upper end. For scores that are shares, not 0 or 1, the interval is wider than need be.
        unjudged: Questions that need a judge where none was given.
        errors: Questions whose judge or grade failed; they are in no value.
        expected: How many questions the published figures count; None where that is not known.
    """

    benchmark: str
    name: str
    value: float | None
    total: int
    scored: int
    score_sum: float
    low: float | None = None
    high: float | None = None
    unjudged: int = 0
    errors: int = 0
    expected: int | None = None


class ScoringProtocol(Protocol):
    """A set of scoring rules. Implement it to score by rules of one's own; `score` takes it as it is."""

    @property
    def name(self) -> str: ...
    @property
    def rules(self) -> str:
        """The rules in sentences, stored with every result."""
        ...

    @property
    def source(self) -> str:
        """Where the rules were read: a repository and commit, or a paper."""
        ...

    @property
    def faults(self) -> tuple[str, ...]:
        """Known faults of the published rule: kept in `NAME@as-published`, repaired in `NAME`."""
        ...

    @property
    def unverified(self) -> tuple[str, ...]:
        """What could not be verified."""
        ...

    def exclusion(self, item: ScoredItem) -> str | None:
        """Why an item is no question of this protocol; None when it is one."""
        ...

    def needs_judge(self, item: ScoredItem) -> bool:
        """Whether a language model decides."""
        ...

    def score_item(self, item: ScoredItem, judge: Judge | None = None) -> ItemScore:
        """What an answer is worth. Raises nothing because of what was answered.

        Args:
            item: The question with its right answer, and what was answered.
            judge: Asked where the rules need a language model; without one such an item is "unjudged".
        """
        ...

    def aggregate(self, rows: Sequence[ItemScore]) -> tuple[Denominator, ...]:
        """The numbers that this protocol publishes, from its rows of all benchmarks."""
        ...


def verdict_of(right: bool) -> tuple[Verdict, float]:
    return ("right", 1.0) if right else ("wrong", 0.0)


def excluded(item: ScoredItem, reason: str) -> ItemScore:
    return ItemScore(item, "excluded", reason=reason)


def summarize(
    benchmark: str,
    name: str,
    rows: Sequence[ItemScore],
    *,
    value_of: Callable[[ItemScore], float | None] = lambda row: row.score,
    expected: int | None = None,
) -> Denominator:
    """The mean of the scores of some rows, with what it counts.

    Args:
        benchmark: Name of the benchmark.
        name: What the denominator is called, such as "overall".
        rows: The scores that it counts.
        value_of: The number of a score that is averaged, 0 to 1; None where it has none. There is no mean while one is
            unjudged.
        expected: How many questions the published figures count; None where that is not known.
    """
    values = [value for row in rows if (value := value_of(row)) is not None]
    missing = [row for row in rows if value_of(row) is None]
    unjudged = sum(row.verdict == "unjudged" for row in missing)
    total = math.fsum(values)
    value = total / len(values) if values and not unjudged else None
    low, high = wilson_interval(total, len(values)) if value is not None else (None, None)
    return Denominator(
        benchmark=benchmark, name=name, value=value, total=len(rows), scored=len(values), score_sum=total, low=low, high=high,
        unjudged=unjudged, errors=len(missing) - unjudged, expected=expected,
    )  # fmt: skip


def by_benchmark(rows: Iterable[ItemScore]) -> dict[str, list[ItemScore]]:
    """The rows that count, by the benchmark as the items name it."""
    groups: dict[str, list[ItemScore]] = {}
    for row in rows:
        if row.verdict != "excluded":
            groups.setdefault(row.item.benchmark, []).append(row)
    return groups


def expected_count(table: dict[tuple[str, str], int], benchmark: str, name: str) -> int | None:
    return table.get((benchmark_key(benchmark), name))
