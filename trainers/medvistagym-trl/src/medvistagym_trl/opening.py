"""Opening a trained policy again, to play with it."""

from __future__ import annotations

from pathlib import Path

from medvistagym_core.environment import EpisodeConfig, Task
from medvistagym_core.tools import Toolbox
from medvistagym_trl.families import Policy, UnsupportedModelError, load_policy
from medvistagym_trl.recipe import Recipe, load_recipe
from medvistagym_trl.sample import SampledPolicy
from medvistagym_trl.world import make_settings

_FINAL = "grpo"


def open_policy(
    path: Path, task: Task, toolbox: Toolbox, *, temperature: float | None, seed: int
) -> tuple[SampledPolicy, EpisodeConfig]:
    """A policy and how its episodes are played, from a run folder, one of its checkpoints, or any supported
    checkpoint.

    Raises:
        UnsupportedModelError: There is no such policy, or its run has not finished.
    """
    run = next((folder for folder in (path, *path.resolve().parents[:2]) if (folder / "recipe.yaml").is_file()), None)
    folder = path / "checkpoints" / _FINAL if path == run else path
    if path == run and not folder.is_dir():
        raise UnsupportedModelError(f"the run in {path} has no trained policy yet; finish it with --resume")
    schemas = list(toolbox.schemas("huggingface"))
    loaded = load_policy(folder, schemas)
    recipe = _recipe_of(loaded, path) if run is None else load_recipe(run / "recipe.yaml")
    if temperature is None:
        temperature = 1.0 if run is None else recipe.grpo.temperature
    longest = recipe.evaluation.max_tokens
    policy = SampledPolicy(
        loaded, schemas, temperature=temperature or None, max_tokens=longest, seed=seed, name=path.name
    )
    return policy, make_settings(recipe, task, toolbox)


def _recipe_of(policy: Policy, path: Path) -> Recipe:
    """How a checkpoint outside of any run is played: as the tiny policy is, if it is one, else as a real checkpoint."""
    if getattr(policy.processor.image_processor, "temporal_patch_size", None) == 1:
        return Recipe(name="tiny")
    return load_recipe("checkpoint").overridden({"model.path": str(path)})
