"""Checkpoints as others publish them: real classes with random weights, real templates, a byte-level tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Gemma4ImageProcessorPil,
    GenerationConfig,
    GotOcr2ImageProcessorPil,
    InternVLConfig,
    InternVLForConditionalGeneration,
    Lfm2VlConfig,
    Lfm2VlForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessorPil,
)

_TAGS = ("<tool_call>", "</tool_call>", "<think>", "</think>", "<tool_response>", "</tool_response>")
_QWEN = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
_CELLS: Final = tuple((row, column) for row in range(1, 4) for column in range(1, 4))
_INTERNVL_TEMPLATE: Final = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "{{ '<IMG_CONTEXT>\n' }}{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""What a checkpoint of InternVL 3 shows of a conversation: no tools."""


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
        family: A key of `FAMILIES`.
        template: A chat template that ships with TRL, or `internvl`.
        corpus: Texts that its tokenizer has met.
        dtype: Of its weights.
        pixels: Size that the processor of a Qwen model scales every image to.
    """
    kind = FAMILIES[family]
    tokenizer = _tokenizer(corpus, kind.special, kind.end, kind.named)
    source = files("trl") / "chat_templates" / f"{template}.jinja"
    tokenizer.chat_template = _INTERNVL_TEMPLATE if template == "internvl" else source.read_text("utf-8")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    model = kind.model(tokenizer).to(dtype)
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call] # as transformers has it
        eos_token_id=[tokenizer.convert_tokens_to_ids(end) for end in kind.ends or (kind.end,)],
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    kind.images(folder, pixels)
    return folder


class _Family:
    """How the checkpoints of a family are made."""

    def __init__(
        self,
        model: Callable[[Any], Any],
        images: Callable[[Path, int], None],
        *,
        special: Sequence[str] = _QWEN,
        end: str = "<|im_end|>",
        ends: Sequence[str] = (),
        named: Mapping[str, str] | None = None,
    ) -> None:
        self.model, self.images, self.special = model, images, special
        self.end, self.ends, self.named = end, ends, dict(named or {})


def _tokenizer(
    corpus: Sequence[str], special: Sequence[str], end: str, named: Mapping[str, str]
) -> PreTrainedTokenizerFast:
    bytes_ = Tokenizer(models.BPE())
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_.decoder = decoders.ByteLevel()
    learner = trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bytes_.train_from_iterator([*corpus] * 3, learner)
    extra: Any = {"extra_special_tokens": dict(named)} if named else {}
    begin = next((token for token in ("<bos>", "<|startoftext|>") if token in special), None)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call] # as transformers has it
        tokenizer_object=bytes_, bos_token=begin, eos_token=end, pad_token=special[0], **extra
    )
    tokenizer.add_tokens(list(_TAGS))
    return tokenizer


_TEXT: Final = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
}
_ROPE: Final = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [4, 2, 2]}
_QWEN_VISION: Final = {
    "depth": 2,
    "hidden_size": 32,
    "num_heads": 2,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "out_hidden_size": 64,
}


def _qwen_images(patch: int) -> Callable[[Path, int], None]:
    def write(folder: Path, pixels: int) -> None:
        Qwen2VLImageProcessorPil(
            patch_size=patch,
            merge_size=2,
            temporal_patch_size=2,
            size={"shortest_edge": pixels, "longest_edge": pixels},
        ).save_pretrained(folder)

    return write


def _qwen_tokens(tokenizer: Any) -> dict[str, Any]:
    number = tokenizer.convert_tokens_to_ids
    return {
        "vision_start_token_id": number("<|vision_start|>"),
        "vision_end_token_id": number("<|vision_end|>"),
        "image_token_id": number("<|image_pad|>"),
        "video_token_id": number("<|video_pad|>"),
    }


def _qwen2_5_vl(tokenizer: Any) -> Any:
    vision = {
        **_QWEN_VISION,
        "patch_size": 14,
        "intermediate_size": 64,
        "fullatt_block_indexes": [1],
        "window_size": 112,
    }
    config = Qwen2_5_VLConfig(
        text_config={**_TEXT, "vocab_size": len(tokenizer), "rope_parameters": _ROPE},
        vision_config=vision,
        **_qwen_tokens(tokenizer),
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def _qwen3_vl(tokenizer: Any) -> Any:
    text, vision = _qwen3(tokenizer)
    vision = {**vision, "depth": 3, "deepstack_visual_indexes": [0, 1]}
    return Qwen3VLForConditionalGeneration(
        Qwen3VLConfig(text_config=text, vision_config=vision, **_qwen_tokens(tokenizer))
    )


def _qwen3_5(tokenizer: Any) -> Any:
    text, vision = _qwen3(tokenizer)
    linear = {
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
    }
    text = {**text, **linear, "num_hidden_layers": 4}
    text["rope_parameters"] = {**text["rope_parameters"], "partial_rotary_factor": 1.0}
    return Qwen3_5ForConditionalGeneration(
        Qwen3_5Config(text_config=text, vision_config=vision, **_qwen_tokens(tokenizer))
    )


def _qwen3(tokenizer: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    rope = {**_ROPE, "mrope_interleaved": True}
    text = {**_TEXT, "vocab_size": len(tokenizer), "head_dim": 16, "rope_parameters": rope}
    return text, {**_QWEN_VISION, "patch_size": 16, "intermediate_size": 32, "num_position_embeddings": 64}


def _processor_file(folder: Path, processor: str, **settings: Any) -> None:
    """What a published checkpoint says of its processor beside its parts."""
    (folder / "processor_config.json").write_text(
        json.dumps({"processor_class": processor, **settings}, indent=2), encoding="utf-8"
    )


def _gemma4(tokenizer: Any) -> Any:
    number = tokenizer.convert_tokens_to_ids
    text = {
        **_TEXT,
        "vocab_size": len(tokenizer),
        "vocab_size_per_layer_input": len(tokenizer),
        "hidden_size_per_layer_input": 8,
        "head_dim": 16,
        "global_head_dim": 16,
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "sliding_window": 512,
        "use_bidirectional_attention": "vision",
        "num_kv_shared_layers": 0,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "patch_size": 4,
        "pooling_kernel_size": 2,
        "position_embedding_size": 256,
    }
    config = Gemma4Config(
        text_config=text,
        vision_config=vision,
        audio_config=None,
        boi_token_id=number("<|image>"),
        eoi_token_id=number("<image|>"),
        image_token_id=number("<|image|>"),
        video_token_id=number("<|video|>"),
        audio_token_id=number("<|audio|>"),
        boa_token_id=number("<|audio>"),
        eoa_token_index=number("<audio|>"),
    )
    return Gemma4ForConditionalGeneration(config)


def _gemma4_images(folder: Path, pixels: int) -> None:
    image = Gemma4ImageProcessorPil(patch_size=4, max_soft_tokens=70, pooling_kernel_size=2)
    image.save_pretrained(folder)
    settings = json.loads((folder / "preprocessor_config.json").read_text("utf-8"))
    (folder / "preprocessor_config.json").unlink()
    _processor_file(
        folder,
        "Gemma4Processor",
        image_seq_length=70,
        image_processor={**settings, "image_processor_type": "Gemma4ImageProcessor"},
        video_processor={"video_processor_type": "Gemma4VideoProcessor", "max_soft_tokens": 70},
        feature_extractor={"feature_extractor_type": "Gemma4AudioFeatureExtractor", "sampling_rate": 16000},
    )


def _internvl(tokenizer: Any) -> Any:
    vision = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": (56, 56),
        "patch_size": (14, 14),
    }
    text = {**_TEXT, "model_type": "qwen2", "vocab_size": len(tokenizer), "use_sliding_window": False}
    config = InternVLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    return InternVLForConditionalGeneration(config)


def _internvl_images(folder: Path, pixels: int) -> None:
    GotOcr2ImageProcessorPil(
        size={"height": 56, "width": 56}, crop_to_patches=False, min_patches=1, max_patches=4
    ).save_pretrained(folder)
    _stock_image_processor(folder, "GotOcr2ImageProcessor")
    _processor_file(folder, "InternVLProcessor", image_seq_length=4)


def _smolvlm(tokenizer: Any) -> Any:
    vision = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    }
    text = {**_TEXT, "model_type": "llama", "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    config = SmolVLMConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    return SmolVLMForConditionalGeneration(config)


def _smolvlm_images(folder: Path, pixels: int) -> None:
    SmolVLMImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32}).save_pretrained(folder)
    _stock_image_processor(folder, "SmolVLMImageProcessor")
    _processor_file(folder, "SmolVLMProcessor", image_seq_len=4)


def _lfm2_vl(tokenizer: Any) -> Any:
    vision = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": 8,
        "num_patches": 64,
        "vision_use_head": False,
    }
    text = {
        **_TEXT,
        "vocab_size": len(tokenizer),
        "block_ff_dim": 64,
        "conv_L_cache": 3,
        "layer_types": ["conv", "full_attention", "conv"],
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = Lfm2VlConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        projector_hidden_size=64,
    )
    return Lfm2VlForConditionalGeneration(config)


def _lfm2_vl_images(folder: Path, pixels: int) -> None:
    settings = {
        "image_processor_type": "Lfm2VlImageProcessorFast",
        "encoder_patch_size": 8,
        "tile_size": 32,
        "min_tiles": 2,
        "max_tiles": 4,
        "min_image_tokens": 2,
        "max_image_tokens": 4,
        "use_thumbnail": True,
        "do_image_splitting": True,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    _processor_file(folder, "Lfm2VlProcessor")


def _stock_image_processor(folder: Path, name: str) -> None:
    file = folder / "preprocessor_config.json"
    settings = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({**settings, "image_processor_type": name}, indent=2), encoding="utf-8")


FAMILIES: Final = {
    "qwen3_vl": _Family(_qwen3_vl, _qwen_images(16)),
    "qwen3_5": _Family(_qwen3_5, _qwen_images(16)),
    "qwen2_5_vl": _Family(_qwen2_5_vl, _qwen_images(14)),
    "gemma4": _Family(
        _gemma4,
        _gemma4_images,
        special=(
            "<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>", "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>",
            "<|tool_response>", "<tool_response|>", '<|"|>', "<|channel>", "<channel|>", "<|think|>", "<|image|>", "<|image>",
            "<image|>", "<|audio|>", "<|audio>", "<audio|>", "<|video|>",
        ),
        end="<eos>",
        ends=("<eos>", "<turn|>", "<|tool_response>"),
        named={
            "image_token": "<|image|>", "boi_token": "<|image>", "eoi_token": "<image|>",
            "audio_token": "<|audio|>", "boa_token": "<|audio>", "eoa_token": "<audio|>",
        },
    ),
    "internvl": _Family(
        _internvl,
        _internvl_images,
        special=("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
        named={
            "start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    ),
    "smolvlm": _Family(
        _smolvlm,
        _smolvlm_images,
        special=(
            "<|im_end|>", "<|im_start|>", "<|endoftext|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>",
            "<global-img>", *(f"<row_{row}_col_{column}>" for row, column in _CELLS),
        ),
        end="<end_of_utterance>",
    ),
    "lfm2_vl": _Family(
        _lfm2_vl,
        _lfm2_vl_images,
        special=(
            "<|pad|>", "<|startoftext|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|tool_list_start|>",
            "<|tool_list_end|>", "<|tool_call_start|>", "<|tool_call_end|>", "<image>", "<|image_start|>",
            "<|image_end|>", "<|img_thumbnail|>", *(f"<|img_row_{row}_col_{column}|>" for row, column in _CELLS),
        ),
    ),
}  # fmt: skip
