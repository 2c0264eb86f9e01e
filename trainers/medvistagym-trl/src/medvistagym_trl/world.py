"""The rules that a recipe lays down for a task and a toolbox: protocol, reward, limits, prompt."""

from __future__ import annotations

import torch

from medvistagym_core.environment import REWARD_TERMS, EpisodeConfig, EpisodeOutcome, Limits, Reward, Task
from medvistagym_core.execution import ResultFilter
from medvistagym_core.plugins import Registry
from medvistagym_core.protocol import TextProtocol, system_prompt
from medvistagym_core.tools import Toolbox, parse_available_device_map
from medvistagym_trl.environment import World
from medvistagym_trl.recipe import Recipe, RecipeError


def thrift(outcome: EpisodeOutcome) -> float:
    """Minus the number of calls that a right answer took, else 0: looking costs nothing as long as it does not help."""
    return -float(outcome.calls) if outcome.grade.correct else 0.0


def make_settings(recipe: Recipe, task: Task, toolbox: Toolbox) -> EpisodeConfig:
    """How episodes of a recipe are played, in training and evaluation alike."""
    rules = recipe.episode
    protocol = TextProtocol(think=rules.think)
    return EpisodeConfig(
        protocol=protocol,
        reward=Reward(rules.reward_name, dict(rules.reward), {**REWARD_TERMS, "thrift": thrift}),
        limits=Limits(max_turns=rules.max_calls + 1, max_calls=rules.max_calls),
        view_side=recipe.model.view_side,
        prompt=system_prompt(toolbox.specs, rules=protocol.instructions, abstention=task.abstention, tools=False),
        compact=recipe.model.path is None,
    )


def make_world(recipe: Recipe, task: Task, toolbox: Toolbox, split: str = "train", *, perturbed: bool = False) -> World:
    """The world of a recipe.

    Args:
        recipe: The recipe.
        task: Where cases come from.
        toolbox: The tools.
        split: Split that cases are drawn from.
        perturbed: Whether results are made wrong as the recipe's `perturb` says.

    Raises:
        RecipeError: `perturb` says no settings, or medvistagym-models, which does it, is not installed.
    """
    settings = make_settings(recipe, task, toolbox)
    result_filter = _make_result_filter(recipe.perturb) if perturbed and recipe.perturb is not None else None
    return World(task, toolbox, settings, seed=recipe.seed, split=split, result_filter=result_filter)


def _make_result_filter(settings: str) -> ResultFilter:
    try:
        from medvistagym_models.perturbation import Perturber, parse_settings
    except ModuleNotFoundError:
        raise RecipeError("the recipe: perturb needs medvistagym-models: pip install medvistagym-models") from None
    try:
        return Perturber(parse_settings(settings))
    except ValueError as error:
        raise RecipeError(f"the recipe: {error}") from None


def make_toolbox(recipe: Recipe, registry: Registry) -> Toolbox:
    """The toolbox of a recipe, its tools placed where the recipe says.

    Raises:
        SelectionError: A tool or a device cannot be had.
    """
    wanted = recipe.devices
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        devices = parse_available_device_map(wanted)
    except ValueError as error:
        raise RecipeError(f"the recipe: devices: {error}") from None
    return registry.toolbox(recipe.tools or (), devices=devices)
