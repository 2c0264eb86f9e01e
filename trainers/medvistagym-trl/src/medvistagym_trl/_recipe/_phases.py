"""The stages that leave a policy, and which of them a run folder stands for where a policy is asked for."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final, get_args

from medvistagym_trl._recipe._errors import RecipeError
from medvistagym_trl._recipe._load import load_recipe
from medvistagym_trl._recipe._recipe import EvaluatedPolicy, Recipe

_WEIGHTS: Final = ("config.json", "adapter_config.json")


def supervised_phases(recipe: Recipe) -> list[str]:
    """The supervised stages of the policy itself, in order; the last leaves the policy that GRPO begins with."""
    return ["sft", *(f"self_sampling_{number}" for number in range(1, recipe.sft.self_sampling.rounds + 1))]


def phase_of(recipe: Recipe, policy: str) -> str:
    """The stage that leaves a policy of the table.

    Args:
        recipe: The recipe.
        policy: As `evaluation.policies` names it.
    """
    if policy == "grpo":
        return "grpo_tail" if recipe.grpo.tail.steps else "grpo"
    return supervised_phases(recipe)[-1] if policy == "sft" else policy


def reported_phase(recipe: Recipe) -> str:
    """The stage whose policy the table of a run ends with; that of the trained policy where there is no table."""
    trained = {"sft", "grpo", *recipe.comparison.policies}
    reported = [
        policy for policy in get_args(EvaluatedPolicy) if policy in trained and policy in recipe.evaluation.policies
    ]
    return phase_of(recipe, reported[-1] if reported else "grpo")


def policy_checkpoint(path: Path) -> Path:
    """The folder with the weights of a policy: for a run folder the policy that its table ends with, else the path.

    Raises:
        RecipeError: The run has not got so far, or its recipe cannot be read.
    """
    published = any((path / name).is_file() for name in _WEIGHTS)  # weights and records of a run in one folder
    if published or not (path / "recipe.yaml").is_file():
        return path
    phase = reported_phase(load_recipe(path / "recipe.yaml"))
    folder = path / "checkpoints" / phase
    if not folder.is_dir():
        there = sorted(
            each for each in (path / "checkpoints").glob("[!.]*") if each.is_dir() and not each.name.endswith("_steps")
        )
        other = f", or name one of its checkpoints: {', '.join(map(str, there))}" if there else ""
        again = shlex.join(["medvistagym", "train", "--run", str(path), "--resume"])
        raise RecipeError(f"the run in {path} has no policy of {phase} yet; finish it ({again}){other}")
    return folder
