"""The tiny model before it has learnt: what of a picture reaches its vision tower."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import torch
from torch.nn.functional import layer_norm

from medvistagym_trl.stages import build_untrained_model


def patches_seen(recipe: Any, context: Any, pixels: np.ndarray, detail_scale: float) -> torch.Tensor:
    """What the first layer of the vision tower makes of a picture, (patches, width)."""
    model = build_untrained_model(recipe.model.model_copy(update={"detail_scale": detail_scale}), context, 0)
    picture = PIL.Image.fromarray(pixels).convert("RGB")
    inputs = model.processor.image_processor(images=[picture], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        embedded: torch.Tensor = model.model.model.visual.patch_embed(inputs)
    return embedded


def test_detail_counts_more_and_brightness_as_much(recipe: Any, context: Any) -> None:
    flat = np.full((32, 32), 130, np.uint8)
    fine = flat + (np.indices((32, 32)).sum(0) % 2).astype(np.uint8)
    plain, loud = (patches_seen(recipe, context, flat, scale) for scale in (1.0, 40.0))
    torch.testing.assert_close(loud, plain, atol=1e-5, rtol=1e-4)
    # a chequer of one grey level: its mean is half a level, the rest is detail
    quiet = patches_seen(recipe, context, fine, 1.0) - plain
    assert (patches_seen(recipe, context, fine, 40.0) - loud).norm() > 10 * quiet.norm()


def test_a_flat_square_among_patches_as_bright_shows_before_anything_is_learnt(recipe: Any, context: Any) -> None:
    noisy = np.random.default_rng(0).integers(56, 65, (32, 32)).astype(np.uint8)
    noisy[8:16, 8:16] = 60
    flat = 3  # the last patch of the first image token
    distances = []
    for scale in (1.0, 40.0):
        seen = patches_seen(recipe, context, noisy, scale)
        normed = layer_norm(seen, seen.shape[-1:])  # as the tower's first norm does
        others = torch.cat([normed[:flat], normed[flat + 1 :]])
        distances.append(float((others - normed[flat]).square().mean(1).min()))
    assert distances[1] > 10 * distances[0]
