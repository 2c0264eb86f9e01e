"""Which checkpoints can be trained: found out by rendering, not by name.

A checkpoint is usable when its chat template shows tool schemas, shows the pictures that tools return, keeps earlier
turns as they were (or TRL has a training version of it), and its calls can be read back; and when its pictures come
as a grid of patches (`image_grid_thw`), which TRL's tool loop passes on. Each is tried on a small conversation; the
first that fails is the refusal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import PIL.Image

from medvistagym_trl.batch import message
from medvistagym_trl.processor import StillQwen3VLProcessor, register

FAMILIES: Final = {
    "qwen3_vl": "Qwen3-VL with its own template, or any template that shows tools and tool images",
    "qwen3_5": "Qwen3.5 (image and text) with its own template",
    "qwen2_5_vl": "Qwen2.5-VL and Qwen2-VL with a template that shows tools (the one they ship with does not)",
}
"""Families that TRL's tool loop is known to train unmodified, with what their template must be."""


class UnsupportedModelError(ValueError):
    """A checkpoint that cannot be trained with image-returning tools; the sentence says why and what can."""


@dataclasses.dataclass(frozen=True)
class Policy:
    """A model with its processor, ready to be trained or sampled."""

    model: Any
    processor: Any
    family: str

    @property
    def tokenizer(self) -> Any:
        """The processor's tokenizer."""
        return self.processor.tokenizer


def supported() -> str:
    """What `--model` takes, for messages."""
    return "; ".join(f"{name}: {note}" for name, note in FAMILIES.items())


def load_policy(path: str | Path, schemas: Sequence[Mapping[str, Any]]) -> Policy:
    """Load a local checkpoint and make sure that it can be trained with a toolbox.

    Args:
        path: Folder with `config.json`, safetensors weights, tokenizer and processor. Nothing is downloaded.
        schemas: The toolbox in the Hugging Face dialect.

    Raises:
        UnsupportedModelError: It is no such folder, or the model cannot be trained with tools that return images.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    folder = Path(path)
    if not (folder / "config.json").is_file():
        raise UnsupportedModelError(
            f"{folder} holds no config.json; give the folder of a checkpoint saved with save_pretrained"
        )
    register()
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        family = str(config.model_type)
        still = family == "qwen3_vl"
        reader: Any = StillQwen3VLProcessor if still else AutoProcessor
        processor = reader.from_pretrained(folder, local_files_only=True)
        check(processor, schemas, family)
        model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True)
    except UnsupportedModelError:
        raise
    except Exception as error:
        raise UnsupportedModelError(
            f"{folder} does not load as an image-and-text model ({type(error).__name__}: {error}); {supported()}"
        ) from error
    return Policy(model, processor, family)


def check(processor: Any, schemas: Sequence[Mapping[str, Any]], family: str) -> None:
    """Try what training will do to a checkpoint's template and pictures.

    Args:
        processor: The checkpoint's processor.
        schemas: The toolbox, Hugging Face dialect.
        family: The model type, for the message.

    Raises:
        UnsupportedModelError: A trial failed.
    """
    problem = _problem(processor, schemas)
    if problem is not None:
        raise UnsupportedModelError(
            f"{family} cannot be trained with tools that return images: {problem}. Supported are {supported()}"
        )


def _problem(processor: Any, schemas: Sequence[Mapping[str, Any]]) -> str | None:
    from trl.chat_template_utils import (
        add_response_schema,
        get_training_chat_template,
        is_chat_template_prefix_preserving,
    )

    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or getattr(processor, "image_processor", None) is None:
        return "its processor reads no images"
    picture = PIL.Image.new("RGB", (64, 64))
    asked = [message("user", "What is seen?", picture)]
    try:
        bare = _render(processor, asked, None)
        shown = _render(processor, asked, schemas)
    except Exception as error:  # noqa: BLE001 - a template may raise anything
        return f"its chat template fails on an image and a question ({type(error).__name__}: {error})"
    for schema in schemas:
        function = schema["function"]
        parts = [function["name"], *function["parameters"].get("properties", {})]
        if any(shown.count(part) <= bare.count(part) for part in parts):
            return f"its chat template does not show the schema of the tool {function['name']}"
    name = schemas[0]["function"]["name"] if schemas else "tool"
    call = {"type": "function", "function": {"name": name, "arguments": {}}}
    called = [*asked, {"role": "assistant", "content": [], "tool_calls": [call]}]
    try:
        texts = _render(processor, [*called, message("tool", "seen", name=name)], schemas)
        images = _render(processor, [*called, message("tool", "seen", picture, name=name)], schemas)
    except Exception as error:  # noqa: BLE001 - a template may raise anything
        return f"its chat template fails on a tool's result ({type(error).__name__}: {error})"
    mark = getattr(processor, "image_token", None) or "<|image_pad|>"
    if images.count(mark) != texts.count(mark) + 1:
        return "its chat template leaves out the images that tools return"
    pictures = processor.image_processor(images=[picture], return_tensors="pt")
    if "image_grid_thw" not in pictures:
        return "its pictures do not come as a grid of patches (image_grid_thw)"
    try:
        if getattr(tokenizer, "response_template", None) is None:
            add_response_schema(processor)
        if not is_chat_template_prefix_preserving(processor):
            get_training_chat_template(processor)
    except ValueError as error:
        return f"TRL cannot read its calls back, or has no training version of its template ({error})"
    return None


def _render(processor: Any, conversation: list[dict[str, Any]], schemas: Sequence[Mapping[str, Any]] | None) -> str:
    return str(processor.apply_chat_template(conversation, tools=list(schemas) if schemas else None, tokenize=False))
