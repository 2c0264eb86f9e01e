"""Names of settings: the recipe's own, those of TRL's fields that they stand for, and in messages about wrong ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from medvistagym_core.tools import closest_match
from medvistagym_trl._recipe._errors import RecipeError

_Model = TypeVar("_Model", bound=BaseModel)

_TRL_COUNTERPARTS: Final[Mapping[str, str]] = {
    "trl.grpo.beta": "grpo.beta",
    "trl.grpo.gradient_accumulation_steps": "grpo.parts",
    "trl.grpo.gradient_checkpointing": "model.gradient_checkpointing",
    "trl.grpo.learning_rate": "grpo.lr",
    "trl.grpo.lr_scheduler_type": "grpo.schedule",
    "trl.grpo.max_completion_length": "grpo.max_completion",
    "trl.grpo.max_steps": "grpo.steps",
    "trl.grpo.num_generations": "grpo.group",
    "trl.grpo.save_steps": "grpo.save_every",
    "trl.grpo.scale_rewards": "grpo.scale",
    "trl.grpo.seed": "seed",
    "trl.grpo.temperature": "grpo.temperature",
    "trl.grpo.warmup_steps": "grpo.warmup_steps",
    "trl.grpo.weight_decay": "grpo.weight_decay",
    "trl.sft.gradient_accumulation_steps": "sft.parts",
    "trl.sft.gradient_checkpointing": "model.gradient_checkpointing",
    "trl.sft.learning_rate": "sft.lr",
    "trl.sft.lr_scheduler_type": "sft.schedule",
    "trl.sft.max_steps": "sft.steps",
    "trl.sft.num_train_epochs": "sft.epochs",
    "trl.sft.save_steps": "sft.save_every",
    "trl.sft.seed": "seed",
    "trl.sft.warmup_steps": "sft.warmup_steps",
    "trl.sft.weight_decay": "sft.weight_decay",
}
"""Fields of TRL's configurations that this recipe has a setting for; given under `trl`, they set that."""


def setting_name(path: str) -> str:
    """The dotted name of a setting, where it was given by the name of TRL's field."""
    return _TRL_COUNTERPARTS.get(path, path)


def setting_names(data: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of every setting."""
    names: list[str] = []
    for key, value in data.items():
        nested = isinstance(value, dict) and (value or f"{prefix}{key}" in ("trl.sft", "trl.grpo"))
        names += setting_names(value, f"{prefix}{key}.") if nested else [prefix + key]
    return names


def validate(model: type[_Model], data: Mapping[str, Any], source: str) -> _Model:
    """A model of settings, whatever names they were given.

    Raises:
        RecipeError: A setting that there is not, or a value that does not fit; one sentence about the first.
    """
    try:
        return model.model_validate(_rename(data, source))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        location = [str(part) for part in first["loc"]]
        prefix = f"{source}: {'.'.join(location)}: ".replace(": : ", ": ")
        if first["type"] == "extra_forbidden":
            path = ".".join(location)
            near = closest_match(path, setting_names(_defaults(model)))
            guess = f"; did you mean {near}?" if near else ""
            raise RecipeError(f"{prefix}there is no such setting{guess}") from None
        if first["type"] == "value_error":
            raise RecipeError(f"{prefix}{first['msg'].removeprefix('Value error, ')}") from None
        message = first["msg"][0].lower() + first["msg"][1:]
        given = "" if first["type"] == "missing" else f", not {str(first['input'])[:60]!r}"
        raise RecipeError(f"{prefix}{message}{given}") from None


def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    defaults: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        nested = field.annotation if isinstance(field.annotation, type) else None
        defaults[name] = _defaults(nested) if nested is not None and issubclass(nested, BaseModel) else None
    return defaults


def _rename(data: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Settings under the recipe's own names.

    Raises:
        RecipeError: One is given twice, under two names, with two values.
    """
    renamed: dict[str, Any] = {}
    for path, value in _leaves(data):
        name = setting_name(path)
        *sections, last = name.split(".")
        target = renamed
        for section in sections:
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                raise RecipeError(f"{source}: {section}: there is no setting below it")
        if last in target and name != path and target[last] != value:
            raise RecipeError(f"{source}: {path} and {name} are the same setting, given as {value} and {target[last]}")
        target[last] = value
    return renamed


def _leaves(data: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Settings by dotted name, those under the recipe's own name first; what is no mapping, or an empty one, is a leaf."""
    leaves: list[tuple[str, Any]] = []
    for key, value in data.items():
        path = f"{prefix}{key}"
        leaves += _leaves(value, f"{path}.") if isinstance(value, Mapping) and value else [(path, value)]
    return sorted(leaves, key=lambda leaf: setting_name(leaf[0]) != leaf[0]) if not prefix else leaves
