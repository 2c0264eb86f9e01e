"""Which checkpoints can be trained, found out by rendering and not by name.

A checkpoint is usable when its chat template shows tool schemas, shows the images that tools return, keeps earlier
turns as they were (or TRL has a training version of it), and its calls can be parsed; and when its images come as a grid
of patches (`image_grid_thw`), which TRL's tool loop passes on. Each is tried on a small conversation; the first that
fails is the reason of the refusal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import PIL.Image

from medvistagym_core.plugins import SelectionError
from medvistagym_core.protocol import SpecialTokens, UnsafeTokenizerError, inspect_chat_template
from medvistagym_trl.model._chat_format import is_text_format

SUPPORTED_MODELS: Final = {
    "qwen3_vl": "Qwen3-VL with its own template, or any template that shows tools and tool images",
    "qwen3_5": "Qwen3.5 (image and text) with its own template",
    "qwen2_5_vl": "Qwen2.5-VL and Qwen2-VL with episode.action_format=text, or with a template that shows tools",
}
"""Families that TRL's tool loop is known to train unmodified, with what their template must be."""


class UnsupportedModelError(SelectionError):
    """A checkpoint that cannot be trained with image-returning tools; the sentence says why and what can."""


def describe_supported_models() -> str:
    """What `--model` takes, for messages."""
    return "; ".join(f"{name}: {note}" for name, note in SUPPORTED_MODELS.items())


def refusal(family: str, reason: str) -> UnsupportedModelError:
    """The error about a model that cannot be trained."""
    return UnsupportedModelError(
        f"{family} cannot be trained with tools that return images: {reason}. Supported are {describe_supported_models()}"
    )


def check_compatible(processor: Any, schemas: Sequence[Mapping[str, Any]], family: str) -> None:
    """Try what training will do to a checkpoint's template and images.

    Args:
        processor: The checkpoint's processor, with its chat format applied.
        schemas: The toolbox, Hugging Face dialect.
        family: The model type, for the message.

    Raises:
        UnsupportedModelError: A trial failed.
    """
    reason = _incompatibility(processor, schemas)
    if reason is not None:
        raise refusal(family, reason)


def _incompatibility(processor: Any, schemas: Sequence[Mapping[str, Any]]) -> str | None:
    # A template that shows a schema in words of its own can be trained with; in the text format the prompt shows them.
    rendered = [] if is_text_format(processor) else schemas
    # Whether earlier turns stay as they were is asked of TRL, when the format is applied.
    report = dataclasses.replace(
        inspect_chat_template(processor, rendered), prefix_preserving=True, schemas_abridged=()
    )
    if report.problems:
        return report.problems[0]
    try:
        special = SpecialTokens.from_processor(processor)
    except UnsafeTokenizerError as error:
        return str(error)
    if special.others:  # TRL renders by itself, so only what is escaped where messages are made is
        return f"text could stand for its special token {special.others[0]!r}, whose form is not one that is escaped"
    features = processor.image_processor(images=[PIL.Image.new("RGB", (64, 64))], return_tensors="pt")
    if "image_grid_thw" not in features:
        return "its images do not come as a grid of patches (image_grid_thw)"
    return None
