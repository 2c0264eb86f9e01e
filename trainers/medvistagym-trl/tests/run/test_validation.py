"""Validation while training: when, what is kept, and when it stops."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from medvistagym_trl._recipe import ValidationRecipe
from medvistagym_trl.run import ValidationCallback


def train(
    accuracies: list[float], *, before: tuple[float, ...] = (), **settings: Any
) -> tuple[list[int], int, list[Any]]:
    """Steps whose weights were kept, the last step, and what was logged."""
    kept: list[int] = []
    logged: list[Any] = []
    left = iter(accuracies)
    callback = ValidationCallback(
        ValidationRecipe(every=2, **settings),
        lambda: {"accuracy": next(left)},
        lambda step, accuracy: kept.append(step),
        lambda step, metrics: logged.append((step, metrics["accuracy"])),
        before,
    )
    control = SimpleNamespace(should_training_stop=False)
    step = 0
    while step < 2 * len(accuracies) and not control.should_training_stop:
        step += 1
        callback.on_step_end(None, SimpleNamespace(global_step=step), control)
    return kept, step, logged


def test_the_weights_of_each_better_validation_are_kept() -> None:
    kept, last, logged = train([0.2, 0.5, 0.4, 0.5, 0.6])
    assert kept == [2, 4, 10]
    assert last == 10
    assert logged == [(2, 0.2), (4, 0.5), (6, 0.4), (8, 0.5), (10, 0.6)]


def test_training_stops_when_it_has_not_become_better_for_long_enough() -> None:
    kept, last, _ = train([0.2, 0.5, 0.4, 0.5, 0.6], patience=2)
    assert kept == [2, 4]
    assert last == 8


def test_a_run_that_goes_on_keeps_what_was_better_before() -> None:
    assert train([0.2, 0.5, 0.6], before=(0.55,))[0] == [6]


def test_a_run_that_goes_on_counts_the_validations_that_were_no_better_before() -> None:
    assert train([0.2, 0.5, 0.6], before=(0.55, 0.3), patience=3)[1] == 4


def test_nothing_is_kept_where_the_last_weights_are_wanted() -> None:
    assert train([0.2, 0.5], keep_best=False)[0] == []


@pytest.mark.parametrize("patience", [0, 1])
def test_a_first_validation_is_always_the_best(patience: int) -> None:
    kept, last, _ = train([0.0], patience=patience)
    assert (kept, last) == ([2], 2)


def test_a_stage_that_validates_its_start_keeps_it_until_something_is_better() -> None:
    kept: list[int] = []
    left = iter([0.5, 0.4, 0.6])
    callback = ValidationCallback(
        ValidationRecipe(every=2, start=True),
        lambda: {"accuracy": next(left)},
        lambda step, accuracy: kept.append(step),
        lambda step, metrics: None,
    )
    control = SimpleNamespace(should_training_stop=False)
    callback.on_train_begin(None, SimpleNamespace(global_step=0), control)
    for step in (2, 4):
        callback.on_step_end(None, SimpleNamespace(global_step=step), control)
    assert kept == [0, 4]


@pytest.mark.parametrize(("start", "step"), [(False, 0), (True, 2)])
def test_a_start_is_not_validated_unasked_nor_where_a_stage_goes_on(start: bool, step: int) -> None:
    callback = ValidationCallback(
        ValidationRecipe(every=2, start=start), lambda: pytest.fail("validated"), pytest.fail, pytest.fail
    )
    callback.on_train_begin(None, SimpleNamespace(global_step=step), SimpleNamespace(should_training_stop=False))
