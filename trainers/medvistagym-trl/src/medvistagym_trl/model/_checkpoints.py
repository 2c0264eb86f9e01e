"""Loading and saving checkpoints: weights, adapters on the weights of another checkpoint, or the name of another one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from medvistagym_core.protocol import SpecialTokens, load_bounded_processor
from medvistagym_trl._recipe import ModelRecipe
from medvistagym_trl.model._adapters import (
    UNQUANTISED_PARTS,
    add_adapters,
    cast_trained_to_float32,
    freeze_towers,
    has_adapters,
)
from medvistagym_trl.model._chat_format import ActionFormat, apply_chat_format
from medvistagym_trl.model._compatibility import (
    UnsupportedModelError,
    describe_supported_models,
    find_incompatibility,
    refusal,
)
from medvistagym_trl.model._loaded_model import LoadedModel, end_of_turn_tokens
from medvistagym_trl.model._processor import (
    STOCK_CLASSES,
    VIDEO_CONFIG,
    StillQwen3VLProcessor,
    ViewImageProcessor,
    register,
)
from medvistagym_trl.model._shared_features import share_features
from medvistagym_trl.model._still_processors import STILL_PROCESSORS, StillProcessor, load_still_processor
from medvistagym_trl.model._tool_templates import tool_template

_REFERENCE: Final = "reference.json"
"""File of a folder that holds no weights but names the checkpoint that it stands for."""
_ADAPTER_CONFIG: Final = "adapter_config.json"
_QWEN_FAMILIES: Final = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5")
"""Families whose images are written alike; their own processors also read videos, and need torchvision for that."""


class NonFiniteWeightsError(RuntimeError):
    """Weights that hold NaN or infinity, which are never saved."""


def load_processor(
    path: str | Path,
    schemas: Sequence[Mapping[str, Any]],
    recipe: ModelRecipe | None = None,
    action_format: ActionFormat = "native",
) -> tuple[Any, str]:
    """The processor of a local checkpoint that can be trained with a toolbox, and its family. Loads no weights.

    Args:
        path: Folder with `config.json`, tokenizer and processor, or of adapters. Nothing is downloaded.
        schemas: The toolbox in the Hugging Face dialect.
        recipe: Chat template and pixel budget; the checkpoint's own when None.
        action_format: How calls are written and results read.

    Raises:
        UnsupportedModelError: It is no such folder, or the model cannot be trained with tools that return images.
    """
    from transformers import AutoConfig, GenerationConfig
    from transformers.utils.import_utils import is_torchvision_available

    recipe = recipe or ModelRecipe()
    folder = referenced(Path(path))
    base = base_checkpoint(folder)
    register()
    with _load_errors_explained(folder):
        config = AutoConfig.from_pretrained(base, local_files_only=True)
        family = str(config.model_type)
        if family == "qwen3_vl" or (family in _QWEN_FAMILIES and not is_torchvision_available()):
            processor: Any = StillQwen3VLProcessor.from_pretrained(folder, local_files_only=True)
        elif family in STILL_PROCESSORS:
            processor = load_still_processor(family, folder, base)
        else:
            processor = load_bounded_processor(folder)
    if isinstance(processor, StillQwen3VLProcessor) and not isinstance(processor.image_processor, ViewImageProcessor):
        processor.stock_class = STOCK_CLASSES[family]
        processor.video_config = _video_settings(folder) or _video_settings(base)
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or getattr(processor, "image_processor", None) is None:
        # AutoProcessor falls back to the tokenizer, without a word, where it does not find the processor's class.
        raise UnsupportedModelError(
            f"{folder} has a tokenizer and no processor that reads images (transformers found a {type(processor).__name__}): "
            "is preprocessor_config.json or processor_config.json missing, or its class unknown?"
        )
    generation = GenerationConfig.from_pretrained(base) if (base / "generation_config.json").is_file() else None
    ends = [tokenizer.decode([token]) for token in end_of_turn_tokens(tokenizer, generation)]
    reason = _set_pixel_budget(processor, recipe)
    if reason is None:
        if not isinstance(processor.image_processor, ViewImageProcessor):
            share_features(processor)
        reason = _apply_template(processor, family, schemas, recipe, action_format, ends)
    if reason is not None:
        raise refusal(family, reason)
    return processor, family


def _apply_template(
    processor: Any,
    family: str,
    schemas: Sequence[Mapping[str, Any]],
    recipe: ModelRecipe,
    action_format: ActionFormat,
    ends: Sequence[str],
) -> str | None:
    """Give a processor the first template that can be trained with: the recipe's, else its own, else the shipped one.

    Returns:
        Why the first of them cannot be trained with, where none can.
    """
    shipped = tool_template(family) if action_format == "native" and recipe.chat_template is None else None
    first = None
    for template in (None, shipped) if shipped else (None,):
        try:
            apply_chat_format(processor, action_format, ends, recipe.chat_template, shipped=template)
            reason = find_incompatibility(processor, schemas)
        except (ValueError, OSError) as error:
            reason = str(error)
        if reason is None:
            if isinstance(processor, StillProcessor):
                special = SpecialTokens.from_processor(processor)
                processor.special_tokens = special if special.others or special.disguised else None
            return None
        first = first or reason
    return first


def load_model(
    path: str | Path,
    schemas: Sequence[Mapping[str, Any]],
    recipe: ModelRecipe | None = None,
    action_format: ActionFormat = "native",
    *,
    train: bool = False,
    seed: int = 0,
) -> LoadedModel:
    """Load a local checkpoint and make sure that it can be trained with a toolbox.

    Args:
        path: Folder as for `load_processor`, with safetensors weights or adapters.
        schemas: The toolbox in the Hugging Face dialect.
        recipe: How the model is loaded and which weights are trained; the checkpoint's own way when None.
        action_format: How calls are written and results read.
        train: To be trained: what is trained is float32, and adapters are added where the recipe wants them.
        seed: Of new adapters.

    Raises:
        UnsupportedModelError: It is no such folder, or the model cannot be trained with tools that return images.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    recipe = recipe or ModelRecipe()
    folder = referenced(Path(path))
    processor, family = load_processor(folder, schemas, recipe, action_format)
    adapters = (folder / _ADAPTER_CONFIG).is_file()
    options: dict[str, Any] = {"dtype": torch.float32 if train and not recipe.lora.rank else "auto"}
    if recipe.attention != "auto":
        options["attn_implementation"] = recipe.attention
    if recipe.quantization != "none":
        options["quantization_config"] = _quantization(recipe)
    with _load_errors_explained(folder):
        model: Any = AutoModelForImageTextToText.from_pretrained(
            base_checkpoint(folder), local_files_only=True, **options
        )
        if adapters:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, str(folder), is_trainable=train)
    if train and recipe.lora.rank and not adapters:
        model = add_adapters(model, recipe.lora, seed)
    elif train and not adapters:
        freeze_towers(model, recipe.frozen)
    if train:
        cast_trained_to_float32(model)
    return LoadedModel(model, processor, family)


