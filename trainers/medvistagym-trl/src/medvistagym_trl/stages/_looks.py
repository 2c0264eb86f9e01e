"""Perception items beside reinforcement learning, against forgetting to see."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

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
        """
        first = self._first + state.global_step * self._count
        kwargs["model"](**self._collator(range(first, first + self._count))).loss.backward()
