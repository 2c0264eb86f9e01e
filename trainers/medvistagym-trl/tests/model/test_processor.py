"""The processor: the short way gives what the long way gives, and a saved one loads again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from transformers import AutoProcessor, Qwen2VLImageProcessorPil

from medvistagym_trl.model import ViewImageProcessor, register


def pictures(*sizes: tuple[int, int]) -> list[PIL.Image.Image]:
    rng = np.random.default_rng(0)
    return [PIL.Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in sizes]


def test_views_take_the_short_way_to_the_same_tensors(model: Any) -> None:
    processor: ViewImageProcessor = model.processor.image_processor
    images = pictures((32, 32), (32, 32), (32, 32))
    short = processor(images=images, return_tensors="pt")
    long = Qwen2VLImageProcessorPil.preprocess(processor, images, return_tensors="pt")
    assert torch.equal(short["image_grid_thw"], long["image_grid_thw"])
    assert torch.equal(short["pixel_values"], long["pixel_values"])


def test_other_sizes_are_resized_by_the_base_class(model: Any) -> None:
    encoded = model.processor.image_processor(images=pictures((20, 50), (32, 32)), return_tensors="pt")
    assert encoded["image_grid_thw"].shape == (2, 3)
    assert encoded["pixel_values"].shape[0] == int(encoded["image_grid_thw"].prod(1).sum())


def test_a_saved_processor_loads_by_auto_class(model: Any, tmp_path: Path) -> None:
    model.model.save_pretrained(tmp_path)
    model.processor.save_pretrained(tmp_path)
    register()
    loaded = AutoProcessor.from_pretrained(tmp_path)
    images = pictures((32, 32))
    assert torch.equal(
        loaded.image_processor(images=images, return_tensors="pt")["pixel_values"],
        model.processor.image_processor(images=images, return_tensors="pt")["pixel_values"],
    )
    assert loaded.tokenizer("<answer>dark</answer>") == model.tokenizer("<answer>dark</answer>")
    assert loaded.chat_template == model.processor.chat_template
