"""Models and what they read: the tiny model built from nothing, checkpoints, tokenizer, processor, template, encoding.

May use the recipe and the core; imports torch and transformers, so it is imported by what trains and never to list.
"""

from medvistagym_trl.model._activations import LanguageActivations, count_activations, count_activations_of
from medvistagym_trl.model._adapters import (
    add_adapters,
    cast_trained_to_float32,
    count_parameters,
    freeze_towers,
    has_adapters,
    lora_targets,
    tower_of,
)
from medvistagym_trl.model._chat_format import ActionFormat, apply_chat_format, parse_turn
from medvistagym_trl.model._checkpoints import (
    NonFiniteWeightsError,
    base_checkpoint,
    check_finite,
    is_reference,
    load_model,
    load_processor,
    referenced,
    save_model,
    save_reference,
    to_device,
)
from medvistagym_trl.model._compatibility import (
    SUPPORTED_MODELS,
    UnsupportedModelError,
    describe_supported_models,
)
from medvistagym_trl.model._encoding import (
    IGNORE_INDEX,
    Conversation,
    TokenCounter,
    TrainingEncoder,
    apply_chat_template_batch,
    chat_message,
    encode_for_training,
    image_token_positions,
)
from medvistagym_trl.model._equal_images import encode_equal_images_once
from medvistagym_trl.model._equal_rows import read_equal_rows_once
from medvistagym_trl.model._image_fields import ImageFields
from medvistagym_trl.model._loaded_model import LoadedModel
from medvistagym_trl.model._model_size import ModelSize, StackSize, measure_model_size, model_size
from medvistagym_trl.model._processor import StillQwen3VLProcessor, ViewImageProcessor, build_processor, register
from medvistagym_trl.model._shared_features import share_features
from medvistagym_trl.model._tiny_model import build_tiny_model
from medvistagym_trl.model._tokenizer import SUPPRESSED_TOKENS, build_tokenizer, call_opening, suppressed_token_ids
from medvistagym_trl.model._vocabulary_extension import extend_vocabulary, replace_prompt

__all__ = [
    "IGNORE_INDEX",
    "SUPPORTED_MODELS",
    "SUPPRESSED_TOKENS",
    "ActionFormat",
    "Conversation",
    "ImageFields",
    "LanguageActivations",
    "LoadedModel",
    "ModelSize",
    "NonFiniteWeightsError",
    "StackSize",
    "StillQwen3VLProcessor",
    "TokenCounter",
    "TrainingEncoder",
    "UnsupportedModelError",
    "ViewImageProcessor",
    "add_adapters",
    "apply_chat_format",
    "apply_chat_template_batch",
    "base_checkpoint",
    "build_processor",
    "build_tiny_model",
    "build_tokenizer",
    "call_opening",
    "cast_trained_to_float32",
    "chat_message",
    "check_finite",
    "count_activations",
    "count_activations_of",
    "count_parameters",
    "describe_supported_models",
    "encode_equal_images_once",
    "encode_for_training",
    "extend_vocabulary",
    "freeze_towers",
    "has_adapters",
    "image_token_positions",
    "is_reference",
    "load_model",
    "load_processor",
    "lora_targets",
    "measure_model_size",
    "model_size",
    "parse_turn",
    "read_equal_rows_once",
    "referenced",
    "register",
    "replace_prompt",
    "save_model",
    "save_reference",
    "share_features",
    "suppressed_token_ids",
    "to_device",
    "tower_of",
]
