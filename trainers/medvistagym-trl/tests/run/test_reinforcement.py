"""GRPO of a run learns from perception items beside its episodes, if it is asked to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from medvistagym_trl import TrlTrainer
from medvistagym_trl._recipe import dump_recipe
from medvistagym_trl.stages import PerceptionCallback

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

CHANGES = {
    "seed": 5,
    "perception.steps": 0,
    "sft.steps": 0,
    "grpo.max_completion": 8,
    "grpo.parity.logprobs_every": 0,
    "grpo.warmup_steps": 0,
    "comparison.policies": [],
    "evaluation.policies": [],
}
FIRST = 17_000_000


@pytest.fixture
def run(recipe: Any, registry: Any, task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs GRPO with so many looks: the weights that it ends with, the items, and the gradients before and after them."""
    items: list[tuple[str, int, int]] = []
    own: list[tuple[str, int, int]] = []
    gradients: list[tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]] = []
    look, learn = type(task).look, PerceptionCallback.on_pre_optimizer_step

    def record_item(self: Any, split: str, index: int, seed: int = 0) -> Any:
        items.append((split, index, seed))
        return look(self, split, index, seed)

    def kept(model: Any) -> dict[str, torch.Tensor]:
        return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}

    def record_gradients(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        before = kept(kwargs["model"])
        items.clear()  # those that the stage before showed
        learn(self, args, state, control, **kwargs)
        own.extend(items)
        gradients.append((before, kept(kwargs["model"])))

    monkeypatch.setattr(type(task), "look", record_item)
    monkeypatch.setattr(PerceptionCallback, "on_pre_optimizer_step", record_gradients)
    file = tmp_path / "toy.yaml"
    file.write_text(dump_recipe(recipe), encoding="utf-8")

    def train(name: str, looks: int) -> tuple[bytes, list[Any], list[Any]]:
        own.clear()
        gradients.clear()
        TrlTrainer().train(registry, run=tmp_path / name, recipe=file, changes={**CHANGES, "grpo.looks": looks})
        weights = (tmp_path / name / "checkpoints" / "grpo" / "model.safetensors").read_bytes()
        return weights, list(own), list(gradients)

    return train


def test_each_step_learns_from_items_of_its_own(run: Any) -> None:
    _, items, gradients = run("one", 3)
    assert items == [("train", FIRST + k, 5) for k in range(6)]
    assert len(gradients) == 2
    for before, after in gradients:
        assert any(not torch.equal(gradient, before.get(name, torch.zeros(()))) for name, gradient in after.items())


@pytest.mark.slow
def test_two_runs_learn_from_the_same_items_and_a_run_without_them_something_else(run: Any) -> None:
    weights, items, _ = run("one", 3)
    again, same, _ = run("two", 3)
    assert (again, same) == (weights, items)
    without, none, never = run("three", 0)
    assert (none, never) == ([], [])
    assert without != weights
