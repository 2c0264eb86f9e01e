"""Memory of the activations that a backward pass through a language tower needs, counted on meta tensors."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from collections import defaultdict
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from medvistagym_trl._recipe import ModelRecipe
from medvistagym_trl.model._adapters import add_adapters, cast_trained_to_float32, freeze_towers
from medvistagym_trl.model._checkpoints import base_checkpoint, referenced

_LENGTHS: Final = (192, 384)
"""Tokens of the two rows that are counted: whole chunks of 64, in which linear attention goes."""
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class LanguageActivations:
    """Bytes that autograd keeps of the forward pass through a language tower, logits apart.

    Attributes:
        layers: Of each layer, a token.
        inputs: Of what all layers are given, a token: what gradient checkpointing keeps of them.
        ends: Outside of layers, a token.
        copies: Of weights, in the type that layers compute in where that is not their own.
    """

    layers: tuple[float, ...]
    inputs: float
    ends: float
    copies: float


def count_activations(path: str | Path, recipe: ModelRecipe, *, half: bool) -> LanguageActivations | None:
    """Count them of a checkpoint, from its configuration alone, kind of layer by kind of layer.

    Args:
        path: Folder as for `load_processor`; weights need not be in it.
        recipe: Which weights are trained, and how.
        half: Whether layers compute in bfloat16, by autocast.

    Returns:
        None where the layers cannot be run without numbers, such as those that choose experts.

    Raises:
        UnsupportedModelError: It is no such folder.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(base_checkpoint(referenced(Path(path))), local_files_only=True)
    return count_activations_of(config, recipe, half=half)


def count_activations_of(config: Any, recipe: ModelRecipe, *, half: bool) -> LanguageActivations | None:
    """Count the activations of a model's configuration.

    Args:
        config: The configuration of transformers.
        recipe: Which weights are trained, and how.
        half: Whether layers compute in bfloat16, by autocast.

    Returns:
        None where the layers cannot be run without numbers, such as those that choose experts.
    """
    kept = recipe.model_copy(update={"path": None, "gradient_checkpointing": False, "quantization": "none"})
    kind: Any = type(config)
    return _count(kind, json.dumps(config.to_dict(), default=str), kept.model_dump_json(), half)


@functools.lru_cache(maxsize=32)
def _count(kind: Hashable, settings: str, recipe_json: str, half: bool) -> LanguageActivations | None:
    """The same, once for what decides it: a plan asks for many recipes that train the same weights."""
    from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

    config_class: Any = kind
    config, recipe = config_class.from_dict(json.loads(settings)), ModelRecipe.model_validate_json(recipe_json)
    try:
        with torch.device("meta"):
            model = _build(config, recipe)
        with FakeTensorMode():
            _move_to_fake_cpu(model)
            counts = [_Counter(model).count(length, half) for length in _LENGTHS]
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        _log.debug("the layers of %s cannot be run without numbers: %s", config.model_type, error)
        return None
    (few, less), (many, more) = counts
    per_token = {name: (many[name] - few[name]) / (_LENGTHS[1] - _LENGTHS[0]) for name in many}
    copies = sum(many.values()) - _LENGTHS[1] * sum(per_token.values())
    return LanguageActivations(
        layers=tuple(value for name, value in per_token.items() if name),
        inputs=(more - less) / (_LENGTHS[1] - _LENGTHS[0]),
        ends=per_token[""],
        copies=copies,
    )


def _build(config: Any, recipe: ModelRecipe) -> Any:
    """The model, as it would be trained."""
    from transformers import AutoModelForImageTextToText

    auto: Any = AutoModelForImageTextToText
    stored = getattr(config, "dtype", None) or getattr(config.get_text_config(), "dtype", None)
    adapters = bool(recipe.lora.rank)
    dtype = stored if adapters and isinstance(stored, torch.dtype) else torch.float32
    model: Any = auto.from_config(config, dtype=dtype, attn_implementation="sdpa")
    if adapters:
        model = add_adapters(model, recipe.lora, 0)
    else:
        freeze_towers(model, recipe.frozen)
        cast_trained_to_float32(model)
    return model.train()


def _move_to_fake_cpu(model: torch.nn.Module) -> None:
    """Replace tensors of the meta device by fake ones of a CPU, for which autocast and the attention kernels choose."""
    moved: dict[int, Any] = {}  # tied weights stay tied

    def move(tensor: torch.Tensor) -> Any:
        if id(tensor) not in moved:
            fake = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
            is_weight = isinstance(tensor, torch.nn.Parameter)
            moved[id(tensor)] = torch.nn.Parameter(fake, tensor.requires_grad) if is_weight else fake
        return moved[id(tensor)]

    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False, remove_duplicate=False):
            setattr(module, name, move(weight))
        for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False):
            setattr(module, name, move(buffer))


class _Counter:
    """Counts the bytes of what autograd saves, once for each storage, by the layer that saves it first."""

    def __init__(self, model: Any) -> None:
        from transformers.modeling_layers import GradientCheckpointingLayer

        self._model = model
        self._weights = {_identity(each.untyped_storage()) for each in [*model.parameters(), *model.buffers()]}
        self._layers = {
            name: module for name, module in model.named_modules() if isinstance(module, GradientCheckpointingLayer)
        }

    def count(self, length: int, half: bool) -> tuple[dict[str, int], int]:
        """Bytes by layer, "" for what is outside of layers, and those of what layers are given, for one row of tokens."""
        kept: list[Any] = []  # a storage that is freed gives its number to another
        seen: set[Hashable] = set(self._weights)
        given: set[Hashable] = set()
        saved: dict[str, int] = defaultdict(int, {"": 0})
        inputs, now = 0, ""
        vocabulary = self._model.config.get_text_config().vocab_size

        def is_counted(tensor: torch.Tensor) -> bool:
            # An attention kernel keeps no matrix of scores; logits are counted by those who know their number.
            square = tensor.dim() > 1 and tensor.shape[-1] == tensor.shape[-2] == length
            return not square and tensor.shape[-1:] != (vocabulary,)

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if _identity(storage) not in seen and is_counted(tensor):
                kept.append(storage)
                seen.add(_identity(storage))
                saved[now] += storage.nbytes()
            return tensor

        def enter(name: str) -> Any:
            def hook(module: Any, args: Any, kwargs: Any) -> None:
                nonlocal inputs, now
                now = name
                saved[name] += 0
                for value in [*args, *kwargs.values()]:
                    if not isinstance(value, torch.Tensor) or not is_counted(value):
                        continue
                    storage = value.untyped_storage()
                    if _identity(storage) not in given:
                        kept.append(storage)
                        given.add(_identity(storage))
                        inputs += storage.nbytes()

            return hook

        def leave(module: Any, args: Any, output: Any) -> None:
            nonlocal now
            now = ""

        hooks = [layer.register_forward_pre_hook(enter(name), with_kwargs=True) for name, layer in self._layers.items()]
        hooks += [layer.register_forward_hook(leave) for layer in self._layers.values()]
        ids = torch.zeros(1, length, dtype=torch.long)
        try:
            with (
                torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
                torch.autocast("cpu", torch.bfloat16, enabled=half),
            ):
                self._model(input_ids=ids, use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        return dict(saved), inputs


def _identity(storage: torch.UntypedStorage) -> Hashable:
    """Equal for tensors that share memory, also where the memory has sizes alone."""
    return StorageWeakRef(storage)  # type: ignore[no-untyped-call]
