"""Reports: accuracy with its interval, by policy, family and decoding.

`summarize` counts episodes into rows, `format_table` writes rows for a terminal, and `Results` is the document `results.json`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, FailFast, Field, model_validator

from medvistagym_core.storage import write_atomically
from medvistagym_core.tools import parse_document
from medvistagym_core.trajectories._trajectory import Trajectory

Z95: Final = 1.959963984540054
OVERALL: Final = "overall"


def wilson_interval(successes: float, n: int, z: float = Z95) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927), 95 % unless `z` is another normal quantile.

    Args:
        successes: How many of `n`; a fraction where the share of each is a mean of several tries.
        n: How many there were; without any, the interval is 0 to 1.
        z: Quantile of the standard normal distribution.

    Raises:
        ValueError: `successes` does not lie between 0 and `n`.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes lie between 0 and {n}, not at {successes}")
    if n == 0:
        return 0.0, 1.0
    p, square = successes / n, z * z
    middle = (p + square / (2 * n)) / (1 + square / n)
    half = z * math.sqrt(p * (1 - p) / n + square / (4 * n * n)) / (1 + square / n)
    # At 0 and n the bound is exact; rounding must not move it inward.
    return 0.0 if successes == 0 else max(0.0, middle - half), 1.0 if successes == n else min(1.0, middle + half)


def _interval(share: float, n: int) -> tuple[float, float]:
    """The Wilson interval of a share, which holds it whatever was rounded."""
    low, high = wilson_interval(min(share * n, n), n)
    return min(low, share), max(high, share)


class ResultRow(BaseModel):
    """Accuracy of one policy on one family of questions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: str = Field(min_length=1, description="The policy, such as 'SFT + GRPO'.")
    family: str = Field(min_length=1, description="Kind of question; 'overall' for all of them.")
    decoding: str = Field(min_length=1, description="How it was decoded, such as 'T = 1' or 'greedy'.")
    n: int = Field(ge=0, description="Number of episodes: of questions, times how often each was sampled.")
    correct: int = Field(ge=0, description="Number of right answers.")
    accuracy: float = Field(ge=0, le=1, description="Share of right answers; 0 without questions.")
    low: float = Field(
        ge=0, le=1, description="Lower end of the 95 % Wilson interval of the accuracy; a question counts once."
    )
    high: float = Field(
        ge=0, le=1, description="Upper end of the 95 % Wilson interval of the accuracy; a question counts once."
    )
    calls_per_question: float = Field(ge=0, description="Mean number of tool calls.")
    abstained: float = Field(ge=0, le=1, description="Share of answers that say 'I cannot tell'.")
    reward: float | None = Field(default=None, description="Mean reward, where a reward was asked for.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.correct > self.n or not self.low <= self.accuracy <= self.high:
            raise ValueError("correct is at most n, and the accuracy lies in its interval")
        return self

    @classmethod
    def from_counts(
        cls,
        policy: str,
        family: str,
        decoding: str,
        *,
        n: int,
        correct: int,
        calls: int,
        abstained: int,
        reward: float | None = None,
        questions: int | None = None,
    ) -> ResultRow:
        """A row from counts over episodes.

        Samplings of one question say less than as many questions: the interval is that of `questions`, the share of right
        answers of
        each being a mean.

        Args:
            policy: The policy.
            family: Kind of question.
            decoding: How it was decoded.
            n: Number of episodes.
            correct: Right answers among them.
            calls: Tool calls of all of them.
            abstained: Answers that say "I cannot tell".
            reward: Sum of the rewards; None where none was asked for.
            questions: Number of different questions; `n` when None.
        """
        share = max(n, 1)
        low, high = (
            wilson_interval(correct, n) if questions in (None, n) else _interval(correct / share, questions or 0)
        )
        return cls(
            policy=policy,
            family=family,
            decoding=decoding,
            n=n,
            correct=correct,
            accuracy=correct / share,
            low=low,
            high=high,
            calls_per_question=calls / share,
            abstained=abstained / share,
            reward=None if reward is None else reward / share,
        )


class Results(BaseModel):
    """The document `results.json`: what a run reached, and how it was measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = Field(default=1, description="Version of this format.")
    task: str = Field(description="Name of the task.")
    split: str = Field(description="Split the questions are of.")
    seed: int = Field(description="Seed of the cases.")
    rows: Annotated[tuple[ResultRow, ...], FailFast()] = Field(description="The figures.")
    notes: tuple[str, ...] = Field(default=(), description="What a reader of the figures must know, a sentence each.")

    def row(self, policy: str, family: str = OVERALL, decoding: str | None = None) -> ResultRow:
        """The row of a policy.

        Args:
            policy: Name of the policy.
            family: Kind of question; all of them unless given.
            decoding: How it was decoded; the first row whatever the decoding when None.

        Raises:
            KeyError: There is none.
        """
        for row in self.rows:
            if (row.policy, row.family) == (policy, family) and decoding in (None, row.decoding):
                return row
        raise KeyError(f"there is no row of {policy}, {family}, {decoding or 'any decoding'}")

    def save(self, path: str | Path) -> None:
        """Write the document; the file is whole or not there."""
        with write_atomically(Path(path)) as part:
            part.write_text(self.model_dump_json(indent=2, exclude_none=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Results:
        """Read a document.

        Raises:
            ValueError: It is not one.
        """
        return cls.model_validate(parse_document(Path(path).read_bytes()))


def summarize(
    trajectories: Iterable[Trajectory],
    policy: str,
    decoding: str,
    families: Sequence[str] = (),
    *,
    with_reward: bool = False,
) -> list[ResultRow]:
    """A row for each family and then one for all.

    Args:
        trajectories: Finished episodes.
        policy: What the rows call the policy.
        decoding: How it was decoded.
        families: The families in order; those met, in the order met, come after.
        with_reward: Whether the rows tell the mean reward.
    """
    counts: dict[str, list[int]] = {family: [0, 0, 0, 0] for family in families}
    cases: dict[str, set[str]] = {family: set() for family in (*families, OVERALL)}
    rewards: dict[str, float] = dict.fromkeys(families, 0.0)
    for t in trajectories:
        count = counts.setdefault(t.family, [0, 0, 0, 0])
        for k, value in enumerate((1, t.outcome.correct, t.calls, t.outcome.abstained)):
            count[k] += int(value)
        for family in (t.family, OVERALL):
            cases.setdefault(family, set()).add(t.case)
        rewards[t.family] = rewards.get(t.family, 0.0) + t.reward
    total = [sum(column) for column in zip(*counts.values(), strict=True)] or [0, 0, 0, 0]
    rewards[OVERALL] = math.fsum(rewards.values())
    return [
        ResultRow.from_counts(
            policy, family, decoding, n=n, correct=correct, calls=calls, abstained=abstained,
            reward=rewards[family] if with_reward else None, questions=len(cases[family]),
        )
        for family, (n, correct, calls, abstained) in [*counts.items(), (OVERALL, total)]
    ]  # fmt: skip


def summarize_trust(
    trajectories: Iterable[Trajectory],
    policy: str,
    decoding: str,
    families: Sequence[str] = (),
    *,
    with_reward: bool = False,
) -> list[ResultRow]:
    """Rows of the episodes in which every result was as the tools gave it, and of those in which one was made wrong.

    Episodes that asked no specialist belong to neither. One is a tool whose facts name a `model`, or of which some result was
    made wrong. No rows when none was made wrong.

    Args:
        trajectories: Finished episodes.
        policy: What the rows call the policy, before ", specialist right" and ", specialist wrong".
        decoding: How it was decoded.
        families: The families in order.
        with_reward: Whether the rows tell the mean reward.
    """
    played = [(t, [call for turn in t.turns for call in turn.calls]) for t in trajectories]
    wrong = [t for t, calls in played if any(call.perturbation is not None for call in calls)]
    if not wrong:
        return []
    specialists = {call.name for _, calls in played for call in calls if call.perturbation is not None}
    right = [
        t
        for t, calls in played
        if all(call.perturbation is None for call in calls)
        and any(call.name in specialists or (isinstance(call.data, dict) and "model" in call.data) for call in calls)
    ]
    return [
        *summarize(right, f"{policy}, specialist right", decoding, families, with_reward=with_reward),
        *summarize(wrong, f"{policy}, specialist wrong", decoding, families, with_reward=with_reward),
    ]


def format_table(rows: Sequence[ResultRow]) -> str:
    """The rows as aligned text: a line for each policy and decoding, accuracy per family with its interval for all.

    The mean reward is a column where any row tells it.
    """
    rewarded = ["reward"] if any(row.reward is not None for row in rows) else []
    families = list(dict.fromkeys(row.family for row in rows if row.family != OVERALL))
    lines = [["policy", "decoding", "n", "accuracy [95 %]", *families, "calls", "abstained", *rewarded]]
    groups = list(dict.fromkeys((row.policy, row.decoding) for row in rows))
    for policy, decoding in groups:
        mine = {row.family: row for row in rows if (row.policy, row.decoding) == (policy, decoding)}
        whole = mine.get(OVERALL)
        if whole is None:
            continue
        lines.append(
            [
                policy,
                decoding,
                str(whole.n),
                f"{whole.accuracy:.3f} [{whole.low:.3f}, {whole.high:.3f}]",
                *(f"{mine[family].accuracy:.3f}" if family in mine else "-" for family in families),
                f"{whole.calls_per_question:.2f}",
                f"{whole.abstained:.3f}",
                *(["-" if whole.reward is None else f"{whole.reward:.3f}"] if rewarded else []),
            ]
        )
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    text = []
    for line in lines:
        padded = [c.ljust(w) if k < 2 else c.rjust(w) for k, (c, w) in enumerate(zip(line, widths, strict=True))]
        text.append("  ".join(padded))
    return "\n".join([text[0], "-" * len(text[0]), *text[1:]])
