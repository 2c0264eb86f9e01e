"""What a model's forward pass takes of images, whatever family it is of.

Processors give images in layouts of their own: patches in one row after another with a grid of each image (Qwen), patches of an
image padded to one length with their positions (Gemma 4), tiles of which an image has several (InternVL, SmolVLM, LFM2-VL). In
all of them the first axis can be cut between images; `ImageFields` says where.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import PIL.Image
import torch

_PER_ROW: Final = ("pixel_values", "image_position_ids", "spatial_shapes")
"""Fields with a row for each patch, image or tile."""
_GRID: Final = "image_grid_thw"
_MASK: Final = "pixel_attention_mask"
_TYPES: Final = "mm_token_type_ids"


class ImageFields:
    """Makes the fields of images, through a processor's own image processor.

    Args:
        processor: A model's processor.
        image_processor: In place of the processor's, such as one that has cached nothing.

    Attributes:
        image_token: The token that stands for a part of an image; None where the processor names none.
        has_token_types: Whether the model is told which tokens are images (`mm_token_type_ids`).
    """

    def __init__(self, processor: Any, image_processor: Any = None) -> None:
        self._images = image_processor or processor.image_processor
        self._options = {
            name: value
            for name, value in dict(getattr(processor, "images_kwargs", None) or {}).items()
            if name in ("crop_to_patches", "return_row_col_info")
        }
        names = getattr(processor, "model_input_names", ())
        self.has_token_types = _TYPES in names or hasattr(self._images, "merge_size")
        self.image_token: int | None = getattr(processor, "image_token_id", None)

    def make(self, images: Sequence[PIL.Image.Image]) -> dict[str, torch.Tensor]:
        """The fields of some images, one after another along the first axis; empty without images."""
        if not images:
            return {}
        features = self._images(images=list(images), return_tensors="pt", **self._options)
        names = [name for name in (*_PER_ROW, _GRID) if name in features]
        names += [_MASK] if "spatial_shapes" in features else []
        return {name: torch.as_tensor(features[name]) for name in names}

    def grids(self, images: Sequence[PIL.Image.Image]) -> torch.Tensor:
        """Rows of `pixel_values` of each image along one axis or several, int64 (images, axes)."""
        fields = self.make(images)
        if _GRID in fields:
            return fields[_GRID]
        return torch.tensor(self.counts(images), dtype=torch.long)[:, None]

    def counts(self, images: Sequence[PIL.Image.Image]) -> list[int]:
        """Rows of `pixel_values` that each image takes."""
        return [_rows(self.make([image])) for image in images]

    def token_types(self, ids: torch.Tensor) -> torch.Tensor:
        """1 where a token stands for an image, else 0, int64 of the shape of `ids`."""
        return torch.eq(ids, -1 if self.image_token is None else self.image_token).long()

    def unusable(self) -> str | None:
        """Why the fields of images cannot be cut between the rows of a batch; None when they can."""
        image = PIL.Image.new("RGB", (64, 48), (90, 60, 30))
        features = self._images(images=[image], return_tensors="pt", **self._options)
        if "pixel_values" not in features:
            return f"its image processor gives {', '.join(features)} and no pixel_values"
        if _GRID in features:
            return None
        if _MASK in features and "spatial_shapes" not in features:
            return "its tiles are padded, which pixel_attention_mask says, and TRL cuts that between conversations only"
        both = self.make([image, PIL.Image.new("RGB", (200, 40))])
        rows = [_rows(fields) for fields in (self.make([image]), self.make([PIL.Image.new("RGB", (200, 40))]), both)]
        if rows[0] + rows[1] != rows[2]:
            return f"images that take {rows[0]} and {rows[1]} rows of pixel_values take {rows[2]} together"
        return None

    @property
    def is_grid(self) -> bool:
        """Whether images come as patches with a grid of each image, the layout that TRL cuts by itself."""
        return _GRID in self._images(images=[PIL.Image.new("RGB", (64, 64))], return_tensors="pt", **self._options)


def _rows(fields: dict[str, torch.Tensor]) -> int:
    return len(fields["pixel_values"]) if fields else 0
