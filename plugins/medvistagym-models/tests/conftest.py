"""What several tests share: small models with random weights, saved by the library that real ones are saved by."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medvistagym_core import Image, ImageStore, LocalExecutor, Registry, Tool, ToolCall, ToolResult, Window
from medvistagym_models import ModelError, load_tools

torch = pytest.importorskip("torch", reason="the models of these tests are made by torch")
transformers = pytest.importorskip("transformers", reason="the models of these tests are made by transformers")

LABELS = {0: "clear", 1: "opacity", 2: "nodule"}


def names(labels: dict[int, str] = LABELS) -> dict[str, Any]:
    return {"id2label": labels, "label2id": {label: number for number, label in labels.items()}}


def processor(folder: Path, kind: str, **settings: Any) -> None:
    """Write a folder's image processor, as those of the hub are written."""
    defaults = {
        "do_resize": True, "size": {"height": 32, "width": 32}, "resample": 2, "do_rescale": True,
        "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.2],
    }  # fmt: skip
    content = {**defaults, **settings, "image_processor_type": kind}
    (folder / "preprocessor_config.json").write_text(json.dumps(content))


def save_vit(folder: Path, **changes: Any) -> Path:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        **{**names(), **changes},
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config).eval()
    with torch.no_grad():
        model.classifier.weight.mul_(40)  # far from even, so that differences show
    model.save_pretrained(folder)
    processor(folder, "ViTImageProcessor")
    return folder


def save_detr(folder: Path) -> Path:
    torch.manual_seed(3)
    config = transformers.DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,
        backbone_config=transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", out_features=["stage2"]
        ),
        d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, num_queries=12, **names(),
    )  # fmt: skip
    model = transformers.DetrForObjectDetection(config).eval()
    with torch.no_grad():
        model.class_labels_classifier.weight.mul_(8)
        for parameter in model.model.query_position_embeddings.parameters():
            parameter.mul_(6)
    model.save_pretrained(folder)
    processor(
        folder, "DetrImageProcessor", size={"shortest_edge": 64, "longest_edge": 96}, do_pad=True, format="coco_detection"
    )  # fmt: skip
    return folder


def save_segformer(folder: Path) -> Path:
    torch.manual_seed(1)
    config = transformers.SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[8, 16], patch_sizes=[7, 3], strides=[4, 2],
        num_attention_heads=[1, 2], mlp_ratios=[2, 2], decoder_hidden_size=16, **names(),
    )  # fmt: skip
    model = transformers.SegformerForSemanticSegmentation(config).eval()
    model.save_pretrained(folder)
    processor(folder, "SegformerImageProcessor", size={"height": 64, "width": 64}, do_reduce_labels=False)
    return folder


def save_mask2former(folder: Path) -> Path:
    torch.manual_seed(2)
    config = transformers.Mask2FormerConfig(
        backbone_config=transformers.SwinConfig(
            image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        ),
        feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=16, encoder_layers=1,
        decoder_layers=2, num_attention_heads=2, dim_feedforward=16, num_queries=6, **names(),
    )  # fmt: skip
    model = transformers.Mask2FormerForUniversalSegmentation(config).eval()
    with torch.no_grad():
        model.class_predictor.weight.mul_(40)
    model.save_pretrained(folder)
    processor(folder, "Mask2FormerImageProcessor", size={"height": 64, "width": 64}, do_pad=False, size_divisor=32)
    return folder


