"""Figures of several seeds: pooled shares, the range between seeds, paired differences."""

from __future__ import annotations

import pytest

from medvistagym_core.trajectories import wilson_interval
from medvistagym_trl.science import EpisodeScore, compare_policies, summarize_seeds


def played(right: dict[int, str]) -> dict[tuple[int, int], EpisodeScore]:
    """Episodes of each seed from text such as `10` (right, wrong); even questions are of the family `a`."""
    return {
        (seed, at): EpisodeScore("ab"[at % 2], mark == "1", mark == "?", 1, int(mark == "x"))
        for seed, marks in right.items()
        for at, mark in enumerate(marks)
    }


def test_seeds_are_pooled_and_told_apart() -> None:
    share = summarize_seeds(played({0: "1110", 1: "10?x"}))
    assert (share.n, share.accuracy, share.seeds) == (8, 0.5, {0: 0.75, 1: 0.25})
    assert (share.low, share.high) == wilson_interval(4, 8)
    assert (share.abstained, share.malformed, share.calls) == (0.125, 0.125, 1.0)


def test_a_family_is_counted_alone() -> None:
    share = summarize_seeds(played({0: "1010"}), "a")
    assert (share.n, share.accuracy) == (2, 1.0)
    with pytest.raises(ValueError, match="no question of the family c"):
        summarize_seeds(played({0: "1"}), "c")


def test_a_difference_is_of_the_same_questions() -> None:
    one, other = played({0: "1" * 60 + "0" * 40}), played({0: "1" * 40 + "0" * 60, 1: "1111"})
    difference = compare_policies(one, other)
    assert difference.points == pytest.approx(20)
    # 20 of 100 pairs differ, all one way: the interval is that of a share of 20 %.
    assert difference.low == pytest.approx(12.5, abs=1.5)
    assert difference.high == pytest.approx(28, abs=1.5)
    assert compare_policies(one, other) == difference
    with pytest.raises(ValueError, match="no question in common"):
        compare_policies(one, played({2: "1"}))


def test_pairing_shrinks_the_interval_of_policies_that_fail_alike() -> None:
    base = "10" * 50
    better = played({0: "11" + base[2:]})
    alike = compare_policies(better, played({0: base}))
    apart = compare_policies(better, played({0: "01" * 49 + "00"}))
    assert alike.high - alike.low < 5 < apart.high - apart.low
