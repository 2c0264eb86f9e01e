"""Intervals and tests over questions: bootstrap, the share that is retained, and paired comparisons.

A question is the unit: several answers to it are averaged first, so that they do not count as several questions.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from medvistagym_core.trajectories import wilson_interval

IntervalKind = Literal["wilson", "bootstrap"]
RESAMPLES: Final = 2_000
_CHUNK_CELLS: Final = 4_000_000
_EXACT_MAX: Final = 2_000


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval.

    Attributes:
        value: The mean; None without questions.
        low: Lower end of the interval; None where there is none.
        high: Upper end.
        kind: How the interval was made; None where there is none.
        questions: Number of questions.
    """

    value: float | None
    low: float | None
    high: float | None
    kind: IntervalKind | None
    questions: int


def estimate(scores: Sequence[float], *, seed: int = 0) -> Estimate:
    """The mean of a score for each question: a Wilson interval where scores are 0 or 1, else a bootstrap over questions.

    Args:
        scores: 0 to 1, one a question.
        seed: Of the bootstrap.
    """
    if not scores:
        return Estimate(None, None, None, None, 0)
    value = math.fsum(scores) / len(scores)
    if all(score in (0.0, 1.0) for score in scores):
        low, high = wilson_interval(math.fsum(scores), len(scores))
        return Estimate(value, low, high, "wilson", len(scores))
    if len(scores) < 2:
        return Estimate(value, None, None, None, 1)
    low, high = _percentiles(_resample_means([scores], seed)[0])
    return Estimate(value, low, high, "bootstrap", len(scores))


def retained_share(with_it: Mapping[str, float], without: Mapping[str, float], *, seed: int = 0) -> Estimate:
    """How much of a score stays: the mean without over the mean with, on the questions of both, with a paired bootstrap.

    Args:
        with_it: Scores by question, such as with pictures.
        without: Scores of the same questions, such as with blank pictures.
        seed: Of the bootstrap.
    """
    shared = sorted(with_it.keys() & without.keys())
    first, second = [with_it[name] for name in shared], [without[name] for name in shared]
    if not shared or math.fsum(first) == 0:
        return Estimate(None, None, None, None, len(shared))
    value = math.fsum(second) / math.fsum(first)
    above, below = _resample_means([second, first], seed)
    ratios = [a / b for a, b in zip(above, below, strict=True) if b]
    low, high = _percentiles(ratios) if len(shared) > 1 and ratios else (None, None)
    return Estimate(value, low, high, None if low is None else "bootstrap", len(shared))


@dataclasses.dataclass(frozen=True, slots=True)
class PairedTest:
    """A comparison of two runs on the same questions.

    Attributes:
        questions: Questions that both answered.
        first: Mean score of the first run.
        second: Mean score of the second one.
        difference: Second minus first.
        low: Lower end of its 95 % bootstrap interval; None with fewer than two questions.
        high: Upper end.
        gained: Questions on which the second scored more.
        lost: Questions on which it scored less.
        p_value: Probability of so unequal a split if neither were better: McNemar's exact test where scores are 0 or 1, else a
            test of random signs.
        test: Which test it was.
    """

    questions: int
    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    gained: int
    lost: int
    p_value: float
    test: Literal["mcnemar", "signs"]


def compare_paired(first: Mapping[str, float], second: Mapping[str, float], *, seed: int = 0) -> PairedTest:
    """Compare two runs by their scores of the questions that both have.

    Args:
        first: Scores by question, 0 to 1.
        second: Scores of the other run; differences are its scores less those of the first.
        seed: Of the bootstrap and of the sign test.

    Raises:
        ValueError: They have no question in common.
    """
    shared = sorted(first.keys() & second.keys())
    if not shared:
        raise ValueError("the two runs have no question in common")
    a, b = [first[name] for name in shared], [second[name] for name in shared]
    differences = [y - x for x, y in zip(a, b, strict=True)]
    gained, lost = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    binary = all(score in (0.0, 1.0) for score in (*a, *b))
    p_value = mcnemar_p_value(gained, lost) if binary else _sign_test_p_value(differences, seed)
    low, high = _percentiles(_resample_means([differences], seed)[0]) if len(shared) > 1 else (None, None)
    n = len(shared)
    mean_a, mean_b = math.fsum(a) / n, math.fsum(b) / n
    return PairedTest(
        n, mean_a, mean_b, mean_b - mean_a, low, high, gained, lost, p_value, "mcnemar" if binary else "signs"
    )


def mcnemar_p_value(gained: int, lost: int) -> float:
    """McNemar's exact two-sided test: how likely so unequal a split of the questions that differ is by chance.

    >>> round(mcnemar_p_value(8, 1), 4)
    0.0391

    Args:
        gained: Questions that the second run alone has right.
        lost: Questions that the first run alone has right.

    Returns:
        The p-value, 0 to 1; of many questions by the normal approximation.
    """
    n, k = gained + lost, min(gained, lost)
    if n == 0:
        return 1.0
    if n <= _EXACT_MAX:
        tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
        return min(1.0, 2.0 * float(tail))
    z = (abs(gained - lost) - 1) / math.sqrt(n)  # with Edwards' continuity correction, 1948
    return min(1.0, math.erfc(max(z, 0.0) / math.sqrt(2)))


def _sign_test_p_value(differences: Sequence[float], seed: int) -> float:
    """Share of random assignments of signs whose mean lies as far from 0 as the one observed."""
    import numpy as np

    values = np.asarray([difference for difference in differences if difference])
    if not len(values):
        return 1.0
    rng = np.random.default_rng(seed)
    observed, beyond, done = abs(values.sum()) - 1e-12, 0, 0
    rows = max(1, min(5 * RESAMPLES, _CHUNK_CELLS // len(values)))
    while done < 5 * RESAMPLES:
        signs = rng.integers(0, 2, (rows, len(values)), dtype=np.int8) * 2 - 1
        beyond += int((np.abs(signs @ values) >= observed).sum())
        done += rows
    return (beyond + 1) / (done + 1)


def _resample_means(columns: Sequence[Sequence[float]], seed: int) -> list[list[float]]:
    """Means of some paired columns over bootstrap samples of their rows."""
    import numpy as np

    table = np.asarray(columns, np.float64)
    n = table.shape[1]
    rng = np.random.default_rng(seed)
    rows = max(1, min(RESAMPLES, _CHUNK_CELLS // max(n, 1)))
    means: list[np.ndarray] = []
    done = 0
    while done < RESAMPLES:
        drawn = rng.integers(0, n, (min(rows, RESAMPLES - done), n))
        means.append(table[:, drawn].mean(axis=2))
        done += len(drawn)
    joined = np.concatenate(means, axis=1)
    return [[float(value) for value in column] for column in joined]


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    """The middle 95 % of some values."""
    import numpy as np

    low, high = np.percentile(np.asarray(values), [2.5, 97.5])
    return float(low), float(high)
