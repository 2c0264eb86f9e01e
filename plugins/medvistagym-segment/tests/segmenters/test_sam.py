"""Models of the SAM family: a small one of random weights, in the format that real ones come in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medvistagym_core.imaging import Image, SegmentationPrompt, Segmenter, Window

torch = pytest.importorskip("torch")

Load = Callable[[object], Segmenter]


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SAM of random weights, with the processor that real ones come with."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    vision = transformers.SamVisionConfig(
        hidden_size=16, output_channels=8, num_hidden_layers=1, num_attention_heads=2, image_size=64, patch_size=8,
        mlp_dim=16, global_attn_indexes=[0], window_size=4, num_pos_feats=4,
    )  # fmt: skip
    prompt = transformers.SamPromptEncoderConfig(
        hidden_size=8, image_size=64, patch_size=8, mask_input_channels=4, image_embedding_size=8
    )
    decoder = transformers.SamMaskDecoderConfig(
        hidden_size=8, mlp_dim=8, num_hidden_layers=1, num_attention_heads=2, iou_head_hidden_dim=8
    )
    config = transformers.SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    pixels = transformers.SamImageProcessor(
        size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}, mask_size={"longest_edge": 16},
        mask_pad_size={"height": 16, "width": 16},
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("sam")
    transformers.SamModel(config).eval().save_pretrained(folder)
    transformers.SamProcessor(pixels).save_pretrained(folder)
    return folder


def picture() -> Image:
    pixels = np.random.default_rng(0).normal(0, 100, (40, 60)).astype(np.int16)
    return Image(pixels=pixels, unit="HU", window=Window(0, 400))


@pytest.mark.parametrize(
    "prompt",
    [
        SegmentationPrompt(point=(30, 20)),
        SegmentationPrompt(box=(5, 5, 40, 30)),
        SegmentationPrompt(point=(30, 20), box=(5, 5, 40, 30)),
    ],
)
def test_a_sam_is_pointed_at_what_it_segments(sam: Path, load: Load, prompt: SegmentationPrompt) -> None:
    model = load(sam)
    mask = model.segment(picture(), prompt)
    assert mask.shape == (40, 60)
    assert mask.dtype == bool
    assert np.array_equal(mask, model.segment(picture(), prompt))
    stack = Image(
        pixels=np.stack([picture().pixels] * 3), unit="HU", window=Window(0, 400), spacing=(2.0, 1.0, 1.0), frame=2
    )
    volume_mask = model.segment(stack, prompt)
    assert np.array_equal(volume_mask[2], mask)
    assert not volume_mask[:2].any()


def test_a_sam_is_run_as_its_processor_says(sam: Path, load: Load) -> None:
    import transformers

    mask = load(sam).segment(picture(), SegmentationPrompt(box=(5, 5, 40, 30)))
    processor = transformers.SamProcessor.from_pretrained(sam)
    model = transformers.SamModel.from_pretrained(sam).eval()
    view = np.repeat(picture().view()[..., None], 3, -1)
    inputs = processor(images=view, input_boxes=[[[5.0, 5.0, 40.0, 30.0]]], return_tensors="pt")
    with torch.inference_mode():
        masks = model(**inputs, multimask_output=False).pred_masks
    (expected,) = processor.post_process_masks(masks, inputs["original_sizes"], inputs["reshaped_input_sizes"])
    assert np.array_equal(mask, np.asarray(expected).reshape(40, 60))


def test_a_sam_that_cannot_be_used(sam: Path, load: Load, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a point"):
        load(sam).segment(picture(), SegmentationPrompt())
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="of type 'bert'"):
        load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "sam"}')
    with pytest.raises(ValueError, match="cannot be loaded"):
        load(tmp_path)
