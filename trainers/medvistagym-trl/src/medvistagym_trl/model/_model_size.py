"""How large a checkpoint's model is, found out from its configuration alone: nothing is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from medvistagym_trl._recipe import ModelRecipe, Tower
from medvistagym_trl.model._adapters import lora_targets, tower_of
from medvistagym_trl.model._checkpoints import base_checkpoint, referenced


@dataclasses.dataclass(frozen=True)
class StackSize:
    """Sizes of a stack of transformer layers.

    Attributes:
        layers: Number of layers.
        hidden: Width of the residual stream.
        intermediate: Width inside the MLP.
        heads: Width of all query heads together.
        kv_heads: Width of all key heads together, the same for values.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int


@dataclasses.dataclass(frozen=True)
class ModelSize:
    """Sizes of a checkpoint's model under a recipe.

    Attributes:
        family: The model type.
        parameters: Weights of each part of the model.
        trained: Weights that are trained: adapters, or those of parts that are not frozen.
        quantised: Weights of the layers that `model.quantization` shrinks.
        stored_bytes: Bytes of a weight as the checkpoint stores it.
        language: The language tower.
        vision: The vision tower.
        vocabulary: Tokens.
        context_length: Longest sequence, where the configuration says it.
    """

    family: str
    parameters: Mapping[Tower, int]
    trained: int
    quantised: int
    stored_bytes: int
    language: StackSize
    vision: StackSize
    vocabulary: int
    context_length: int | None

    @property
    def all(self) -> int:
        """Weights of the whole model."""
        return sum(self.parameters.values())


def measure_model_size(path: str | Path, recipe: ModelRecipe) -> ModelSize:
    """The sizes of a checkpoint, from a model built on torch's meta device, which holds no weights.

    Args:
        path: Folder as for `load_processor`; weights need not be in it.
        recipe: Which weights are trained, and how.

    Raises:
        UnsupportedModelError: It is no such folder.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText

    config = AutoConfig.from_pretrained(base_checkpoint(referenced(Path(path))), local_files_only=True)
    auto: Any = AutoModelForImageTextToText
    with torch.device("meta"):
        model: Any = auto.from_config(config)
    return model_size(model, recipe)


def model_size(model: Any, recipe: ModelRecipe) -> ModelSize:
    """The sizes of a model without adapters, on whatever device.

    Args:
        model: The model.
        recipe: How it is trained: frozen towers, adapters, quantisation.

    Raises:
        RecipeError: An adapter is asked for where the model has no such layer.
    """
    config = model.config
    parameters: dict[Tower, int] = {"language": 0, "projector": 0, "vision": 0}
    trained = 0
    for name, weight in model.named_parameters():
        tower = tower_of(name)
        parameters[tower] += weight.numel()
        trained += weight.numel() if tower not in recipe.frozen else 0
    layers = dict(model.named_modules())
    if recipe.lora.rank:
        each = [layers[name] for name in lora_targets(model, recipe.lora)]
        trained = sum(recipe.lora.rank * (linear.in_features + linear.out_features) for linear in each)
        trained += sum(linear.out_features for linear in each) if recipe.lora.dora else 0
    head = model.get_output_embeddings()
    quantised = sum(
        module.weight.numel()
        for name, module in layers.items()
        if isinstance(module, torch.nn.Linear) and module is not head and tower_of(name) == "language"
    )
    text = config.get_text_config()
    stored = getattr(config, "dtype", None) or getattr(text, "dtype", None)
    max_positions = getattr(text, "max_position_embeddings", None)
    return ModelSize(
        family=str(config.model_type),
        parameters=parameters,
        trained=trained,
        quantised=quantised if recipe.quantization != "none" else 0,
        stored_bytes=stored.itemsize if isinstance(stored, torch.dtype) else 4,
        language=_stack(text),
        vision=_stack(getattr(config, "vision_config", None)),
        vocabulary=int(text.vocab_size),
        context_length=max_positions if isinstance(max_positions, int) else None,
    )


def _stack(config: Any) -> StackSize:
    """The sizes in a tower's configuration, under the names that families give them; zero where there is none."""

    def first(*names: str, default: int = 0) -> int:
        values = (getattr(config, name, None) for name in names)
        return int(next((value for value in values if isinstance(value, int)), default))

    hidden = first("embed_dim", "hidden_size") if hasattr(config, "depth") else first("hidden_size", "embed_dim")
    heads = first("num_attention_heads", "num_heads", default=1)
    each = first("head_dim", default=hidden // max(1, heads))
    return StackSize(
        layers=first("num_hidden_layers", "depth", "num_layers"),
        hidden=hidden,
        intermediate=first("intermediate_size", default=int(hidden * getattr(config, "mlp_ratio", 4))),
        heads=heads * each,
        kv_heads=first("num_key_value_heads", default=heads) * each,
    )
