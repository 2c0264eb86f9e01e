"""Perception items beside reinforcement learning: their gradient is added to that of each step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medvistagym_trl.stages import PerceptionCallback, PerceptionCollator


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
