"""A model with its processor, and the tokens that end a turn or must not stand in one."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Final

from medvistagym_trl.model._tokenizer import suppressed_token_ids

_PLACEHOLDERS: Final = (
    "image_token_id",
    "image_token_index",
    "video_token_id",
    "video_token_index",
    "vision_start_token_id",
    "vision_end_token_id",
    "boi_token_id",
    "eoi_token_id",
    "audio_token_id",
    "boa_token_id",
    "eoa_token_index",
)
"""Fields of model configurations that hold tokens which stand for images or sound."""
_PLACEHOLDER_NAMES: Final = ("image", "video", "audio", "boi", "eoi", "boa", "eoa")
"""Parts of the names under which a processor holds such tokens."""
_TILE: Final = re.compile(r"<\|?(?:img_)?row_\d+_col_\d+\|?>|<global-img>|<\|img_thumbnail\|>")
"""Tokens that say which tile of an image follows (SmolVLM, LFM2-VL)."""


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model with its processor, ready to be trained or sampled.

    Attributes:
        model: The model of transformers, with or without adapters.
        processor: Its processor, which has a `tokenizer`.
        family: `model_type` of its configuration, such as "qwen3_vl".
    """

    model: Any
    processor: Any
    family: str

    @property
    def tokenizer(self) -> Any:
        """The processor's tokenizer."""
        return self.processor.tokenizer

    @property
    def end_of_turn(self) -> tuple[int, ...]:
        """Tokens at which generation stops."""
        return end_of_turn_tokens(self.tokenizer, self.model.generation_config)

    @property
    def suppressed_tokens(self) -> list[int]:
        """Tokens that stand for images, which a policy must not write."""
        config = self.model.config
        declared = [getattr(config, name, None) for name in _PLACEHOLDERS]
        suppressed = [*suppressed_token_ids(self.tokenizer), *(token for token in declared if isinstance(token, int))]
        vocabulary = self.tokenizer.get_vocab()
        named = [
            value
            for name, value in vars(self.processor).items()
            if name.endswith("_token") and isinstance(value, str) and set(name.split("_")) & set(_PLACEHOLDER_NAMES)
        ]
        suppressed += [vocabulary[token] for token in named if token in vocabulary]
        suppressed += [number for token, number in vocabulary.items() if _TILE.fullmatch(token)]
        return list(dict.fromkeys(suppressed))


def end_of_turn_tokens(tokenizer: Any, generation_config: Any = None) -> tuple[int, ...]:
    """Tokens at which generation stops: the tokenizer's end of sequence, and those that the model's generation config names."""
    declared = getattr(generation_config, "eos_token_id", None)
    declared = [declared] if isinstance(declared, int) else list(declared or ())
    return tuple(dict.fromkeys([tokenizer.eos_token_id, *declared]))
