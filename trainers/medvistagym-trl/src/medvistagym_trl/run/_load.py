"""Loading a trained policy again, to play with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medvistagym_core.environment import EpisodeConfig, Task
from medvistagym_core.plugins import Registry
from medvistagym_core.tools import Toolbox
from medvistagym_trl._recipe import ConversationFormat, Recipe, load_recipe, policy_checkpoint, read_conversation_format
from medvistagym_trl.model import load_model, to_device
from medvistagym_trl.rollout import make_episode_config
from medvistagym_trl.stages import SamplingPolicy


def load_trained_policy(
    registry: Registry, path: Path, task: Task, toolbox: Toolbox, *, temperature: float | None, seed: int
) -> tuple[SamplingPolicy, EpisodeConfig]:
    """A policy and how its episodes are played, from a run folder, one of its checkpoints, or any supported
    checkpoint.

    Args:
        registry: Gives the reward terms and graders of plugins.
        path: The folder.
        task: The task to play.
        toolbox: The tools.
        temperature: Of sampling; 0 is greedy; None is the temperature of training, or 1.
        seed: Of sampling.

    Raises:
        UnsupportedModelError: There is no such policy.
        RecipeError: Its run has not finished.
    """
    run = next((folder for folder in (path, *path.resolve().parents[:2]) if (folder / "recipe.yaml").is_file()), None)
    recipe = None if run is None else load_recipe(run / "recipe.yaml")
    folder = policy_checkpoint(path)
    recipe = recipe or _recipe_for(path)
    schemas = list(toolbox.schemas("huggingface"))
    model = to_device(load_model(folder, schemas, action_format=recipe.episode.action_format))
    if temperature is None:
        temperature = 1.0 if run is None else recipe.grpo.temperature
    config = make_episode_config(recipe, task, toolbox, registry)
    policy = SamplingPolicy(
        model,
        schemas if config.style == "tools" else [],
        config.protocol,
        temperature=temperature or None,
        max_tokens=recipe.evaluation.max_tokens,
        seed=seed,
        name=path.name,
    )
    return policy, config


def _recipe_for(path: Path) -> Recipe:
    """How a checkpoint outside of any run is played: as it says that it was trained, else as a real checkpoint."""
    conversation = read_conversation_format(path) or ConversationFormat()
    recipe = Recipe(name="tiny") if conversation.compact else load_recipe("checkpoint")
    changes: dict[str, Any] = {
        "episode.action_format": conversation.action_format,
        "episode.compact": conversation.compact,
    }
    if conversation.view_side is not None:
        changes["model.view_side"] = conversation.view_side
    return recipe.with_overrides({**changes, "model.path": str(path)})
