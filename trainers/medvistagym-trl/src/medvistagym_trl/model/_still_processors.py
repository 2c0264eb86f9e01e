"""Processors of further families for still images, which need neither torchvision nor what other media need.

The processors of transformers for Gemma 4, InternVL, SmolVLM and LFM2-VL also read videos or sound, or cut images with
torchvision; without torchvision they cannot be constructed. Each class here is the family's own without those parts. What a
checkpoint says of them is handed on when it is saved, under the family's own class, so that plain transformers loads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from transformers import (
    AutoTokenizer,
    Gemma4Processor,
    InternVLProcessor,
    Lfm2VlProcessor,
    ProcessorMixin,
    SmolVLMProcessor,
)
from transformers.utils.import_utils import is_torchvision_available

from medvistagym_core.protocol import BoundedChatTemplate, SpecialTokens
from medvistagym_trl.model._lfm2_images import StillLfm2VlImageProcessor

_PROCESSOR_CONFIG: Final = "processor_config.json"
_IMAGE_CONFIG: Final = "preprocessor_config.json"
_OTHER_PARTS: Final = ("video_processor", "feature_extractor")


class StillProcessor(BoundedChatTemplate):
    """Mixed into a processor of transformers: saves it as the family's own, and keeps its special tokens out of text.

    Attributes:
        stock_class: Name of the family's own processor.
        stock_images: Name of the class of the checkpoint's image processor, as the checkpoint says it.
        left_out: Settings of the parts that are left out, by name.
        special_tokens: Tokens that are escaped in every text that is rendered, whoever renders it; None escapes nothing.
    """

    stock_class: str
    stock_images: str | None = None
    left_out: Mapping[str, Any] = {}
    special_tokens: SpecialTokens | None = None

    def apply_chat_template(self, conversation: Any, *args: Any, **kwargs: Any) -> Any:
        """Render a conversation or several, with the special tokens in their texts escaped."""
        if self.special_tokens is not None:
            single = bool(conversation) and isinstance(conversation[0], Mapping)
            chats = [conversation] if single else conversation
            escaped = [[_escape(message, self.special_tokens) for message in chat] for chat in chats]
            conversation = escaped[0] if single else escaped
        return super().apply_chat_template(conversation, *args, **kwargs)

    def save_pretrained(self, save_directory: Any, push_to_hub: bool = False, **kwargs: Any) -> Any:
        """Save as the family's own processor, with the settings of the parts that are left out."""
        files = super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)  # type: ignore[misc]
        for name in (_PROCESSOR_CONFIG, "tokenizer_config.json"):
            file = Path(save_directory) / name
            settings = json.loads(file.read_text("utf-8"))
            if "processor_class" in settings:
                settings["processor_class"] = self.stock_class
            if name == _PROCESSOR_CONFIG:
                settings |= self.left_out
                if self.stock_images is not None and "image_processor" in settings:
                    settings["image_processor"]["image_processor_type"] = self.stock_images
            file.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return files


class StillGemma4Processor(StillProcessor, Gemma4Processor):
    """Gemma 4's, without sound and videos."""

    stock_class = "Gemma4Processor"

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        image_seq_length: int = 280,
        **kwargs: Any,
    ) -> None:
        self.image_seq_length = image_seq_length
        for name in ("image", "audio"):
            setattr(self, f"{name}_token", getattr(tokenizer, f"{name}_token", None))
            setattr(self, f"{name}_token_id", getattr(tokenizer, f"{name}_token_id", None))
        for name in ("boi", "eoi", "boa", "eoa"):
            setattr(self, f"{name}_token", getattr(tokenizer, f"{name}_token", None))
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|video|>"]})
        self.video_token = "<|video|>"
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)  # type: ignore[no-untyped-call]


class StillInternVLProcessor(StillProcessor, InternVLProcessor):
    """InternVL's, without videos."""

    stock_class = "InternVLProcessor"

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        image_seq_length: int = 256,
        chat_template: str | None = None,
        **kwargs: Any,
    ) -> None:
        InternVLProcessor.__init__(
            self, image_processor, tokenizer, None, image_seq_length=image_seq_length, chat_template=chat_template
        )


