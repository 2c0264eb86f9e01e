"""Image features computed once for each image: the same features, and the same files."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from medvistagym_trl.model import load_model, load_processor, save_model, share_features

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


def pictures(*sizes: tuple[int, int]) -> list[PIL.Image.Image]:
    rng = np.random.default_rng(0)
    return [PIL.Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for h, w in sizes]


@pytest.fixture
def processors(make_checkpoint: Any, context: Any) -> tuple[Any, Any]:
    """A processor as it is, and one that shares features."""
    path = make_checkpoint("qwen3_vl", "qwen3_vl")
    plain, shared = (load_processor(path, context.schemas)[0] for _ in range(2))
    share_features(shared)
    return plain, shared


def test_features_are_those_of_the_processor_to_the_bit(processors: tuple[Any, Any]) -> None:
    plain, shared = processors
    images = pictures((40, 60), (64, 64), (33, 100))
    images = [images[0], images[1], images[0], images[2]]
    for options in ({"return_tensors": "pt"}, {}, {"return_tensors": "np"}):
        mine, other = shared.image_processor(images=images, **options), plain.image_processor(images=images, **options)
        assert set(mine) == set(other)
        for key in mine:
            assert np.array_equal(np.asarray(mine[key]), np.asarray(other[key])), key
    message = [{"role": "user", "content": [{"type": "image", "image": images[0]}, {"type": "text", "text": "?"}]}]
    mine, other = (
        each.apply_chat_template([message], tokenize=True, return_dict=True, return_tensors="pt")
        for each in processors[::-1]
    )
    for key in mine:
        assert torch.equal(mine[key], other[key]), key


def test_an_image_is_computed_once_also_when_it_was_copied(processors: tuple[Any, Any], monkeypatch: Any) -> None:
    _, shared = processors
    calls: list[int] = []
    base = type(shared.image_processor).__mro__[2]
    preprocess = base.preprocess
    monkeypatch.setattr(base, "preprocess", lambda self, images, **k: calls.append(1) or preprocess(self, images, **k))
    images = pictures((64, 64), (32, 64))
    for _ in range(3):
        shared.image_processor(images=copy.deepcopy(images), return_tensors="pt")
    assert len(calls) == 2


def test_a_changed_pixel_is_another_image(processors: tuple[Any, Any]) -> None:
    _, shared = processors
    (image,) = pictures((64, 64))
    before = shared.image_processor(images=[image], return_tensors="pt")["pixel_values"]
    image.putpixel((3, 3), (255, 0, 255))
    after = shared.image_processor(images=[image], return_tensors="pt")["pixel_values"]
    assert not torch.equal(before, after)


def test_what_is_saved_is_the_processor_of_the_family(
    make_checkpoint: Any, context: Any, processors: tuple[Any, Any], tmp_path: Path
) -> None:
    """For a class that it does not know, plain transformers would load the tokenizer alone, without a word."""
    base = tmp_path / "base"
    shutil.copytree(make_checkpoint("qwen3_vl", "qwen3_vl"), base)
    videos = {"video_processor_type": "Qwen3VLVideoProcessor", "patch_size": 16}
    (base / "video_preprocessor_config.json").write_text(json.dumps(videos))
    loaded = load_model(base, context.schemas)
    loaded.processor.image_processor(images=pictures((64, 64)), return_tensors="pt")
    tmp_path = tmp_path / "saved"
    save_model(loaded, tmp_path)
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    assert saved["processor_class"] == "Qwen3VLProcessor"
    assert saved["image_processor"]["image_processor_type"] == "Qwen2VLImageProcessor"
    assert "_kept_features" not in json.dumps(saved)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["processor_class"] == "Qwen3VLProcessor"
    assert json.loads((tmp_path / "video_preprocessor_config.json").read_text()) == videos
    again, _ = load_processor(tmp_path, context.schemas)
    images = pictures((64, 64))
    assert torch.equal(
        again.image_processor(images=images, return_tensors="pt")["pixel_values"],
        processors[0].image_processor(images=images, return_tensors="pt")["pixel_values"],
    )
