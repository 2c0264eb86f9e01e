"""Names of what a forward pass takes of images, beside tokens and masks."""

from __future__ import annotations

from typing import Final

PIXEL_FIELDS: Final = ("pixel_values", "image_grid_thw", "pixel_attention_mask", "image_sizes")
"""Arrays that image processors of PIL return as lists or NumPy arrays, and TRL wants as tensors."""
VISION_FIELDS: Final = (
    *PIXEL_FIELDS,
    "image_position_ids",
    "spatial_shapes",
    "token_type_ids",
    "mm_token_type_ids",
    "num_images",
    "num_tiles",
)
"""All of them, of every family."""