class StillSmolVLMProcessor(StillProcessor, SmolVLMProcessor):
    """SmolVLM's, without videos (and without num2words, which only they need)."""

    stock_class = "SmolVLMProcessor"

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        image_seq_len: int = 169,
        chat_template: str | None = None,
        **kwargs: Any,
    ) -> None:
        for name, token in (
            ("fake_image", "<fake_token_around_image>"),
            ("image", "<image>"),
            ("end_of_utterance", "<end_of_utterance>"),
            ("global_image", "<global-img>"),
            ("video", "<video>"),
        ):
            setattr(self, f"{name}_token", getattr(tokenizer, f"{name}_token", token))
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.image_seq_len = image_seq_len
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)  # type: ignore[no-untyped-call]

    def _apply_template(self, *args: Any, **kwargs: Any) -> Any:
        return ProcessorMixin.apply_chat_template(
            self, *args, **kwargs
        )  # the stock class asks its video processor first


class StillLfm2VlProcessor(StillProcessor, Lfm2VlProcessor):
    """LFM2-VL's, with an image processor that needs no torchvision."""

    stock_class = "Lfm2VlProcessor"


STILL_PROCESSORS: Final[Mapping[str, Any]] = {
    "gemma4": StillGemma4Processor,
    "internvl": StillInternVLProcessor,
    "smolvlm": StillSmolVLMProcessor,
    "lfm2_vl": StillLfm2VlProcessor,
}
"""The processor for still images of each family whose own needs torchvision."""


def load_still_processor(family: str, folder: Path, base: Path) -> Any:
    """The processor of a checkpoint's folder for still images.

    Args:
        family: A key of `STILL_PROCESSORS`.
        folder: Folder of the processor.
        base: Folder of the weights, whose settings count where `folder` has none.
    """
    if (
        family == "lfm2_vl" and not is_torchvision_available()
    ):  # its image processor, which transformers would look for, cannot even be imported
        images = StillLfm2VlImageProcessor.from_pretrained(folder, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        processor = StillLfm2VlProcessor(images, tokenizer, chat_template=tokenizer.chat_template)
    else:
        processor = STILL_PROCESSORS[family].from_pretrained(folder, local_files_only=True)
    settings = [_settings(place / name) for place in (folder, base) for name in (_PROCESSOR_CONFIG, _IMAGE_CONFIG)]
    processor.left_out = {
        part: next(each[part] for each in settings if part in each)
        for part in _OTHER_PARTS
        if any(part in each for each in settings)
    }
    types = [{**each, **each.get("image_processor", {})}.get("image_processor_type") for each in settings]
    processor.stock_images = next((name for name in types if name), None)
    return processor


def _escape(message: Mapping[str, Any], special: SpecialTokens) -> dict[str, Any]:
    """A message whose texts hold no special token; its role and the types of its blocks are no texts."""
    escaped = dict(message)
    content = message.get("content")
    if isinstance(content, str):
        escaped["content"] = special.escape(content)
    elif content:
        blocks = [{key: value for key, value in block.items() if key != "type"} for block in content]
        escaped["content"] = [
            {**text, "type": block["type"]}
            for text, block in zip(special.escape_messages([{"content": blocks}])[0]["content"], content, strict=True)
        ]
    for name in ("reasoning_content", "thinking"):
        if isinstance(message.get(name), str):
            escaped[name] = special.escape(message[name])
    if message.get("tool_calls"):
        escaped["tool_calls"] = [_escape_call(call, special) for call in message["tool_calls"]]
    return escaped


def _escape_call(call: Mapping[str, Any], special: SpecialTokens) -> dict[str, Any]:
    function = call.get("function", call)
    (arguments,) = special.escape_messages([function["arguments"]])
    escaped = {**function, "name": special.escape(function["name"]), "arguments": arguments}
    return {**call, "function": escaped} if "function" in call else escaped


def _settings(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text("utf-8"))) if file.is_file() else {}
