"""How much memory and disk the stages of a run take, estimated from sizes alone; every assumption is stated."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

from medvistagym_trl._recipe import Recipe
from medvistagym_trl.model import LanguageActivations, ModelSize, StackSize

_QUANTISED_BYTES: Final = {"none": 0.0, "8bit": 1.0, "4bit": 0.5 + 8 / 64 / 8 + 32 / 256 / 64 / 8}
"""Bytes of a weight: nf4 with a constant of 8 bits for 64 weights, and one of 32 bits for 256 of those (bitsandbytes)."""
_FLOAT32: Final = 4
_SEEN: Final = "what their forward pass was seen to keep"
_LIKE_QWEN: Final = "what Qwen3-VL's would"
_ADAMW_STATES: Final = 2
_STATE_BYTES_8BIT: Final = 1 + 4 / 256
"""Bytes of a state in 8 bits, with a constant in float32 for 256 of them (bitsandbytes)."""


@dataclasses.dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of the device's memory in the step that takes most, and of the disk.

    Attributes:
        weights: Weights, in the type that they are kept in.
        masters: Of these, those that are trained, in float32.
        gradients: Gradients of what is trained.
        optimiser: States of AdamW.
        reference: A second copy of the weights, which a divergence (`grpo.beta`) is measured against.
        activations: What the backward pass needs of one part of a step.
        copies: Of these, weights in the type that layers compute in; processes that share weights gather them so instead.
        pictures: Pixels of the images of that part.
        generation: Keys and values of the completions that are sampled at once.
        disk: Checkpoints of the stages, and of the one under way.
        accumulates: Whether gradients of earlier parts are there while a part is learnt from.
        assumptions: What the figures rest on.
    """

    weights: int
    masters: int
    gradients: int
    optimiser: int
    reference: int
    activations: int
    copies: int
    pictures: int
    generation: int
    disk: int
    accumulates: bool
    assumptions: tuple[str, ...]

    @property
    def peak(self) -> int:
        """The most at one time: a part is learnt from, gradients are applied, or completions are sampled."""
        return self.weights + self.optimiser + self.reference + self.step

    @property
    def step(self) -> int:
        """What comes and goes in a step: of its parts the one that takes most."""
        learning = self.activations + self.pictures + (self.gradients if self.accumulates else 0)
        return max(learning, self.gradients, self.generation)


