"""Perception items beside reinforcement learning, against forgetting to see."""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback

from medvistagym_trl.stages._guarded_trainer import refuse_non_finite
from medvistagym_trl.stages._perception import PerceptionCollator


class PerceptionCallback(TrainerCallback):
    """Adds the gradient of some perception items to each step's own.

    Rewards tell little of what a policy no longer sees: where every episode of a group errs alike, nothing is learnt from it.

    Args:
        collator: Makes the items' batches.
        first: The first item.
        count: Items a step.
    """

    def __init__(self, collator: PerceptionCollator, first: int, count: int) -> None:
        self._collator, self._first, self._count = collator, first, count

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The step's own gradients are whole and clipped: add those of the items that it learns from.

        See `transformers.TrainerCallback.on_pre_optimizer_step`.

        Raises:
            NonFiniteError: The loss of the items, or a gradient with theirs added, is no number.
        """
        first, model = self._first + state.global_step * self._count, kwargs["model"]
        batch = {
            name: field.to(model.device) for name, field in self._collator(range(first, first + self._count)).items()
        }
        loss = model(**batch).loss
        refuse_non_finite("loss of looks", float(loss.detach()), args, state, batch)
        loss.backward()
        norm = torch.nn.utils.get_total_norm([each.grad for each in model.parameters() if each.grad is not None])
        refuse_non_finite("gradient norm with looks", float(norm), args, state, batch)
