"""The tiny model: a Qwen3-VL with random weights, and a tokenizer made for one toolbox and one task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from medvistagym_trl._recipe import ModelRecipe
from medvistagym_trl.model._loaded_model import LoadedModel
from medvistagym_trl.model._processor import build_processor
from medvistagym_trl.model._tokenizer import build_tokenizer, frequent_texts


def build_tiny_model(
    recipe: ModelRecipe,
    schemas: Sequence[Mapping[str, Any]],
    prompt: str | None,
    vocabulary: Iterable[str],
    corpus: Sequence[str],
    seed: int,
) -> LoadedModel:
    """A tiny Qwen3-VL that has learnt nothing yet, with the tokenizer and the processor made for it.

    Args:
        recipe: Sizes.
        schemas: The toolbox in the Hugging Face dialect.
        prompt: The system prompt; it becomes one token.
        vocabulary: The task's words.
        corpus: Texts of the kind that the policy will read.
        seed: Seed of the weights.

    Raises:
        ValueError: The recipe gives no side of views, or one that its patches do not divide.
    """
    tokenizer = build_tokenizer(schemas, [*([prompt] if prompt else []), *frequent_texts(corpus)], vocabulary, corpus)
    processor = build_processor(tokenizer, _required_view_side(recipe), recipe.patch, recipe.merge)
    return LoadedModel(_random_model(recipe, tokenizer, seed), processor, "qwen3_vl")


def _required_view_side(recipe: ModelRecipe) -> int:
    if recipe.view_side is None:
        raise ValueError("the tiny model reads images of one size: model.view_side must be given")
    return recipe.view_side


def _random_model(recipe: ModelRecipe, tokenizer: PreTrainedTokenizerFast, seed: int) -> Any:
    """A Qwen3-VL of a million parameters, without deepstack.

    Position embeddings of the vision tower start ten times larger than the library's 0.02: at this width they would
    drown in the patch signal, and the policy would need hundreds of steps more before it can say where something is.
    """
    torch.manual_seed(seed)
    token: Callable[[str], Any] = tokenizer.convert_tokens_to_ids
    head = recipe.width // recipe.heads
    third = head // 6
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": -(-len(tokenizer) // 32) * 32,
            "hidden_size": recipe.width,
            "intermediate_size": 3 * recipe.width,
            "num_hidden_layers": recipe.layers,
            "num_attention_heads": recipe.heads,
            "num_key_value_heads": recipe.heads,
            "head_dim": head,
            "max_position_embeddings": 4096,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": None,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [head // 2 - 2 * third, third, third],
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": recipe.vision_layers,
            "hidden_size": recipe.width,
            "intermediate_size": 2 * recipe.width,
            "num_heads": recipe.heads,
            "in_channels": 3,
            "patch_size": recipe.patch,
            "spatial_merge_size": recipe.merge,
            "temporal_patch_size": 1,
            "out_hidden_size": recipe.width,
            "num_position_embeddings": (_required_view_side(recipe) // recipe.patch) ** 2,
            "deepstack_visual_indexes": [],
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    model = Qwen3VLForConditionalGeneration(config)
    with torch.no_grad():
        model.model.visual.pos_embed.weight.mul_(recipe.position_scale)
        _amplify_detail(model.model.visual.patch_embed.proj.weight, recipe.detail_scale)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def _amplify_detail(weight: torch.Tensor, scale: float) -> None:
    """Multiply what patch weights, (width, channels, 1, patch, patch), hold beside their mean over the patch; in place.

    Patches of a scout differ in brightness by hundreds of grey levels, and what lies in them by one or two. The norm that
    follows leaves of a flat patch its brightness, and of any other mostly its detail: what is flat shows from the first step.
    """
    if scale != 1:
        mean = weight.mean((-2, -1), keepdim=True)
        weight.sub_(mean).mul_(scale).add_(mean)