def save_model(loaded: LoadedModel, folder: Path) -> None:
    """Write weights (safetensors) or adapters, tokenizer and processor into a folder, as `load_model` reads them.

    Args:
        loaded: The model with its processor.
        folder: Where to; made if it is not there.

    Raises:
        NonFiniteWeightsError: A weight is NaN or infinite; nothing is written.
    """
    model = loaded.model
    check_finite(model)
    if has_adapters(model):
        model.save_pretrained(folder, selected_adapters=["default"])  # TRL adds a copy for its reference
    else:
        model.save_pretrained(folder)
    loaded.processor.save_pretrained(folder)


def save_reference(path: str | Path, folder: Path) -> None:
    """Let a folder stand for another checkpoint, without a copy of its weights.

    Args:
        path: The other checkpoint: a folder, as it will be found again.
        folder: The folder that stands for it; made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _REFERENCE).write_text(json.dumps({"path": str(path)}) + "\n", encoding="utf-8")


def is_reference(folder: Path) -> bool:
    """Whether a folder only names the checkpoint that it stands for."""
    return (folder / _REFERENCE).is_file()


def to_device(loaded: LoadedModel) -> LoadedModel:
    """The model on the accelerator, where there is one, to be played."""
    import torch

    if torch.cuda.is_available() and not getattr(loaded.model, "is_quantized", False):
        loaded.model.to("cuda")
    return loaded


def check_finite(model: Any) -> None:
    """Refuse weights that are no numbers.

    Raises:
        NonFiniteWeightsError: A weight that is trained is NaN or infinite; the message names it.
    """
    import torch

    for name, weight in model.named_parameters():
        if weight.requires_grad and not bool(torch.isfinite(weight).all()):
            raise NonFiniteWeightsError(f"the weights {name} hold NaN or infinity; they are not saved")


def base_checkpoint(folder: Path) -> Path:
    """The folder of the weights below a checkpoint: its own, or those that its adapters were trained on.

    Raises:
        UnsupportedModelError: It holds neither weights nor adapters, or what its adapters stand on is gone.
    """
    adapters = folder / _ADAPTER_CONFIG
    base = folder
    if adapters.is_file():
        base = Path(json.loads(adapters.read_text("utf-8"))["base_model_name_or_path"])
        if not (base / "config.json").is_file():
            raise UnsupportedModelError(f"{folder} holds adapters for the checkpoint {base}, which is not there")
    if not (base / "config.json").is_file():
        raise UnsupportedModelError(
            f"{folder} holds no config.json; give the folder of a checkpoint saved with save_pretrained"
        )
    return base


def referenced(folder: Path) -> Path:
    """The checkpoint that a folder stands for: itself, unless it only names another one."""
    reference = folder / _REFERENCE
    return Path(json.loads(reference.read_text("utf-8"))["path"]) if reference.is_file() else folder


def _video_settings(folder: Path) -> dict[str, Any] | None:
    """The settings of a checkpoint's video processor, from a file of their own or from that of the whole processor."""
    own, whole = folder / VIDEO_CONFIG, folder / "processor_config.json"
    if own.is_file():
        settings: dict[str, Any] = json.loads(own.read_text("utf-8"))
        return settings
    return json.loads(whole.read_text("utf-8")).get("video_processor") if whole.is_file() else None