def save_sam(folder: Path) -> Path:
    torch.manual_seed(1)
    config = transformers.SamConfig(
        vision_config=transformers.SamVisionConfig(
            hidden_size=16, output_channels=8, num_hidden_layers=1, num_attention_heads=2, image_size=64, patch_size=8,
            mlp_dim=16, global_attn_indexes=[0], window_size=4, num_pos_feats=4,
        ),
        prompt_encoder_config=transformers.SamPromptEncoderConfig(
            hidden_size=8, image_size=64, patch_size=8, mask_input_channels=4, image_embedding_size=8
        ),
        mask_decoder_config=transformers.SamMaskDecoderConfig(
            hidden_size=8, mlp_dim=8, num_hidden_layers=1, num_attention_heads=2, iou_head_hidden_dim=8
        ),
    )  # fmt: skip
    model = transformers.SamModel(config).eval()
    with torch.no_grad():
        for parameter in model.mask_decoder.parameters():
            parameter.mul_(6)
    model.save_pretrained(folder)
    pixels = transformers.SamImageProcessor(
        size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}, mask_size={"longest_edge": 16},
        mask_pad_size={"height": 16, "width": 16},
    )  # fmt: skip
    transformers.SamProcessor(pixels).save_pretrained(folder)
    return folder


def film(seed: int = 0, shape: tuple[int, int] = (60, 80), **changes: Any) -> Image:
    """A chest film of noise and a bright spot, int16 values with a window."""
    pixels = np.random.default_rng(seed).normal(0, 150, shape)
    y, x = np.mgrid[: shape[0], : shape[1]]
    pixels += 800 * np.exp(-((x - shape[1] * 0.6) ** 2 + (y - shape[0] * 0.4) ** 2) / 60)
    settings: dict[str, Any] = {
        "unit": "raw", "modality": "DX", "spacing": (0.5, 0.25), "window": Window(100, 1200), **changes
    }  # fmt: skip
    return Image(pixels=pixels.astype(np.int16), **settings)


def volume(slices: int = 6, **changes: Any) -> Image:
    planes = np.stack([film(k).pixels for k in range(slices)])
    settings: dict[str, Any] = {"unit": "HU", "modality": "CT", "spacing": (3.0, 0.5, 0.5), "window": Window(100, 1200)}
    return Image(pixels=planes, **{**settings, **changes})


@pytest.fixture
def models(tmp_path: Path) -> Callable[..., dict[str, Tool]]:
    """A function that writes a models.toml and gives the tools that it makes, by name."""

    def write(text: str) -> dict[str, Tool]:
        file = tmp_path / "models.toml"
        file.write_text(text)
        made: dict[str, Tool] = {}
        for one in load_tools(file):
            if isinstance(one, ModelError):
                raise one
            made[one.name] = one
        return made

    return write


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[str], str]:
    """A function that writes a models.toml with one entry and gives the sentence by which it is refused."""

    def write(text: str) -> str:
        file = tmp_path / "models.toml"
        file.write_text(text)
        (one,) = load_tools(file)
        assert isinstance(one, ModelError), one
        return str(one)

    return write


def call(tool: Tool, *images: Image, **arguments: Any) -> ToolResult:
    """Call a tool as a policy does."""
    registry = Registry()
    registry.add_tool(tool, "models")
    handles = dict.fromkeys(tool.image_arguments, 0)
    if tool.image_arguments == ("images",):
        handles = {"images": list(range(len(images)))}  # type: ignore[dict-item]
    with LocalExecutor(registry.toolbox()) as executor:
        ((result,),) = executor.run(
            [(ImageStore(images), [ToolCall(name=tool.name, arguments={**handles, **arguments})])]
        )
    return result


SAVE: dict[str, Callable[[Path], Path]] = {
    "image-classification": save_vit,
    "object-detection": save_detr,
    "semantic-segmentation": save_segformer,
    "instance-segmentation": save_mask2former,
    "promptable-segmentation": save_sam,
    "embedding": save_vit,
}


@pytest.fixture(name="save")
def _save() -> Callable[..., Path]:
    """A function that saves a small model of a task with random weights in a folder."""
    return lambda task, folder, **changes: SAVE[task](folder, **changes)


@pytest.fixture(name="film")
def _film() -> Callable[..., Image]:
    """A function that makes a chest film of noise and a bright spot."""
    return film


@pytest.fixture(name="volume")
def _volume() -> Callable[..., Image]:
    """A function that makes a volume of such planes."""
    return volume


@pytest.fixture(name="call")
def _call() -> Callable[..., ToolResult]:
    """A function that calls a tool as a policy does."""
    return call
