"""Which checkpoints can be trained, found out by rendering and not by name.

A checkpoint is usable when its chat template shows tool schemas, shows the images that tools return, keeps earlier
turns as they were (or TRL has a training version of it), and its calls can be parsed; and when what its processor makes of
images can be cut between the conversations of a batch. Each is tried on a small conversation; the first that fails is the
reason of the refusal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from medvistagym_core.plugins import SelectionError
from medvistagym_core.protocol import SpecialTokens, UnsafeTokenizerError, inspect_chat_template
from medvistagym_trl.model._chat_format import is_text_format
from medvistagym_trl.model._image_fields import ImageFields
from medvistagym_trl.model._still_processors import StillProcessor

SUPPORTED_MODELS: Final = {
    "qwen3_vl": "Qwen3-VL with its own template",
    "qwen3_5": "Qwen3.5 and 3.6 (image and text) with their own template",
    "qwen2_5_vl": "Qwen2.5-VL and Qwen2-VL with the template that ships here, or episode.action_format=text",
    "gemma4": "Gemma 4 with its own template, or Google's of July 2026 where its own loses images",
    "internvl": "InternVL 3 and 3.5 (-hf) with the template that ships here, or episode.action_format=text",
    "smolvlm": "SmolVLM with the template that ships here, or episode.action_format=text",
    "lfm2_vl": "LFM2-VL and LFM2.5-VL with their own template, or the one that ships here",
}
"""Families that are known to train, with what their template must be; others are found out by trial."""


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


def find_incompatibility(processor: Any, schemas: Sequence[Mapping[str, Any]]) -> str | None:
    """Why a processor's template or images cannot be trained with; None when they can."""
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
    unsafe = (*special.others, *special.disguised)
    if unsafe and not isinstance(processor, StillProcessor):  # TRL renders by itself
        return f"text could stand for its special token {unsafe[0]!r}, whose form is not one that is escaped"
    return ImageFields(processor).unusable()