@contextmanager
def _load_errors_explained(folder: Path) -> Iterator[None]:
    """Turn whatever transformers raises over a folder into one sentence."""
    try:
        yield
    except UnsupportedModelError:
        raise
    except Exception as error:
        raise UnsupportedModelError(
            f"{folder} does not load as an image-and-text model ({type(error).__name__}: {error}); "
            f"{describe_supported_models()}"
        ) from error


def _quantization(recipe: ModelRecipe) -> Any:
    import torch
    from transformers import BitsAndBytesConfig

    make: Any = BitsAndBytesConfig
    # Patterns of module names; these parts are a few per cent of the weights, and what is seen depends on them.
    whole = [*(rf".*\b{part}" for part in UNQUANTISED_PARTS), "lm_head"]
    if recipe.quantization == "8bit":
        return make(load_in_8bit=True, llm_int8_skip_modules=whole)
    compute = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    return make(
        load_in_4bit=True,
        llm_int8_skip_modules=whole,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )


def _set_pixel_budget(processor: Any, recipe: ModelRecipe) -> str | None:
    """Set the pixel budget of a processor; why it has none to set, or None."""
    if recipe.max_pixels is None and recipe.min_pixels is None:
        return None
    size = getattr(processor.image_processor, "size", None)
    edges = dict(size) if size is not None else {}
    if edges.get("shortest_edge") is None or edges.get("longest_edge") is None:
        return "its processor has no pixel budget (max_pixels, min_pixels); model.view_side bounds its images"
    if recipe.max_pixels is not None:
        edges["longest_edge"] = recipe.max_pixels
        edges["shortest_edge"] = min(edges["shortest_edge"], recipe.max_pixels)
    if recipe.min_pixels is not None:
        edges["shortest_edge"] = recipe.min_pixels
    processor.image_processor.size = {key: value for key, value in edges.items() if value is not None}
    return None