def estimate_memory(
    size: ModelSize,
    recipe: Recipe,
    *,
    conversation: int,
    completion: int,
    image_tokens: int,
    half: bool,
    activations: LanguageActivations | None = None,
) -> MemoryEstimate:
    """Estimate what a run takes.

    Args:
        size: The model.
        recipe: Batch, parts, adapters, checkpointing.
        conversation: Tokens of a whole episode.
        completion: Of these, those after the prompt.
        image_tokens: Of these, those that stand for images.
        half: Whether layers compute in bfloat16, as on CUDA, or in float32.
        activations: Of the language tower, as `count_activations` counts them; None takes its layers for those of Qwen3-VL.
    """
    model, grpo, sft = recipe.model, recipe.grpo, recipe.sft
    adapters = bool(model.lora.rank)
    kept_bytes = size.stored_bytes if adapters else _FLOAT32
    weights = round((size.all - size.quantised) * kept_bytes + size.quantised * _QUANTISED_BYTES[model.quantization])
    masters = size.trained * _FLOAT32
    number = 2 if half else kept_bytes
    rows = _rows_of_parts(recipe)
    tokens, patches = max(rows.values()) * conversation, max(rows.values()) * image_tokens * _PATCHES
    logits = _logit_bytes(size, rows, conversation, completion)
    vision_trained = "vision" not in model.frozen if not adapters else "vision" in model.lora.towers
    towers = [
        _language(size.language, activations, tokens, number, adapters=adapters, copied=not half),
        _formula(size.vision, _VISION, patches if vision_trained else 0, number, adapters=adapters),
    ]
    sampled = -(-grpo.completions // grpo.generation_parts)
    state_bytes = _optimiser_state_bytes(recipe)
    states = round(size.trained * _ADAMW_STATES * state_bytes)
    saved = masters if adapters else size.all * _FLOAT32
    return MemoryEstimate(
        weights=weights + (masters if adapters else 0),
        masters=masters,
        gradients=masters,
        optimiser=states,
        reference=size.all * _FLOAT32 if grpo.steps and grpo.beta and not adapters else 0,
        activations=round(_held_for_backward(towers, logits, checkpointing=model.gradient_checkpointing)),
        copies=round(sum(tower.copies for tower in towers)),
        pictures=patches * _PATCH_VALUES * _FLOAT32,
        generation=_cache_bytes(size, number, conversation) * sampled if grpo.steps else 0,
        accumulates=max(sft.parts if rows["sft"] else 1, grpo.parts if rows["grpo"] else 1) > 1,
        disk=saved * _count_checkpoints(recipe) + 2 * (saved + states),
        assumptions=(
            f"every conversation takes {conversation} tokens, of which {image_tokens} stand for images",
            f"a part holds {max(rows.values())} conversations",
            f"layers compute in {number} bytes a number, with an attention kernel that keeps no matrix of scores",
            f"language layers keep {_LIKE_QWEN if activations is None else _SEEN}",
            f"gradients are float32, and the two states of AdamW take {state_bytes:.3g} bytes each",
            f"{sampled} completions are sampled at once, with their keys and values kept",
            "while a checkpoint is written, the one before it is still there",
        ),
    )


def _count_checkpoints(recipe: Recipe) -> int:
    """Stages that leave one."""
    return 1 + bool(recipe.grpo.steps) + bool(recipe.grpo.tail.steps) + recipe.sft.self_sampling.rounds


def _rows_of_parts(recipe: Recipe) -> dict[str, int]:
    """Conversations in a part of a step of each stage; 0 of a stage that there is not."""
    sft, grpo = recipe.sft, recipe.grpo
    return {
        "sft": sft.batch // sft.parts if sft.steps != 0 else 0,
        "grpo": grpo.completions // grpo.parts if grpo.steps else 0,
    }


def _logit_bytes(size: ModelSize, rows: Mapping[str, int], conversation: int, completion: int) -> int:
    """GRPO computes logits of the completion alone, SFT of all that it reads."""
    logits = max(rows["sft"] * conversation, rows["grpo"] * completion) * size.vocabulary
    return logits * _LOGIT_COPIES * _FLOAT32


def _held_for_backward(towers: Sequence[_Tower], logits: float, *, checkpointing: bool) -> float:
    """Bytes that the backward pass needs of the towers and of the logits."""
    layers = [layer for tower in towers for layer in tower.layers]
    copies = sum(tower.copies for tower in towers)
    ends = sum(tower.ends for tower in towers)
    if checkpointing:  # copies of weights last for the forward pass, and those of one layer for its own
        return sum(tower.inputs for tower in towers) + max(logits + copies, *layers) + ends
    return logits + copies + sum(layers) + ends


def _cache_bytes(size: ModelSize, number: int, conversation: int) -> int:
    """Bytes of the keys and values of one completion."""
    return 2 * size.language.layers * size.language.kv_heads * number * conversation


def _optimiser_state_bytes(recipe: Recipe) -> float:
    """Bytes of a state of AdamW for a trained weight, of the stage whose take more."""
    return max(
        _STATE_BYTES_8BIT if "8bit" in str(fields.get("optim", "")) else _FLOAT32
        for fields in (recipe.trl.sft, recipe.trl.grpo)
    )


_PATCHES: Final = 4
"""Patches behind an image token, where two by two are merged."""
_PATCH_VALUES: Final = 3 * 2 * 16 * 16
"""Numbers of a patch: three channels, two frames, 16 x 16 pixels."""
_LOGIT_COPIES: Final = 3
"""The logarithms of the softmax, their gradient, and that of the logits, in float32 whatever layers compute in."""
_ENDS: Final = 3
"""Embeddings and the last norm, in widths of the residual stream."""


@dataclasses.dataclass(frozen=True)
class _Tower:
    """Bytes that the backward pass needs of the tokens of a part: of each layer, of what layers are given, and besides."""

    layers: tuple[float, ...]
    inputs: float
    ends: float = 0.0
    copies: float = 0.0


@dataclasses.dataclass(frozen=True)
class _LayerNumbers:
    """Numbers that the backward pass of a layer needs of a token, in multiples of the layer's widths."""

    hidden: float
    heads: float
    kv_heads: float
    intermediate: float


_LANGUAGE: Final = _LayerNumbers(hidden=6, heads=4, kv_heads=4, intermediate=4)
"""Two norms with their inputs and the residuals; queries before and after norm and rotation, and the attention's output; keys
and values; the gate, its activation, the other half and their product. Counted on Qwen3-VL."""
_VISION: Final = _LayerNumbers(hidden=5, heads=6, kv_heads=0, intermediate=2)
"""Of a tower with a plain MLP, whose queries, keys and values are of one width."""


def _language(
    stack: StackSize, counted: LanguageActivations | None, tokens: int, number: int, *, adapters: bool, copied: bool
) -> _Tower:
    """The language tower.

    Args:
        stack: Its sizes.
        counted: What was counted of it.
        tokens: Of a part of a step.
        number: Bytes of a number that layers compute with.
        adapters: Whether adapters are trained in place of its weights.
        copied: Whether inputs of adapters are copied to float32 where layers compute in less.
    """
    if counted is not None:
        layers = tuple(tokens * each for each in counted.layers)
        return _Tower(layers, tokens * counted.inputs, tokens * counted.ends, counted.copies)
    tower = _formula(stack, _LANGUAGE, tokens, number, adapters=adapters)
    widths = 5 * stack.hidden + stack.heads + stack.intermediate
    copies = tokens * _FLOAT32 * widths if adapters and number != _FLOAT32 and copied else 0
    return _Tower(
        tuple(each + copies for each in tower.layers), tower.inputs, ends=_ENDS * stack.hidden * tokens * number
    )


def _formula(stack: StackSize, numbers: _LayerNumbers, tokens: int, number: int, *, adapters: bool) -> _Tower:
    """A tower whose layers are all alike, from its widths."""
    hidden = (
        numbers.hidden - 2 if adapters else numbers.hidden
    )  # a norm that is not trained does not keep what it normalised
    widths = hidden * stack.hidden + numbers.heads * stack.heads
    widths += numbers.kv_heads * stack.kv_heads + numbers.intermediate * stack.intermediate
    return _Tower(
        (float(tokens * number * widths),) * stack.layers, float(stack.layers * stack.hidden * tokens * number)
    )
