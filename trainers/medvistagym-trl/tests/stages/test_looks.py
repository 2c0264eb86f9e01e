"""Perception items beside reinforcement learning: their gradient is added to that of each step."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medvistagym_trl.stages import NonFiniteError, PerceptionCallback, PerceptionCollator


def gradients(network: Any) -> dict[str, torch.Tensor]:
    return {name: weight.grad.clone() for name, weight in network.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("step", [0, 3])
def test_the_gradient_of_the_steps_own_items_is_added(step: int, model: Any, context: Any, task: Any) -> None:
    network = model.model
    collator = PerceptionCollator(context, task, model.processor, 0.2, model.end_of_turn)
    network.zero_grad()
    network(**collator(range(100 + 4 * step, 104 + 4 * step))).loss.backward()
    expected = gradients(network)
    for weight in network.parameters():
        if weight.grad is not None:
            weight.grad = torch.ones_like(weight)
    callback = PerceptionCallback(collator, 100, 4)
    callback.on_pre_optimizer_step(None, SimpleNamespace(global_step=step), None, model=network)
    for name, gradient in gradients(network).items():
        torch.testing.assert_close(gradient, expected[name] + 1)
    network.zero_grad()


def test_the_items_go_to_the_device_of_the_model(model: Any, context: Any, task: Any) -> None:
    seen: dict[str, torch.device] = {}

    class Elsewhere(torch.nn.Linear):
        device = torch.device("meta")

        def forward(self, **batch: torch.Tensor) -> Any:  # type: ignore[override]
            seen.update({name: field.device for name, field in batch.items()})
            return SimpleNamespace(loss=self.weight.sum())

    collator = PerceptionCollator(context, task, model.processor, 0.2, model.end_of_turn)
    network = Elsewhere(2, 2)
    PerceptionCallback(collator, 0, 2).on_pre_optimizer_step(None, SimpleNamespace(global_step=0), None, model=network)
    assert {"input_ids", "labels", "pixel_values", "attention_mask"} <= set(seen)
    assert set(seen.values()) == {torch.device("meta")}
    assert network.weight.grad is not None


@pytest.mark.parametrize(("where", "what"), [("loss", "loss of looks"), ("gradient", "gradient norm with looks")])
def test_what_is_no_number_ends_the_stage_and_the_items_are_kept(
    where: str, what: str, model: Any, context: Any, task: Any, tmp_path: Path
) -> None:
    def poison(module: Any, inputs: Any, output: Any) -> Any:
        if where == "loss":
            return output * float("nan")
        output.register_hook(lambda gradient: gradient * float("inf"))
        return output

    collator = PerceptionCollator(context, task, model.processor, 0.2, model.end_of_turn)
    model.model.get_input_embeddings().register_forward_hook(poison)
    callback, args = PerceptionCallback(collator, 100, 4), SimpleNamespace(output_dir=str(tmp_path))
    with pytest.raises(NonFiniteError, match=f"the {what} of step 6 is (nan|inf): nothing was updated by it"):
        callback.on_pre_optimizer_step(args, SimpleNamespace(global_step=5), None, model=model.model)
    kept = torch.load(tmp_path / "non_finite" / "step-6.pt", weights_only=True)
    assert torch.equal(kept["input_ids"], collator(range(120, 124))["input_ids"])
    if where == "loss":
        assert not gradients(model.model)
