"""Figures of several seeds: pooled accuracy with its interval, the range between seeds, differences by paired bootstrap."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from medvistagym_core.trajectories import OVERALL, Trajectory, wilson_interval

if TYPE_CHECKING:
    from pathlib import Path

RESAMPLES: Final = 4000
"""Bootstrap samples of a difference."""

QuestionKey = tuple[int, int]
"""Seed of the run, and position of the case in its split."""


@dataclasses.dataclass(frozen=True)
class EpisodeScore:
    """What is counted of one played question.

    Attributes:
        family: Kind of question.
        correct: Whether the answer was right.
        abstained: Whether the answer was "cannot tell".
        calls: Tool calls that could be read, failed ones included.
        malformed: Turns that could not be read as an action.
    """

    family: str
    correct: bool
    abstained: bool
    calls: int
    malformed: int


EpisodeScores = Mapping[QuestionKey, EpisodeScore]
"""The episodes of one policy under one decoding, of all seeds."""


@dataclasses.dataclass(frozen=True)
class PooledAccuracy:
    """A share of right answers over all seeds.

    Attributes:
        n: Questions.
        accuracy: Share of right answers.
        low: Lower end of its 95 % Wilson interval, seeds pooled.
        high: Upper end.
        seeds: Share of each seed, by seed.
        calls: Calls a question.
        abstained: Share of answers that say "cannot tell".
        malformed: Turns a question that could not be read.
    """

    n: int
    accuracy: float
    low: float
    high: float
    seeds: Mapping[int, float]
    calls: float
    abstained: float
    malformed: float


@dataclasses.dataclass(frozen=True)
class AccuracyDifference:
    """How much more often one policy is right than another on the same questions.

    Attributes:
        points: Difference in percentage points.
        low: 2.5 % quantile of the bootstrap.
        high: 97.5 % quantile.
    """

    points: float
    low: float
    high: float


def read_episodes(path: Path, seed: int) -> dict[QuestionKey, EpisodeScore]:
    """The episodes of a trajectory file of an evaluation."""
    from medvistagym_core.trajectories import TrajectoryReader

    return collect(TrajectoryReader(path), seed)


def collect(trajectories: Iterable[Trajectory], seed: int) -> dict[QuestionKey, EpisodeScore]:
    """What is counted of trajectories, by question.

    Args:
        trajectories: Episodes of one training, one a question.
        seed: Seed of that training.
    """
    return {
        (seed, each.index): EpisodeScore(
            family=each.family,
            correct=each.outcome.correct,
            abstained=each.outcome.abstained,
            calls=each.calls,
            malformed=sum(turn.error is not None and not turn.calls for turn in each.turns),
        )
        for each in trajectories
    }


def summarize_seeds(played: EpisodeScores, family: str = OVERALL) -> PooledAccuracy:
    """The share of right answers, pooled over seeds and of each.

    Args:
        played: Episodes by seed and question.
        family: Kind of question; all of them unless given.

    Raises:
        ValueError: No question of the family was played.
    """
    chosen = {key: each for key, each in played.items() if family in (OVERALL, each.family)}
    if not chosen:
        raise ValueError(f"no question of the family {family} was played")
    n = len(chosen)
    right = sum(each.correct for each in chosen.values())
    low, high = wilson_interval(right, n)
    by_seed: dict[int, list[bool]] = {}
    for (seed, _), each in chosen.items():
        by_seed.setdefault(seed, []).append(each.correct)
    return PooledAccuracy(
        n=n,
        accuracy=right / n,
        low=low,
        high=high,
        seeds={seed: sum(mine) / len(mine) for seed, mine in sorted(by_seed.items())},
        calls=sum(each.calls for each in chosen.values()) / n,
        abstained=sum(each.abstained for each in chosen.values()) / n,
        malformed=sum(each.malformed for each in chosen.values()) / n,
    )


def compare_policies(
    one: EpisodeScores, other: EpisodeScores, *, resamples: int = RESAMPLES, seed: int = 0
) -> AccuracyDifference:
    """How much more often `one` is right than `other`, on the questions that both played.

    Questions are drawn again with replacement within each seed (percentile bootstrap of the paired differences; B. Efron,
    R. Tibshirani, "An introduction to the bootstrap", 1993), so the interval is about questions, given these trainings.

    Args:
        one: Its episodes by seed and question.
        other: Likewise.
        resamples: Draws of the bootstrap.
        seed: Seed of the draws.

    Returns:
        The difference and its 95 % interval, in percentage points.

    Raises:
        ValueError: They have no question in common.
    """
    shared = sorted(set(one) & set(other))
    if not shared:
        raise ValueError("the two policies were asked no question in common")
    rng = np.random.default_rng(seed)
    totals = np.zeros(resamples)
    for run in sorted({key[0] for key in shared}):
        deltas = np.array([float(one[k].correct) - float(other[k].correct) for k in shared if k[0] == run])
        values, counts = np.unique(deltas, return_counts=True)  # of -1, 0 and 1: a multinomial is the same draw
        totals += rng.multinomial(len(deltas), counts / len(deltas), size=resamples) @ values
    points = 100 * totals / len(shared)
    mean = 100 * sum(float(one[k].correct) - float(other[k].correct) for k in shared) / len(shared)
    low, high = np.percentile(points, [2.5, 97.5])
    return AccuracyDifference(mean, float(low), float(high))


def families_of(played: Sequence[EpisodeScores]) -> list[str]:
    """The families of some policies' questions, in the order in which they come."""
    return list(dict.fromkeys(each.family for policy in played for _, each in sorted(policy.items())))
