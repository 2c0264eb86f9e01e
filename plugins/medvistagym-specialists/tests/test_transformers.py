"""MedSAM, SAM 2, OWLv2 and Grounding DINO end to end: the classes of transformers, with weights at random as it saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medvistagym_core import Image, ImageStore, LocalExecutor, Registry, ToolCall, ToolResult, Window
from medvistagym_models import ModelError, load_tools

torch = pytest.importorskip("torch", reason="the models of these tests are made by torch")
transformers = pytest.importorskip("transformers", reason="the models of these tests are made by transformers")


def save_medsam(folder: Path) -> None:
    side, patch = 1024, 128  # MedSAM takes pictures of 1024 pixels a side
    config = transformers.SamConfig(
        vision_config=transformers.SamVisionConfig(
            hidden_size=16, output_channels=8, num_hidden_layers=1, num_attention_heads=2, image_size=side,
            patch_size=patch, mlp_dim=16, global_attn_indexes=[0], window_size=4, num_pos_feats=4,
        ),
        prompt_encoder_config=transformers.SamPromptEncoderConfig(
            hidden_size=8, image_size=side, patch_size=patch, mask_input_channels=4, image_embedding_size=side // patch
        ),
        mask_decoder_config=transformers.SamMaskDecoderConfig(
            hidden_size=8, mlp_dim=8, num_hidden_layers=1, num_attention_heads=2, iou_head_hidden_dim=8
        ),
    )  # fmt: skip
    transformers.SamModel(config).save_pretrained(folder)
    transformers.SamProcessor(transformers.SamImageProcessor()).save_pretrained(folder)


def save_sam2(folder: Path) -> None:
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=8, num_attention_heads=1, image_size=[64, 64], blocks_per_stage=[1, 1, 1, 1],
        embed_dim_per_stage=[8, 16, 32, 64], num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[8, 4, 4, 4], global_attention_blocks=[],
        window_positional_embedding_background_size=[4, 4],
    )  # fmt: skip
    vision = transformers.Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=16,
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
    )  # fmt: skip
    prompts = transformers.Sam2PromptEncoderConfig(hidden_size=16, image_size=64, patch_size=16, mask_input_channels=4)
    decoder = transformers.Sam2MaskDecoderConfig(
        hidden_size=16, mlp_dim=16, num_attention_heads=2, iou_head_hidden_dim=16
    )
    config = transformers.Sam2Config(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    transformers.Sam2Model(config).save_pretrained(folder)
    settings = {"image_processor_type": "Sam2ImageProcessorFast", "size": {"height": 64, "width": 64}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))


def save_owlv2(folder: Path) -> None:
    letters = [chr(code) for code in range(33, 127)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    tokenizer = transformers.CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=16
    )
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {
        **small, "vocab_size": len(words), "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 1,
        "pad_token_id": 1,
    }  # fmt: skip
    config = transformers.Owlv2Config(
        text_config=text, vision_config={**small, "image_size": 64, "patch_size": 16}, projection_dim=16
    )
    transformers.Owlv2ForObjectDetection(config).save_pretrained(folder)
    pixels = transformers.Owlv2ImageProcessorPil(size={"height": 64, "width": 64})
    transformers.Owlv2Processor(pixels, tokenizer).save_pretrained(folder)


def save_grounding_dino(folder: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "left", "lung", "bright", "spot", "?"]
    tokenizer = transformers.BertTokenizer(
        vocab={word: number for number, word in enumerate(words)}, model_max_length=64
    )
    text = {
        "model_type": "bert", "vocab_size": len(words), "hidden_size": 16, "intermediate_size": 16,
        "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64,
    }  # fmt: skip
    backbone = transformers.SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.GroundingDinoConfig(
        backbone_config=backbone, text_config=text, d_model=32, encoder_layers=1, encoder_ffn_dim=16,
        encoder_attention_heads=2, decoder_layers=2, decoder_ffn_dim=16, decoder_attention_heads=2, num_queries=8,
        max_text_len=64, fusion_droppath=0.0,
    )  # fmt: skip
    transformers.GroundingDinoForObjectDetection(config).save_pretrained(folder)
    pixels = transformers.GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})
    transformers.GroundingDinoProcessor(pixels, tokenizer).save_pretrained(folder)


def call(folder: Path, adapter: str, image: Image, **arguments: Any) -> ToolResult:
    (folder / "models.toml").write_text(f'[it]\nadapter = "{adapter}"\npath = "model"\n')
    (tool,) = load_tools(folder / "models.toml")
    assert not isinstance(tool, ModelError), tool
    registry = Registry()
    registry.add_tool(tool, "models")
    with LocalExecutor(registry.toolbox()) as executor:
        ((result,),) = executor.run([(ImageStore([image]), [ToolCall(name="it", arguments={"image": 0, **arguments})])])
    assert result.error is None, result.error
    return result


def noise(*shape: int) -> Image:
    pixels = np.random.default_rng(0).normal(0, 150, shape).astype(np.int16)
    spacing = (1.0,) * len(shape)
    return Image(pixels=pixels, unit="raw", modality="MR", spacing=spacing, window=Window(0, 600))


def test_sam2_outlines_a_box_and_follows_it_through_a_volume(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_sam2(tmp_path / "model")
    single = call(tmp_path, "sam2", noise(60, 80), box=[200, 200, 800, 800])
    assert single.data["task"] == "promptable-segmentation"  # type: ignore[index]
    through = call(tmp_path, "sam2", noise(4, 60, 80), box=[200, 200, 800, 800], follow=True)
    assert all(mask.pixels.shape == (4, 60, 80) for mask in through.images)


def test_medsam_outlines_a_box_and_follows_it_through_a_volume(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_medsam(tmp_path / "model")
    single = call(tmp_path, "medsam", noise(60, 80), box=[200, 200, 800, 800])
    assert single.data["task"] == "promptable-segmentation"  # type: ignore[index]
    assert "By the model model" in single.text
    through = call(tmp_path, "medsam", noise(4, 60, 80), box=[200, 200, 800, 800], follow=True)
    assert all(mask.pixels.shape == (4, 60, 80) for mask in through.images)


@pytest.mark.parametrize(("adapter", "save"), [("owlv2", save_owlv2), ("grounding_dino", save_grounding_dino)])
def test_phrases_are_looked_for(tmp_path: Path, adapter: str, save: Any) -> None:
    torch.manual_seed(0)
    save(tmp_path / "model")
    phrases = ["left lung", "bright spot"]
    result = call(tmp_path, adapter, noise(60, 80), phrases=phrases, threshold=0.01)
    assert {one["label"] for one in result.data["findings"]} <= set(phrases)  # type: ignore[index]
    assert "By the model model" in result.text
