"""Intervals and paired tests against worked examples."""

from __future__ import annotations

import math

import pytest

from medvistagym_core.scoring import compare_paired, estimate, mcnemar_p_value, retained_share


def test_verdicts_have_a_wilson_interval_and_shares_a_bootstrap():
    verdicts = estimate([1.0] * 9 + [0.0])
    assert (verdicts.value, verdicts.kind, verdicts.questions) == (0.9, "wilson", 10)
    assert (round(verdicts.low, 3), round(verdicts.high, 3)) == (0.596, 0.982)  # Newcombe 1998's method 3
    shares = estimate([0.5, 0.25, 1.0, 0.0] * 25)
    assert shares.kind == "bootstrap"
    spread = math.sqrt(sum((x - 0.4375) ** 2 for x in (0.5, 0.25, 1.0, 0.0)) / 4 / 100)
    assert shares.low == pytest.approx(0.4375 - 1.96 * spread, abs=0.01)
    assert shares.high == pytest.approx(0.4375 + 1.96 * spread, abs=0.01)
    assert estimate([]).value is None
    assert estimate([0.3]).low is None


def test_mcnemars_exact_test():
    assert mcnemar_p_value(0, 0) == 1.0
    assert mcnemar_p_value(8, 1) == pytest.approx(20 / 512)
    assert mcnemar_p_value(1, 8) == mcnemar_p_value(8, 1)
    assert mcnemar_p_value(5, 5) == 1.0
    exact, approximate = mcnemar_p_value(1060, 940), mcnemar_p_value(1061, 940)
    assert approximate == pytest.approx(exact, rel=0.1)


def test_two_runs_are_compared_on_the_questions_of_both():
    first = {f"q{k}": float(k < 5) for k in range(10)} | {"only": 1.0}
    second = {f"q{k}": float(k >= 2) for k in range(10)}
    found = compare_paired(first, second)
    assert (found.questions, found.gained, found.lost, found.test) == (10, 5, 2, "mcnemar")
    assert found.difference == pytest.approx(0.3)
    assert found.low < 0.3 < found.high
    assert found.p_value == mcnemar_p_value(5, 2)
    with pytest.raises(ValueError, match="no question in common"):
        compare_paired({"a": 1.0}, {"b": 1.0})


def test_shares_are_compared_by_random_signs():
    first = {str(k): 0.2 for k in range(12)}
    found = compare_paired(first, {str(k): 0.3 for k in range(12)})
    assert found.test == "signs"
    assert found.p_value < 0.005  # 2 / 2**12 when all signs are drawn
    assert compare_paired(first, dict(first)).p_value == 1.0


def test_the_share_that_stays_is_a_ratio_of_means():
    with_images = {str(k): float(k < 80) for k in range(100)}
    without = {str(k): float(k < 40) for k in range(100)}
    share = retained_share(with_images, without)
    assert share.value == 0.5
    assert 0.38 < share.low < 0.45
    assert 0.55 < share.high < 0.63
    assert retained_share({"a": 0.0}, {"a": 1.0}).value is None
