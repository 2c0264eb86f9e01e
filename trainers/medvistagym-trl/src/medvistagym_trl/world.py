"""The rules that a recipe lays down for a task and a toolbox: protocol, reward, limits, prompt."""

from __future__ import annotations

import torch

from medvistagym_core.devices import available
from medvistagym_core.protocol import Protocol
from medvistagym_core.registry import Registry, Toolbox
from medvistagym_core.reward import TERMS, Outcome, Reward
from medvistagym_core.schema import system_prompt
from medvistagym_core.settings import Limits, Settings
from medvistagym_core.task import Task
from medvistagym_trl.environment import World
from medvistagym_trl.recipe import Recipe, RecipeError


def thrift(outcome: Outcome) -> float:
    """Minus the number of calls that a right answer took, else 0: looking costs nothing as long as it does not help."""
    return -float(outcome.calls) if outcome.grade.correct else 0.0


def make_settings(recipe: Recipe, task: Task, toolbox: Toolbox) -> Settings:
    """How episodes of a recipe are played, in training and evaluation alike."""
    rules = recipe.episode
    protocol = Protocol(think=rules.think)
    return Settings(
        protocol=protocol,
        reward=Reward(rules.reward_name, dict(rules.reward), {**TERMS, "thrift": thrift}),
        limits=Limits(max_turns=rules.max_calls + 1, max_calls=rules.max_calls),
        view_side=recipe.model.view_side,
        prompt=system_prompt(toolbox.specs, rules=protocol.rules, abstention=task.abstention, tools=False),
        terse=recipe.model.path is None,
    )


def make_world(recipe: Recipe, task: Task, toolbox: Toolbox, split: str = "train") -> World:
    """The world of a recipe."""
    return World(task, toolbox, make_settings(recipe, task, toolbox), seed=recipe.seed, split=split)


def make_toolbox(recipe: Recipe, registry: Registry) -> Toolbox:
    """The toolbox of a recipe, its tools placed where the recipe says.

    Raises:
        SelectionError: A tool or a device cannot be had.
    """
    wanted = recipe.devices
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        devices = available(wanted)
    except ValueError as error:
        raise RecipeError(f"the recipe: devices: {error}") from None
    return registry.toolbox(recipe.tools or (), devices=devices)
