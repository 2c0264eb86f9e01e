"""Pictures and text to tensors: a Qwen3-VL processor for still images that needs no torchvision."""

from __future__ import annotations

from typing import Any

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

from medvistagym_trl.template import CHAT_TEMPLATE, response_template


class ViewImageProcessor(Qwen2VLImageProcessorPil):
    """The Qwen2-VL image processor with a short way for views that already have their final size.

    The result is that of the base class to the bit; only the order of the work differs (one stacked array instead of
    one image after another).
    """

    def preprocess(self, images: Any, **kwargs: Any) -> BatchFeature:
        """Cut images into normalised patches.

        Args:
            images: A picture, a list of pictures, or a list of lists of pictures.
            **kwargs: As for the base class; anything but `return_tensors` takes the base class's way.

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
        """The pictures as uint8 (N, H, W, 3), or None where one of them has to be resized or read in another way."""
        flat: list[Any] = [images] if isinstance(images, PIL.Image.Image) else list(images)
        if flat and isinstance(flat[0], list):
            flat = [picture for group in flat for picture in group]
        if (
            not flat
            or self.temporal_patch_size != 1
            or not all(isinstance(picture, PIL.Image.Image) for picture in flat)
        ):
            return None
        width, height = flat[0].size
        factor = self.patch_size * self.merge_size
        area_fits = self.size["shortest_edge"] <= width * height <= self.size["longest_edge"]
        if (
            height % factor
            or width % factor
            or not area_fits
            or any(picture.size != (width, height) for picture in flat)
        ):
            return None
        return np.stack([np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB")) for picture in flat])


class StillQwen3VLProcessor(Qwen3VLProcessor):
    """`Qwen3VLProcessor` without its video part, which cannot be constructed without torchvision."""

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


def build_processor(tokenizer: PreTrainedTokenizerFast, side: int, patch: int, merge: int = 2) -> StillQwen3VLProcessor:
    """A processor for square views.

    Args:
        tokenizer: The policy's tokenizer.
        side: Side of a view in pixels, a multiple of `patch * merge`.
        patch: Side of a patch in pixels.
        merge: Patches per image token along each axis.
    """
    if side % (patch * merge):
        raise ValueError(
            f"a view of {side} pixels is not a whole number of {patch * merge}-pixel cells (patch {patch} x merge {merge})"
        )
    tokenizer.response_template = response_template()
    pictures = ViewImageProcessor(
        patch_size=patch,
        merge_size=merge,
        temporal_patch_size=1,
        size={"shortest_edge": side * side, "longest_edge": side * side},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return StillQwen3VLProcessor(pictures, tokenizer, chat_template=CHAT_TEMPLATE)


def register() -> None:
    """Make `AutoProcessor` and `AutoImageProcessor` know these classes, so that a saved checkpoint loads again."""
    AutoImageProcessor.register(Qwen3VLConfig, slow_image_processor_class=ViewImageProcessor, exist_ok=True)
    AutoProcessor.register(Qwen3VLConfig, StillQwen3VLProcessor, exist_ok=True)  # type: ignore[no-untyped-call]
