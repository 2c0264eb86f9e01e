"""The trainings of a study: one recipe, and what is changed of it to see what each part does."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from medvistagym_trl._recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Variation:
    """A training that differs from the main one.

    Attributes:
        name: Of its run folder.
        changes: Settings that differ, by dotted name.
        titles: What the table calls the policies that are shown of it, by policy of the run (`sft`, `grpo`).
    """

    name: str
    changes: Mapping[str, Any]
    titles: Mapping[str, str]


MAIN: Final = Variation(
    "main",
    {},
    {"no_tools": "no tools", "untrained": "call format only", "sft": "SFT", "grpo": "SFT + GRPO"},
)
"""The recipe as it is."""
_ALONE: Final[Mapping[str, Any]] = {"comparison.policies": []}


def table_variations(recipe: Recipe) -> tuple[Variation, ...]:
    """The trainings of a study's table, the main one first.

    Args:
        recipe: The main training's. *No tools* gets as many conversations as it gives SFT and GRPO together.
    """
    sft, grpo = recipe.sft, recipe.grpo
    conversations = (sft.steps or 0) * sft.batch + grpo.steps * grpo.completions
    return (
        MAIN,
        Variation(
            "no-tools",
            {
                "sft.data": [],
                "sft.steps": 0,
                "grpo.steps": 0,
                "comparison.policies": ["no_tools"],
                "comparison.no_tools_steps": -(-conversations // sft.batch),
                "evaluation.policies": ["no_tools"],
            },
            {"no_tools": "no tools, same budget"},
        ),
        Variation(
            "all-data",
            {**_ALONE, "sft.filter.limit": None},
            {"sft": "SFT, all data", "grpo": "SFT, all data + GRPO"},
        ),
        Variation(
            "no-sft",
            {**_ALONE, "sft.source": "call_format", "evaluation.policies": ["grpo"]},
            {"grpo": "GRPO without SFT"},
        ),
    )


def curve_variation(limit: int) -> Variation:
    """A training whose SFT learns from at most so many trajectories: a point of the curve over their number."""
    return Variation(
        f"n-{limit}",
        {**_ALONE, "sft.filter.limit": limit},
        {"sft": f"SFT, N = {limit}", "grpo": f"SFT, N = {limit} + GRPO"},
    )
