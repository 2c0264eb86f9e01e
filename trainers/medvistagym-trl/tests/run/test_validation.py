"""Validation while training: when, what is kept, and when it stops."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medvistagym_core.trajectories import Results
from medvistagym_trl import TrlTrainer
from medvistagym_trl._recipe import ValidationRecipe, dump_recipe
from medvistagym_trl.run import ValidationCallback
from medvistagym_trl.run._validation import restore_best


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
        lambda step, metrics: kept.append(step),
        lambda step, metrics: logged.append((step, metrics["accuracy"])),
        [{"accuracy": accuracy} for accuracy in before],
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
        lambda step, metrics: kept.append(step),
        lambda step, metrics: None,
    )
    control = SimpleNamespace(should_training_stop=False)
    callback.on_train_begin(None, SimpleNamespace(global_step=0), control)
    for step in (2, 4):
        callback.on_step_end(None, SimpleNamespace(global_step=step), control)
    assert kept == [0, 4]


def test_weights_are_restored_once_the_first_process_has_saved_them(
    make_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, model = make_model(), make_model()
    with torch.no_grad():
        for weight in saved.model.parameters():
            weight.add_(1)
    folder = SimpleNamespace(checkpoint=lambda phase: tmp_path / phase)
    setup: Any = SimpleNamespace(folder=folder, load_to_train=lambda phase: saved)
    assert restore_best(setup, "grpo", model) is None

    def wait() -> None:
        (tmp_path / "grpo_best").mkdir()
        (tmp_path / "grpo_best" / "validation.json").write_text('{"step": 3}')

    monkeypatch.setattr("medvistagym_trl.run._validation.wait_for_ranks", wait)
    assert restore_best(setup, "grpo", model) == 3
    for ours, theirs in zip(model.model.parameters(), saved.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("start", "step"), [(False, 0), (True, 2)])
def test_a_start_is_not_validated_unasked_nor_where_a_stage_goes_on(start: bool, step: int) -> None:
    callback = ValidationCallback(
        ValidationRecipe(every=2, start=start), lambda: pytest.fail("validated"), pytest.fail, pytest.fail
    )
    callback.on_train_begin(None, SimpleNamespace(global_step=step), SimpleNamespace(should_training_stop=False))


def test_of_two_decodings_the_one_that_gains_less_decides_and_then_the_other() -> None:
    """T = 1 becomes better while the greedy policy becomes worse, only then do both become better, and last T = 1 alone."""
    sampled, greedy = iter([0.4, 0.8, 0.5, 0.6, 0.7]), iter([0.6, 0.5, 0.7, 0.65, 0.7])
    kept: list[int] = []
    gains: list[float] = []
    callback = ValidationCallback(
        ValidationRecipe(every=2, start=True, decoding="both"),
        lambda: {"accuracy": next(sampled), "greedy/accuracy": next(greedy)},
        lambda step, metrics: kept.append(step),
        lambda step, metrics: gains.append(metrics["gain"]),
    )
    control = SimpleNamespace(should_training_stop=False)
    callback.on_train_begin(None, SimpleNamespace(global_step=0), control)
    for step in (2, 4, 6, 8):
        callback.on_step_end(None, SimpleNamespace(global_step=step), control)
    assert gains == pytest.approx([0.0, -0.1, 0.1, 0.05, 0.1])
    assert kept == [0, 4, 8]


@pytest.mark.e2e
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_run_whose_rl_gains_nothing_ends_with_its_sft_and_says_so(
    recipe: Any, registry: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, run = tmp_path / "toy.yaml", tmp_path / "run"
    file.write_text(dump_recipe(recipe), encoding="utf-8")
    changes = {
        "grpo.lr": 1e-12,  # too low to change an answer
        "grpo.validation": {"every": 1, "n": 4, "start": True, "decoding": "both"},
        "comparison.policies": [],
        "evaluation.decodings": ["trained", "greedy"],
        "evaluation.max_tokens": 8,
        "grpo.max_turn_tokens": 8,
    }
    results = TrlTrainer().train(registry, run=run, recipe=file, changes=changes)
    sft, grpo = ((run / "checkpoints" / name / "model.safetensors").read_bytes() for name in ("sft", "grpo"))
    assert grpo == sft
    rows = {(row.policy, row.decoding): row for row in results.rows if row.family == "overall"}
    for decoding in ("T = 0.5", "greedy"):
        assert rows["SFT + GRPO", decoding].correct == rows["SFT", decoding].correct
    note = (
        "GRPO: no step validated better than the policy that it began with, whose weights are kept "
        "(validations on 4 validation cases: 3)."
    )
    assert note in Results.load(run / "results.json").notes
    assert note in (run / "results.txt").read_text("utf-8")
    assert note in (run / "README.md").read_text("utf-8")
    lines = [line for line in map(json.loads, (run / "metrics.jsonl").open()) if line["phase"] == "grpo-validation"]
    assert [(line["step"], line["gain"], line["best"]) for line in lines] == [(0, 0, 1), (1, 0, 0), (2, 0, 0)]
    assert {"greedy/accuracy", "hidden/accuracy", "greedy/plain/calls"} <= set(lines[0])
    assert "grpo ends with the policy that it began with: no step validated better" in capsys.readouterr().err
