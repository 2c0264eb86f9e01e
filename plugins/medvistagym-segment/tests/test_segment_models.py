"""Segmenters that are networks, and those of others: small ones made here, from folders in the formats they come in."""

from __future__ import annotations

import json
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import Image, Window
from medvistagym_segment import Where, segmenters

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")  # what torch, monai and transformers warn of is theirs


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    segmenters.segmenter.cache_clear()
    yield
    segmenters.segmenter.cache_clear()


def load(monkeypatch: pytest.MonkeyPatch, target: object) -> segmenters.Segmenter:
    monkeypatch.setenv(segmenters.VARIABLE, f"mine={target}")
    return segmenters.segmenter("mine", "cpu")


# -- naming them


def test_segmenters_in_python_are_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("of_mine")
    module.dark = lambda image, where: image.pixels < 10  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "of_mine", module)
    monkeypatch.setenv(segmenters.VARIABLE, " dark = of_mine:dark ; other=/models/other")
    assert {"dark", "other", "lung", "region"} <= set(segmenters.available())
    found = segmenters.segmenter("dark", "cpu")(Image(pixels=np.arange(20).reshape(4, 5)), Where())
    assert found.sum() == 10
    with pytest.raises(ValueError, match="the segmenter other is not to be found"):
        segmenters.segmenter("other", "cpu")


@pytest.mark.parametrize("text", ["spleen", "=x", "Spleen=x", "lung=x", "a=x;a=y", "a="])
def test_a_wrong_environment_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(segmenters.VARIABLE, text)
    with pytest.raises(ValueError, match=segmenters.VARIABLE):
        segmenters.available()


def test_names_of_the_environment_are_choices_of_the_tools(tmp_path: Path) -> None:
    import os
    import subprocess

    code = "import medvistagym_segment as m; print(m.Segment.spec.parameters['properties']['method']['enum'])"
    for text, seen in (("spleen=x", "'spleen'"), ("", "'lung'")):
        ran = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, segmenters.VARIABLE: text}
        )
        assert seen in ran.stdout


# -- MONAI bundles

METADATA = {
    "version": "0.1.0",
    "monai_version": "1.6.1",
    "task": "brighter than a half",
    "network_data_format": {
        "inputs": {"image": {"num_channels": 1, "spatial_shape": [16, 16, 16]}},
        "outputs": {"pred": {"num_channels": 2, "channel_def": {"0": "background", "1": "bright"}}},
    },
}
CONFIG = {
    "channels": [2],
    "network_def": {
        "_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2],
    },
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            {"_target_": "Spacingd", "keys": "image", "pixdim": [2.0, 2.0, 2.0], "mode": "bilinear"},
            {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -100, "a_max": 300, "b_min": 0, "b_max": 1,
             "clip": True},
        ],
    },
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "sw_batch_size": 1, "overlap": 0.5},
    "postprocessing": {"_target_": "Compose", "transforms": [{"_target_": "Activationsd", "softmax": True}]},
}  # fmt: skip


