"""Checkpoints as others publish them: real classes with random weights, real templates, a byte-level tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

_PLACEHOLDERS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *_PLACEHOLDERS)
_TAGS = ("<tool_call>", "</tool_call>", "<think>", "</think>", "<tool_response>", "</tool_response>")


def make_checkpoint(
    folder: Path,
    family: str = "qwen3_vl",
    template: str = "qwen3_vl",
    *,
    corpus: Sequence[str] = (),
    dtype: torch.dtype = torch.float32,
    pixels: int = 64 * 64,
) -> Path:
    """Write a tiny checkpoint.

    Args:
        folder: Where to.
        family: qwen3_vl, qwen2_5_vl or qwen3_5.
        template: A chat template that ships with TRL.
        corpus: Texts that its tokenizer has met.
        dtype: Of its weights.
        pixels: Size that its processor scales every image to.
    """
    tokenizer = _tokenizer(corpus)
    tokenizer.chat_template = (files("trl") / "chat_templates" / f"{template}.jinja").read_text("utf-8")
    tokenizer.save_pretrained(folder)
    patch = 14 if family == "qwen2_5_vl" else 16
    Qwen2VLImageProcessorPil(
        patch_size=patch, merge_size=2, temporal_patch_size=2, size={"shortest_edge": pixels, "longest_edge": pixels}
    ).save_pretrained(folder)
    torch.manual_seed(0)
    _model(family, tokenizer).to(dtype).save_pretrained(folder)
    return folder


def _tokenizer(corpus: Sequence[str]) -> PreTrainedTokenizerFast:
    bytes_ = Tokenizer(models.BPE())
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    bytes_.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    learner = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=list(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bytes_.train_from_iterator([*corpus] * 3, learner)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_tokens(list(_TAGS))
    return tokenizer


def _model(family: str, tokenizer: PreTrainedTokenizerFast) -> Any:
    number: Any = tokenizer.convert_tokens_to_ids
    placeholders = {
        "vision_start_token_id": number("<|vision_start|>"),
        "vision_end_token_id": number("<|vision_end|>"),
        "image_token_id": number("<|image_pad|>"),
        "video_token_id": number("<|video_pad|>"),
    }
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 8192,
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "num_heads": 2,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": 64,
    }
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [4, 2, 2]}
    if family == "qwen2_5_vl":
        return Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(
                text_config={**text, "rope_parameters": rope},
                vision_config={
                    **vision, "patch_size": 14, "intermediate_size": 64, "fullatt_block_indexes": [1], "window_size": 112,
                },
                **placeholders,
            )
        )  # fmt: skip
    text = {**text, "head_dim": 16, "rope_parameters": {**rope, "mrope_interleaved": True}}
    vision = {**vision, "patch_size": 16, "intermediate_size": 32, "num_position_embeddings": 64}
    if family == "qwen3_5":
        linear = {
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 2,
            "linear_key_head_dim": 16,
            "linear_value_head_dim": 16,
        }
        text = {**text, **linear, "num_hidden_layers": 4}
        text["rope_parameters"] = {**text["rope_parameters"], "partial_rotary_factor": 1.0}
        return Qwen3_5ForConditionalGeneration(Qwen3_5Config(text_config=text, vision_config=vision, **placeholders))
    vision = {**vision, "depth": 3, "deepstack_visual_indexes": [0, 1]}
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **placeholders))
