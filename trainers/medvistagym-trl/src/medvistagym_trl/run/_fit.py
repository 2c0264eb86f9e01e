"""What to change of a recipe so that it fits one device: the nearest thing that does, and why it did not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from medvistagym_trl._recipe import Recipe, RecipeError
from medvistagym_trl.run._memory import MemoryEstimate

RANK: Final = 32
"""Rank of adapters that are proposed, as in the recipes for one device."""
_LARGE: Final = 0.1
"""Share of a device from which on a part is named as a reason."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """A recipe that fits a device.

    Attributes:
        changes: Settings to change, by dotted name, in the order in which they were tried.
        memory: What it takes.
        same: Whether the same is learnt: only what is held at one time is less.
    """

    changes: Mapping[str, Any]
    memory: MemoryEstimate
    same: bool


def nearest_fit(recipe: Recipe, estimate: Callable[[Recipe], MemoryEstimate], usable: float) -> Fit | None:
    """The first that fits of: less at one time; states of the optimiser in 8 bits; adapters; adapters on 4-bit weights.

    With each of them completions are sampled in as few parts as there is room for.

    Args:
        recipe: A recipe that samples with transformers.
        estimate: Tells the memory of a recipe.
        usable: Bytes of the device that may be planned for.
    """
    for changes, same in _proposals(recipe):
        try:
            changes |= _generation_parts(recipe, estimate(recipe.with_overrides(changes)), usable)
            memory = estimate(recipe.with_overrides(changes))
        except RecipeError:  # such as a number of parts that the recipe's batch excludes
            continue
        if memory.peak <= usable:
            return Fit(changes, memory, same)
    return None


def _generation_parts(recipe: Recipe, memory: MemoryEstimate, usable: float) -> dict[str, Any]:
    """In how many parts completions are to be sampled so that their keys and values fit beside what is kept."""
    grpo, room = recipe.grpo, usable - (memory.peak - memory.step)
    for parts in range(grpo.generation_parts, grpo.completions + 1):
        rows = -(-grpo.completions // parts)
        before = -(-grpo.completions // grpo.generation_parts)
        if grpo.completions % parts == 0 and memory.generation * rows <= room * before:
            return {} if parts == grpo.generation_parts else {"grpo.generation_parts": parts}
    return {}


def _proposals(recipe: Recipe) -> Iterator[tuple[dict[str, Any], bool]]:
    """Changes to try, from what changes least, and whether the same is learnt with them."""
    smaller = {
        f"{stage}.parts": value
        for stage, value in (("sft", recipe.sft.batch), ("grpo", recipe.grpo.completions))
        if getattr(recipe, stage).parts != value and getattr(recipe, stage).steps != 0
    }
    checkpointing = {} if recipe.model.gradient_checkpointing else {"model.gradient_checkpointing": True}
    smallest: tuple[dict[str, Any], ...] = ({}, {**checkpointing}, {**checkpointing, **smaller})
    steps: list[tuple[dict[str, Any], bool]] = [({}, True)]
    if not recipe.model.lora.rank:
        steps.append(({f"trl.{stage}.optim": "adamw_bnb_8bit" for stage in ("sft", "grpo")}, False))
        steps.append(({"model.lora.rank": RANK}, False))
    if recipe.model.quantization != "4bit":
        steps.append(({**steps[-1][0], "model.quantization": "4bit"}, False))
    for learnt, same in steps:
        for less in smallest:
            yield {**less, **learnt}, same


def render_fit(
    recipe: Recipe, memory: MemoryEstimate, fit: Fit | None, device_gib: float, usable: float, size_text: Any
) -> list[str]:
    """What a plan says of a recipe that does not fit, a line each.

    Args:
        recipe: The recipe.
        memory: What it takes.
        fit: What does fit, if anything does.
        device_gib: Memory of the device.
        usable: Bytes of it that may be planned for.
        size_text: Bytes as text.
    """
    named = ("weights", "gradients", "optimiser", "reference", "activations", "pictures", "generation")
    reasons = [
        f"{name} {size_text(getattr(memory, name))}" for name in named if getattr(memory, name) > _LARGE * usable
    ]
    lines = [
        f"it does not fit one device of {device_gib:g} GiB ({size_text(usable)} of it to plan for): {', '.join(reasons)}"
    ]
    if fit is None:
        return [*lines, "nothing that was tried fits: shorter episodes, smaller images or a smaller model would"]
    settings = " ".join(f"--set {name}={_text(value)}" for name, value in fit.changes.items())
    what = "the same is learnt" if fit.same else _differences(recipe, fit)
    lines.append(f"the nearest that fits takes {size_text(fit.memory.peak)} ({what}):")
    return [*lines, f"  {settings}"]


def _differences(recipe: Recipe, fit: Fit) -> str:
    if "model.quantization" in fit.changes:
        return "adapters on 4-bit weights learn in place of all weights"
    if "model.lora.rank" in fit.changes:
        free = ", and the policy that beta measures against needs no copy" if recipe.grpo.beta else ""
        return f"adapters learn in place of all weights{free}"
    return "the states of the optimiser are rounded to 8 bits; needs bitsandbytes"


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
