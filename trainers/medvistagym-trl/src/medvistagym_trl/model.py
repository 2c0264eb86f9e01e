"""The tiny policy: a Qwen3-VL built from its configuration, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from medvistagym_trl.recipe import ModelRecipe


def build_model(recipe: ModelRecipe, tokenizer: PreTrainedTokenizerFast, seed: int) -> Any:
    """A Qwen3-VL of a million parameters.

    Position embeddings of the vision tower start ten times larger than the library's 0.02: at this width they would
    drown in the patch signal, and the policy would need hundreds of steps more before it can say where something is.
    No deepstack.

    Args:
        recipe: Sizes.
        tokenizer: Gives the vocabulary and the ids of the image tokens.
        seed: Seed of the weights.
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
            "num_position_embeddings": (recipe.view_side // recipe.patch) ** 2,
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
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model
