"""Which weights of a checkpoint are trained: whole towers, or low-rank adapters in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch

from medvistagym_core.tools import closest_match
from medvistagym_trl._recipe import LoraRecipe, RecipeError, Tower

_PROJECTOR_PARTS: Final = frozenset(
    {"merger", "deepstack_merger_list", "multi_modal_projector", "mm_projector", "connector", "aligner", "mlp1"}
)
_VISION_PARTS: Final = frozenset(
    {"visual", "vision_tower", "vision_model", "vision_encoder", "vision_embed_tokens", "embed_vision"}
)

UNQUANTISED_PARTS: Final = tuple(sorted(_PROJECTOR_PARTS | _VISION_PARTS))
"""Modules that keep their precision where the weights below adapters are quantised."""


def tower_of(name: str) -> Tower:
    """The part of the model that a module or weight belongs to, by its dotted name.

    The layers that bring image features to the size of the language model are the projector, wherever they stand.
    """
    parts = set(name.split("."))
    if parts & _PROJECTOR_PARTS:
        return "projector"
    return "vision" if parts & _VISION_PARTS else "language"


def freeze_towers(model: torch.nn.Module, frozen: Iterable[Tower]) -> None:
    """Stop gradients of whole towers, in place.

    Args:
        model: The model.
        frozen: The towers whose weights are not trained.
    """
    towers = set(frozen)
    if not towers:
        return
    for name, weight in model.named_parameters():
        if tower_of(name) in towers:
            weight.requires_grad_(False)


def lora_targets(model: Any, recipe: LoraRecipe) -> list[str]:
    """Full names of the linear layers that get an adapter: never the output layer, whose weights TRL reads directly.

    Args:
        model: The model, without adapters.
        recipe: The towers, and the layers within them by the last part of their names; all linear ones where it names none.

    Raises:
        RecipeError: A name that the recipe gives fits no linear layer of its towers.
    """
    head = model.get_output_embeddings()
    layers = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head and tower_of(name) in recipe.towers
    ]
    if not layers:
        raise RecipeError(
            f"model.lora.towers: the model has no linear layer in {', '.join(recipe.towers) or 'no tower'}"
        )
    if not recipe.targets:
        return layers
    kinds = sorted({name.rpartition(".")[2] for name in layers})
    for target in recipe.targets:
        if target not in kinds:
            near = closest_match(target, kinds)
            guess = f"did you mean {near}?" if near else f"they are called {', '.join(kinds)}"
            raise RecipeError(f"model.lora.targets: no linear layer is called {target!r}; {guess}")
    return [name for name in layers if name.rpartition(".")[2] in recipe.targets]


def add_adapters(model: Any, recipe: LoraRecipe, seed: int) -> Any:
    """The model with fresh adapters in float32, everything else frozen.

    Args:
        model: The model; its layers are replaced in place.
        recipe: Rank, scale and places.
        seed: Of the adapters' first weights.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,  # type: ignore[arg-type] # peft takes fractions
        lora_dropout=recipe.dropout,
        target_modules=lora_targets(model, recipe),
        use_rslora=recipe.rslora,
        use_dora=recipe.dora,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted = get_peft_model(model, config)
    cast_trained_to_float32(adapted)
    return adapted


def cast_trained_to_float32(model: torch.nn.Module) -> None:
    """Bring every weight that is trained to float32, in place.

    At the learning rates of fine-tuning an update is smaller than the spacing of bfloat16 numbers: at 1e-6, only 0.3 % of the
    weights of a model kept in bfloat16 move at all.
    """
    for weight in model.parameters():
        if weight.requires_grad and weight.is_floating_point() and weight.dtype != torch.float32:
            weight.data = weight.data.float()


def has_adapters(model: Any) -> bool:
    """Whether a model carries adapters."""
    return hasattr(model, "peft_config")


def count_parameters(model: torch.nn.Module) -> tuple[int, int]:
    """Number of weights that are trained, and of all."""
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    return trained, sum(weight.numel() for weight in model.parameters())
