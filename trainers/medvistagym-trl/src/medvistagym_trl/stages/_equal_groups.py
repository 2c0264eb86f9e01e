"""Groups whose episodes all earned the same: nothing is learnt from them, and nothing need be computed for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from trl.trainer.utils import split_pixel_values_by_grid, unsplit_pixel_values_by_grid

from medvistagym_trl.stages._redrawn_groups import REWARD_ROUNDING


def differs_in_group(rewards: torch.Tensor, group: int) -> torch.Tensor:
    """Whether the rewards of each row's group differ, bool (rows,).

    Rewards are compared, not advantages: the mean of equal rewards is rounded, so that their advantages need not be 0.

    Args:
        rewards: Of all processes, float (rows, reward functions), NaN where a row does not count; groups follow each other.
        group: Rows of a group.
    """
    grouped = rewards.view(-1, group, rewards.shape[1])
    counts = ~grouped.isnan()
    largest = grouped.where(counts, -torch.inf).amax(1)
    smallest = grouped.where(counts, torch.inf).amin(1)
    return (largest - smallest > REWARD_ROUNDING).any(1).repeat_interleave(group)


def drop_equal_groups(
    output: dict[str, Any],
    differs: torch.Tensor,
    first: int,
    gather: Callable[[torch.Tensor], torch.Tensor],
    *,
    counted: bool = False,
) -> None:
    """Take the tokens of groups without a difference in reward out of the loss, and out of what its mean is over.

    Args:
        output: The batch of this process; changed.
        differs: Of each row of all processes, whether the rewards of its group differ.
        first: This process's first row among them.
        gather: Gathers a tensor of all processes.
        counted: Leave them in what the mean is over.
    """
    differs = differs[first : first + len(output["advantages"])]
    name = "tool_mask" if output.get("tool_mask") is not None else "completion_mask"
    output[name] = output[name] * differs[:, None].to(output[name].dtype)
    if not counted:
        learnt = output["completion_mask"] * output.get("tool_mask", torch.ones_like(output["completion_mask"]))
        output["num_items_in_batch"] = gather(learnt.sum()).sum()


def rows_to_learn(differs: torch.Tensor, parts: int) -> list[int]:
    """Rows whose groups differ, in order, and as many others as it takes for parts of equal size, one row each at least."""
    count = max(parts, -(-int(differs.sum()) // parts) * parts)
    first = torch.argsort(~differs, stable=True)[:count]
    return sorted(first.tolist())


def take_rows(output: dict[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    """Some rows of a batch: nothing is computed for the others, which count nothing in the loss."""
    taken: dict[str, Any] = {}
    for name, value in split_pixel_values_by_grid(output).items():
        if isinstance(value, torch.Tensor) and value.ndim:
            value = value[list(rows)]
        taken[name] = [value[row] for row in rows] if isinstance(value, list) else value
    batch: dict[str, Any] = unsplit_pixel_values_by_grid(taken)
    return batch
