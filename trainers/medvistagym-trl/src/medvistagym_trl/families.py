"""Which checkpoints can be trained: found out by rendering, not by name.

A checkpoint is usable when its chat template shows tool schemas, shows the pictures that tools return, keeps earlier
turns as they were (or TRL has a training version of it), and its calls can be read back; and when its pictures come
as a grid of patches (`image_grid_thw`), which TRL's tool loop passes on. Each is tried on a small conversation; the
first that fails is the refusal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import PIL.Image

from medvistagym_core.plugins import SelectionError
from medvistagym_core.protocol import SpecialTokens, UnsafeTokenizerError, inspect_chat_template
from medvistagym_trl.processor import StillQwen3VLProcessor, register

FAMILIES: Final = {
    "qwen3_vl": "Qwen3-VL with its own template, or any template that shows tools and tool images",
    "qwen3_5": "Qwen3.5 (image and text) with its own template",
    "qwen2_5_vl": "Qwen2.5-VL and Qwen2-VL with a template that shows tools (the one they ship with does not)",
}
"""Families that TRL's tool loop is known to train unmodified, with what their template must be."""


class UnsupportedModelError(SelectionError):
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


def load_processor(path: str | Path, schemas: Sequence[Mapping[str, Any]]) -> tuple[Any, str]:
    """The processor of a local checkpoint that can be trained with a toolbox, and its family. Loads no weights.

    Args:
        path: Folder with `config.json`, tokenizer and processor. Nothing is downloaded.
        schemas: The toolbox in the Hugging Face dialect.

    Raises:
        UnsupportedModelError: It is no such folder, or the model cannot be trained with tools that return images.
    """
    from transformers import AutoConfig, AutoProcessor

    folder = Path(path)
    if not (folder / "config.json").is_file():
        raise UnsupportedModelError(
            f"{folder} holds no config.json; give the folder of a checkpoint saved with save_pretrained"
        )
    register()
    with _explained(folder):
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        family = str(config.model_type)
        reader: Any = StillQwen3VLProcessor if family == "qwen3_vl" else AutoProcessor
        processor = reader.from_pretrained(folder, local_files_only=True)
        check(processor, schemas, family)
        return processor, family


def load_policy(path: str | Path, schemas: Sequence[Mapping[str, Any]]) -> Policy:
    """Load a local checkpoint and make sure that it can be trained with a toolbox.

    Args:
        path: Folder as for `load_processor`, and safetensors weights.
        schemas: The toolbox in the Hugging Face dialect.

    Raises:
        UnsupportedModelError: It is no such folder, or the model cannot be trained with tools that return images.
    """
    from transformers import AutoModelForImageTextToText

    processor, family = load_processor(path, schemas)
    with _explained(Path(path)):
        model = AutoModelForImageTextToText.from_pretrained(Path(path), local_files_only=True)
    return Policy(model, processor, family)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Whatever transformers raises over a folder is said in one sentence."""
    try:
        yield
    except UnsupportedModelError:
        raise
    except Exception as error:
        raise UnsupportedModelError(
            f"{folder} does not load as an image-and-text model ({type(error).__name__}: {error}); {supported()}"
        ) from error


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
    # That a template rewrites earlier turns is asked of TRL below, which has training versions of some templates; and one
    # that shows a schema in words of its own can be trained with.
    report = dataclasses.replace(inspect_chat_template(processor, schemas), prefix_preserving=True, schemas_abridged=())
    if report.problems:
        return report.problems[0]
    try:
        special = SpecialTokens.from_processor(processor)
    except UnsafeTokenizerError as error:
        return str(error)
    if special.others:  # TRL renders by itself, so only what is escaped where messages are made is
        return f"text could stand for its special token {special.others[0]!r}, whose form is not one that is escaped"
    pictures = processor.image_processor(images=[PIL.Image.new("RGB", (64, 64))], return_tensors="pt")
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