def changed(config: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    new = json.loads(json.dumps(config))
    *path, last = place.split(".")
    inner: Any = new
    for part in path:
        inner = inner[int(part)] if isinstance(inner, list) else inner[part]
    if value is None:
        del inner[last]
    else:
        inner[int(last) if isinstance(inner, list) else last] = value
    return new


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a bundle: a real network of MONAI, with weights by which a voxel's own value decides."""
    pytest.importorskip("monai")
    from monai.networks import nets

    def written(metadata: Any = METADATA, config: Any = CONFIG, weights: Any = None) -> Path:
        folder = tmp_path / "bundle"
        for name in ("configs", "models"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
        (folder / "configs" / "inference.json").write_text(json.dumps(config))
        if weights is None:
            torch.manual_seed(0)
            options = {k: v for k, v in CONFIG["network_def"].items() if k != "_target_"}  # type: ignore[union-attr]
            weights = {"model": nets.UNet(**options).state_dict()}
        torch.save(weights, folder / "models" / "model.pt")
        return folder

    return written


def volume(**changes: Any) -> Image:
    pixels = np.full((20, 32, 40), -100.0, np.float32)
    pixels[4:14, 6:22, 10:34] = 300
    return Image(pixels=pixels.astype(np.int16), **{"unit": "HU", "spacing": (4.0, 1.0, 1.0), **changes})


def test_a_bundle_is_run_as_monai_would_run_it(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from monai.inferers.utils import sliding_window_inference

    bundle: Any = load(monkeypatch, write())
    image = volume()
    mask = bundle(image, Where())
    assert mask.shape == image.pixels.shape
    assert mask.dtype == bool
    # the same by hand: x to the right and y to the front, 2 mm, values to 0..1
    values = torch.as_tensor(np.ascontiguousarray(image.pixels.T[::-1, ::-1].astype(np.float32)))[None, None]
    scaled = torch.nn.functional.interpolate(values, (20, 16, 40), mode="trilinear")
    scaled = ((scaled + 100) / 400).clamp(0, 1)
    with torch.inference_mode():
        logits: Any = sliding_window_inference(scaled, (16, 16, 16), 1, bundle._network, overlap=0.5)
        labels = logits.argmax(1, keepdim=True).float()
        back = torch.nn.functional.interpolate(labels, values.shape[2:], mode="nearest-exact")[0, 0] > 0.5
    assert np.array_equal(mask, back.numpy()[::-1, ::-1].T)
    assert bundle.metadata["task"] == "brighter than a half"


class Bright(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return torch.cat([0.5 - x, x - 0.5], 1)


@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_what_the_network_sees_comes_back_to_its_place(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, overlap: float
) -> None:
    bundle: Any = load(monkeypatch, write(config=changed(CONFIG, "inferer.overlap", overlap)))
    bundle._network = Bright()
    image = volume(spacing=(4.0, 2.0, 2.0))
    mask = bundle(image, Where())
    truth = image.pixels > 0
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.97


def test_only_what_matters_must_be_literal(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from monai.inferers.utils import sliding_window_inference

    steps = [*CONFIG["preprocessing"]["transforms"], {"_target_": "EnsureTyped", "keys": "image", "device": "@device"}]  # type: ignore[index]
    config = changed(CONFIG, "preprocessing.transforms", steps)
    config["device"] = "$torch.device('cpu')"
    config["inferer"] |= {"mode": "gaussian", "sw_device": "@device"}
    bundle: Any = load(monkeypatch, write(config=config))
    x = torch.rand(1, 1, 20, 24, 28)
    with torch.inference_mode():
        wanted: Any = sliding_window_inference(x, (16, 16, 16), 1, bundle._network, overlap=0.5, mode="gaussian")
        assert torch.equal(bundle._logits(x), wanted)


@pytest.mark.parametrize(
    ("file", "place", "value", "says"),
    [
        ("metadata", "version", None, "has no version"),
        ("metadata", "network_data_format.inputs", {}, "one input"),
        ("metadata", "network_data_format.inputs.image.num_channels", 4, "4 channels"),
        ("config", "network_def._target_", "os.system", "monai.networks.nets are taken"),
        ("config", "network_def._target_", "monai.networks.nets.os", "monai.networks.nets are taken"),
        ("config", "network_def.channels", "$__import__('os').getcwd()", "never done"),
        ("config", "network_def.channels", "@nowhere", "which is not there"),
        ("config", "network_def.channels", "@network_def", "refers to itself"),
        ("config", "network_def.channels", [6, 6], "do not fit"),
        ("config", "network_def.norm", "what", "cannot be made"),
        ("config", "preprocessing.transforms.0", {"_target_": "Lambdad", "keys": "image"}, "Lambdad"),
        ("config", "preprocessing.transforms.2.axcodes", "PIL", "PIL"),
        ("config", "preprocessing.transforms.3.pixdim", "$[1, 1, 1]", "never done"),
        ("config", "inferer._target_", "SaliencyInferer", "SaliencyInferer"),
        ("config", "inferer", "$@my_inferer", "not written out"),
    ],
)
def test_bundles_that_are_refused(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, file: str, place: str, value: Any, says: str
) -> None:
    given = {"metadata": METADATA, "config": CONFIG}
    given[file] = changed(given[file], place, value)
    with pytest.raises(ValueError, match=f"the bundle bundle cannot be used: .*{says}"):
        load(monkeypatch, write(**given))


class Harm:
    def __reduce__(self) -> Any:
        return pytest.fail, ("the file of weights was run",)


def test_weights_are_never_unpickled_as_code(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write()
    (folder / "models" / "model.pt").write_bytes(pickle.dumps({"model": Harm()}))
    with pytest.raises(ValueError, match="not a file of plain weights"):
        load(monkeypatch, folder)
    (folder / "models" / "model.pt").unlink()
    with pytest.raises(ValueError, match=r"no models/model\.pt"):
        load(monkeypatch, folder)


def test_images_that_a_bundle_cannot_take(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load(monkeypatch, write())
    with pytest.raises(ValueError, match="needs a volume"):
        bundle(Image(pixels=np.zeros((8, 8), np.int16)), Where())
    with pytest.raises(ValueError, match="spacing is known"):
        bundle(volume(spacing=None), Where())
    with pytest.raises(ValueError, match="too large"):
        bundle(volume(spacing=(900.0, 900.0, 900.0)), Where())


# -- the SAM family


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
    "where", [Where(point=(30, 20)), Where(box=(5, 5, 40, 30)), Where(point=(30, 20), box=(5, 5, 40, 30))]
)
def test_a_sam_is_pointed_at_what_it_segments(sam: Path, monkeypatch: pytest.MonkeyPatch, where: Where) -> None:
    model = load(monkeypatch, sam)
    mask = model(picture(), where)
    assert mask.shape == (40, 60)
    assert mask.dtype == bool
    assert np.array_equal(mask, model(picture(), where))
    stack = Image(
        pixels=np.stack([picture().pixels] * 3), unit="HU", window=Window(0, 400), spacing=(2.0, 1.0, 1.0), frame=2
    )
    whole = model(stack, where)
    assert np.array_equal(whole[2], mask)
    assert not whole[:2].any()


def test_a_sam_is_run_as_its_processor_says(sam: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    mask = load(monkeypatch, sam)(picture(), Where(box=(5, 5, 40, 30)))
    processor = transformers.SamProcessor.from_pretrained(sam)
    model = transformers.SamModel.from_pretrained(sam).eval()
    shown = np.repeat(picture().view()[..., None], 3, -1)
    inputs = processor(images=shown, input_boxes=[[[5.0, 5.0, 40.0, 30.0]]], return_tensors="pt")
    with torch.inference_mode():
        masks = model(**inputs, multimask_output=False).pred_masks
    (wanted,) = processor.post_process_masks(masks, inputs["original_sizes"], inputs["reshaped_input_sizes"])
    assert np.array_equal(mask, np.asarray(wanted).reshape(40, 60))


def test_a_sam_that_cannot_be_used(sam: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a point"):
        load(monkeypatch, sam)(picture(), Where())
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    segmenters.segmenter.cache_clear()
    with pytest.raises(ValueError, match="of type 'bert'"):
        load(monkeypatch, tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "sam"}')
    with pytest.raises(ValueError, match="cannot be loaded"):
        load(monkeypatch, tmp_path)
