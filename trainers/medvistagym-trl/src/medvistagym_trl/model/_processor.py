"""Images and text to tensors: a Qwen3-VL processor for still images that needs no torchvision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import PIL.Image
from transformers import (
    AutoImageProcessor,
    AutoProcessor,
    BatchFeature,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLProcessor,
)

from medvistagym_core.protocol import BoundedChatTemplate
from medvistagym_trl.model._chat_template import CHAT_TEMPLATE, response_template

VIDEO_CONFIG: Final = "video_preprocessor_config.json"


class ViewImageProcessor(Qwen2VLImageProcessorPil):
    """The Qwen2-VL image processor with a fast path for views that already have their final size.

    The result is that of the base class to the bit; only the order of the work differs (one stacked array instead of
    one image after another).
    """

    def preprocess(self, images: Any, **kwargs: Any) -> BatchFeature:
        """Cut images into normalised patches.

        Args:
            images: A Pillow image, a list of them, or a list of lists of them.
            **kwargs: As for the base class; with anything but `return_tensors` the base class does the work.

        Returns:
            `pixel_values` float32 (patches, 3 * patch_size**2) and `image_grid_thw` int64 (images, 3).
        """
        stack = None if set(kwargs) - {"return_tensors", "device"} else self._stack(images)
        if stack is None:
            resized: BatchFeature = super().preprocess(images, **kwargs)
            return resized
        n, height, width, channels = stack.shape
        step, merge = self.patch_size, self.merge_size
        rows, columns = height // step, width // step
        mean, std = np.asarray(self.image_mean, np.float32), np.asarray(self.image_std, np.float32)
        scaled = ((stack.astype(np.float64) * self.rescale_factor).astype(np.float32) - mean) / std
        cells = scaled.reshape(n, rows // merge, merge, step, columns // merge, merge, step, channels)
        patches = cells.transpose(0, 1, 4, 2, 5, 7, 3, 6).reshape(n * rows * columns, channels * step * step)
        grid = np.tile(np.array([[1, rows, columns]], np.int64), (n, 1))
        data = {"pixel_values": np.ascontiguousarray(patches), "image_grid_thw": grid}
        return BatchFeature(data=data, tensor_type=kwargs.get("return_tensors"))

    def _stack(self, images: Any) -> np.ndarray | None:
        """The images as uint8 (N, H, W, 3), or None where one of them has to be resized or converted."""
        flat: list[Any] = [images] if isinstance(images, PIL.Image.Image) else list(images)
        if flat and isinstance(flat[0], list):
            flat = [image for row in flat for image in row]
        if not flat or self.temporal_patch_size != 1 or not all(isinstance(image, PIL.Image.Image) for image in flat):
            return None
        width, height = flat[0].size
        factor = self.patch_size * self.merge_size
        area_fits = self.size["shortest_edge"] <= width * height <= self.size["longest_edge"]
        if height % factor or width % factor or not area_fits or any(image.size != (width, height) for image in flat):
            return None
        return np.stack([np.asarray(image if image.mode == "RGB" else image.convert("RGB")) for image in flat])


class StillQwen3VLProcessor(BoundedChatTemplate, Qwen3VLProcessor):  # type: ignore[misc]  # takes more by name
    """The processor of a Qwen family without its video part, which cannot be constructed without torchvision.

    Attributes:
        stock_class: Name of the family's own processor, as which that of a checkpoint is saved again, so that plain
            transformers finds it; None for the tiny model, whose classes are here.
        video_config: The settings of the checkpoint's video processor, which are handed on.
        trusted_templates: The tiny model's, which is written here.

    Args:
        image_processor: The family's image processor.
        tokenizer: Its tokenizer, which has the tokens of the family for images and videos.
        chat_template: The chat template, as Jinja.
        **kwargs: What else the family's own processor is given, such as a video processor; not used.
    """

    trusted_templates = frozenset((CHAT_TEMPLATE,))
    stock_class: str | None = None
    video_config: dict[str, Any] | None = None

    def __init__(
        self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None, **kwargs: Any
    ):
        for name, token in (
            ("image", "<|image_pad|>"),
            ("video", "<|video_pad|>"),
            ("vision_start", "<|vision_start|>"),
            ("vision_end", "<|vision_end|>"),
        ):
            setattr(self, f"{name}_token", token)
            setattr(self, f"{name}_token_id", tokenizer.convert_tokens_to_ids(token))
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)  # type: ignore[no-untyped-call]

    def save_pretrained(self, save_directory: Any, push_to_hub: bool = False, **kwargs: Any) -> Any:
        """Save as the family's own processor: for a class that it does not know, `AutoProcessor` loads the tokenizer alone.

        Args:
            save_directory: The folder.
            push_to_hub: As in transformers.
            **kwargs: As in transformers.
        """
        files = super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)
        if self.stock_class is None:
            return files
        if self.video_config is not None:
            text = json.dumps(self.video_config, indent=2) + "\n"
            (Path(save_directory) / VIDEO_CONFIG).write_text(text, encoding="utf-8")
        for name in ("processor_config.json", "tokenizer_config.json"):
            file = Path(save_directory) / name
            settings = json.loads(file.read_text("utf-8"))
            if "processor_class" in settings:
                settings["processor_class"] = self.stock_class
            file.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return files


def build_processor(tokenizer: PreTrainedTokenizerFast, side: int, patch: int, merge: int = 2) -> StillQwen3VLProcessor:
    """A processor for square views.

    Args:
        tokenizer: The model's tokenizer.
        side: Side of a view in pixels, a multiple of `patch * merge`.
        patch: Side of a patch in pixels.
        merge: Patches per image token along each axis.

    Raises:
        ValueError: `side` is no such multiple.
    """
    if side % (patch * merge):
        raise ValueError(
            f"a view of {side} pixels is not a whole number of {patch * merge}-pixel cells (patch {patch} x merge {merge})"
        )
    tokenizer.response_template = response_template()
    image_processor = ViewImageProcessor(
        patch_size=patch,
        merge_size=merge,
        temporal_patch_size=1,
        size={"shortest_edge": side * side, "longest_edge": side * side},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return StillQwen3VLProcessor(image_processor, tokenizer, chat_template=CHAT_TEMPLATE)


STOCK_CLASSES: Final = {
    "qwen2_vl": "Qwen2VLProcessor",
    "qwen2_5_vl": "Qwen2_5_VLProcessor",
    "qwen3_vl": "Qwen3VLProcessor",
    "qwen3_5": "Qwen3VLProcessor",
}
"""The processor of each family in transformers."""


def register() -> None:
    """Make `AutoProcessor` and `AutoImageProcessor` know these classes, so that a saved checkpoint loads again."""
    AutoImageProcessor.register(Qwen3VLConfig, slow_image_processor_class=ViewImageProcessor, exist_ok=True)
    AutoProcessor.register(Qwen3VLConfig, StillQwen3VLProcessor, exist_ok=True)  # type: ignore[no-untyped-call]
