"""TRL's own configurations, made from a recipe."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import tempfile
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pydantic
import torch
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.sft_config import SFTConfig

from medvistagym_core.tools import closest_match
from medvistagym_trl._libraries import without_future_warnings
from medvistagym_trl._ranks import rank_count
from medvistagym_trl._recipe import GrpoRecipe, Recipe, RecipeError, SftRecipe, rows_of_rank

_RESERVED: Final[Mapping[str, str]] = {
    "output_dir": "it is the run folder",
    "per_device_train_batch_size": "it follows from the batch (completions) and gradient_accumulation_steps",
    "remove_unused_columns": "the rows hold only numbers, which the collator needs",
    "dataset_kwargs": "the collator prepares the data",
    "report_to": "set report_to of the recipe",
}
"""Fields that a recipe cannot set, and why."""
_TRACKERS: Final[Mapping[str, str]] = {"tensorboard": "tensorboard", "trackio": "trackio", "wandb": "wandb"}


def check_trl_settings(recipe: Recipe) -> None:
    """Refuse fields that TRL does not have, or does not take.

    Raises:
        RecipeError: The first of them, with the nearest name or TRL's own reason; or a tracker that is not installed.
    """
    for tracker in recipe.report_to:
        if importlib.util.find_spec(_TRACKERS[tracker]) is None:
            raise RecipeError(f"the recipe: report_to: {tracker} is not installed: pip install {tracker}")
    for kind, config, fields in (("sft", SFTConfig, recipe.trl.sft), ("grpo", GRPOConfig, recipe.trl.grpo)):
        names = [field.name for field in dataclasses.fields(config) if field.init]
        for name in fields:
            if name in _RESERVED:
                raise RecipeError(f"the recipe: trl.{kind}.{name} cannot be set: {_RESERVED[name]}")
            if name not in names:
                near = closest_match(name, names)
                guess = f"; did you mean {near}?" if near else ""
                raise RecipeError(f"the recipe: TRL's {config.__name__} has no field {name!r}{guess}")
        _check_values(kind, config, fields)
    with tempfile.TemporaryDirectory() as folder:
        try:
            make_sft_config(recipe, steps=1, folder=Path(folder))
        except (TypeError, ValueError) as error:
            raise RecipeError(f"the recipe: trl.sft: {_one_line(error)}") from None
        try:
            make_grpo_config(recipe, steps=max(1, recipe.grpo.steps), max_turns=1, completion=1, folder=Path(folder))
        except (TypeError, ValueError) as error:
            raise RecipeError(f"the recipe: trl.grpo: {_one_line(error)}") from None


def _check_values(kind: str, config: type, fields: Mapping[str, Any]) -> None:
    hints = typing.get_type_hints(config)
    for name, value in fields.items():
        try:
            pydantic.TypeAdapter(hints[name]).validate_python(value)
        except pydantic.ValidationError as error:
            message = error.errors(include_url=False)[0]["msg"]
            raise RecipeError(f"the recipe: trl.{kind}.{name}: {message}, not {str(value)[:60]!r}") from None
        except pydantic.errors.PydanticSchemaGenerationError:
            continue  # a type of torch or transformers, which only they can check


def make_sft_config(recipe: Recipe, *, steps: int, folder: Path) -> SFTConfig:
    """TRL's configuration of supervised fine-tuning.

    Args:
        recipe: The recipe.
        steps: Optimiser steps.
        folder: For the trainer's own files.
    """
    sft = recipe.sft
    settings = {
        **_shared_settings(recipe, folder),
        "max_steps": steps,
        "per_device_train_batch_size": rows_of_rank(sft.batch, sft.parts, "sft.batch", "sft.parts", rank_count()),
        "gradient_accumulation_steps": sft.parts,
        "save_strategy": "steps" if sft.save_every else "no",
        "save_steps": sft.save_every or 500,
        "max_length": None,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "dataloader_drop_last": True,
        # Neither CUDA, where tools run too, nor a plugin's executor, such as the connection to Ray, survives a fork.
        "dataloader_num_workers": int(recipe.executor in ("local", "process") and not torch.cuda.is_available()),
    }
    if uses_adamw(sft, recipe):
        settings |= _adamw(sft.lr, sft.weight_decay, sft.schedule, sft.warmup_steps)
    config: SFTConfig = without_future_warnings(SFTConfig, **{**settings, **recipe.trl.sft})
    return config


def make_grpo_config(
    recipe: Recipe, *, steps: int, max_turns: int, completion: int, folder: Path, **more: Any
) -> GRPOConfig:
    """TRL's configuration of reinforcement learning.

    Args:
        recipe: The recipe.
        steps: Optimiser steps.
        max_turns: Most turns of an episode, the answer included.
        completion: Most tokens of a completion.
        folder: For the trainer's own files.
        **more: Further fields; those of the recipe's `trl.grpo` count more.
    """
    grpo = recipe.grpo
    settings = {
        **_shared_settings(recipe, folder),
        **_adamw(grpo.lr, grpo.weight_decay, grpo.schedule, _warmup(grpo, steps)),
        "max_steps": steps,
        "per_device_train_batch_size": rows_of_rank(
            grpo.completions, grpo.parts, "grpo.completions", "grpo.parts", rank_count()
        ),
        "num_generations": grpo.group,
        "gradient_accumulation_steps": grpo.parts,
        "max_completion_length": completion,
        "max_tool_calling_iterations": max_turns - 1,
        "temperature": grpo.temperature,
        "beta": grpo.beta,
        "scale_rewards": grpo.scale,
        "save_strategy": "steps",
        "save_steps": grpo.save_every,
        "shuffle_dataset": False,  # cases come in turn, so every batch has its share of each family
        **more,
    }
    theirs = dict(recipe.trl.grpo)
    if "generation_kwargs" in theirs and "generation_kwargs" in more:
        theirs["generation_kwargs"] = {**more["generation_kwargs"], **theirs["generation_kwargs"]}
    config: GRPOConfig = without_future_warnings(GRPOConfig, **{**settings, **theirs})
    return config


def uses_adamw(sft: SftRecipe, recipe: Recipe) -> bool:
    """Whether SFT trains with AdamW: as it says, or for a checkpoint."""
    return sft.optimizer == "adamw" or (sft.optimizer == "auto" and not recipe.warms_up)


def _shared_settings(recipe: Recipe, folder: Path) -> dict[str, Any]:
    checkpointing = recipe.model.gradient_checkpointing
    if "tensorboard" in recipe.report_to:
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder.parent.parent / "tensorboard" / folder.name)
    return {
        "output_dir": str(folder),
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_total_limit": 1,
        "report_to": list(recipe.report_to) or "none",
        "use_cpu": not torch.cuda.is_available(),
        "bf16": torch.cuda.is_available(),
        "gradient_checkpointing": checkpointing,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if checkpointing else None,
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "seed": recipe.seed,
    }


def _adamw(lr: float, weight_decay: float, schedule: str, warmup_steps: float) -> dict[str, Any]:
    return {
        "learning_rate": lr,
        "weight_decay": weight_decay,
        "lr_scheduler_type": schedule,
        "warmup_steps": warmup_steps,
    }


def _warmup(grpo: GrpoRecipe, steps: int) -> float:
    return min(grpo.warmup_steps, steps) if grpo.warmup_steps >= 1 else grpo.warmup_steps


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
