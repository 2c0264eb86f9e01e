"""MONAI bundles: a small one made here, in the format that real ones come in."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import Image, SegmentationPrompt, Segmenter

torch = pytest.importorskip("torch")

Load = Callable[[object], Segmenter]

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


@pytest.fixture(scope="module", autouse=True)
def monai() -> None:
    pytest.importorskip("monai")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a bundle: a real network of MONAI, with weights by which a voxel's own value decides."""
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


def sample(values: np.ndarray, places: list[np.ndarray], *, linear: bool) -> np.ndarray:
    """Values between voxels, by linear interpolation along each axis or of the nearest voxel; the last repeats outside."""
    for axis, place in enumerate(places):
        place = np.clip(place, 0, values.shape[axis] - 1)
        before = np.floor(place).astype(int) if linear else np.rint(place).astype(int)
        after = np.minimum(before + 1, values.shape[axis] - 1)
        share = (place - before if linear else np.zeros(len(place))).reshape([-1 if k == axis else 1 for k in range(3)])
        values = values.take(before, axis) * (1 - share) + values.take(after, axis) * share
    return values


@pytest.mark.parametrize("probabilities", [False, True])
def test_a_bundle_is_run_as_monai_would_run_it(write: Callable[..., Path], load: Load, probabilities: bool) -> None:
    from monai.inferers.utils import sliding_window_inference

    invert = {"_target_": "Invertd", "keys": "pred", "nearest_interp": not probabilities}
    steps = [{"_target_": "Activationsd", "softmax": True}, invert, {"_target_": "AsDiscreted", "argmax": True}]
    bundle: Any = load(write(config=changed(CONFIG, "postprocessing.transforms", steps)))
    image = volume(spacing=(4.0, 1.13, 0.87))
    mask = bundle.segment(image, SegmentationPrompt())
    assert mask.shape == image.pixels.shape
    assert mask.dtype == bool
    # the same by hand: x to the right and y to the front, the first voxels on each other, 2 mm, values to 0..1
    values = np.ascontiguousarray(image.pixels.T[::-1, ::-1].astype(np.float64))
    ratios = [0.87 / 2, 1.13 / 2, 4.0 / 2]
    shape = [round((n - 1) * ratio) + 1 for n, ratio in zip(values.shape, ratios, strict=True)]
    resampled = sample(values, [np.arange(n) / ratio for n, ratio in zip(shape, ratios, strict=True)], linear=True)
    scaled = torch.as_tensor((resampled + 100) / 400).clamp(0, 1).float()[None, None]
    with torch.inference_mode():
        logits: Any = sliding_window_inference(scaled, (16, 16, 16), 1, bundle._network, overlap=0.5)
    back = [np.arange(n) * ratio for n, ratio in zip(values.shape, ratios, strict=True)]
    if probabilities:
        bright = sample(logits.softmax(1)[0, 1].double().numpy(), back, linear=True) > 0.5
    else:
        bright = sample(logits.argmax(1)[0].double().numpy(), back, linear=False) > 0.5
    assert 0 < bright.mean() < 1
    assert np.mean(mask != bright[::-1, ::-1].T) < 0.001  # MONAI reckons places in another order
    assert bundle.metadata["task"] == "brighter than a half"


class Bright(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        return torch.cat([0.5 - x, x - 0.5], 1)


@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_what_the_network_sees_comes_back_to_its_place(write: Callable[..., Path], load: Load, overlap: float) -> None:
    bundle: Any = load(write(config=changed(CONFIG, "inferer.overlap", overlap)))
    bundle._network = Bright()
    image = volume(spacing=(4.0, 2.0, 2.0))
    mask = bundle.segment(image, SegmentationPrompt())
    truth = image.pixels > 0
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.97


def test_only_what_matters_must_be_literal(write: Callable[..., Path], load: Load) -> None:
    from monai.inferers.utils import sliding_window_inference

    steps = [*CONFIG["preprocessing"]["transforms"], {"_target_": "EnsureTyped", "keys": "image", "device": "@device"}]  # type: ignore[index]
    config = changed(CONFIG, "preprocessing.transforms", steps)
    config["device"] = "$torch.device('cpu')"
    config["inferer"] |= {"mode": "gaussian", "sw_device": "@device"}
    bundle: Any = load(write(config=config))
    x = torch.rand(1, 1, 20, 24, 28)
    with torch.inference_mode():
        expected: Any = sliding_window_inference(x, (16, 16, 16), 1, bundle._network, overlap=0.5, mode="gaussian")
        assert torch.equal(bundle._predict_logits(x), expected)


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
        ("config", "network_def.norm", ["what", {}], "cannot be made"),
        ("config", "network_def.norm", "https://host.example/w.pt", "single words are taken"),
        ("config", "network_def.norm", ["group", {"num_groups": "../../w.pt"}], "single words are taken"),
        ("config", "network_def.channels", [10**9, 4], "up to 8192"),
        ("config", "network_def.channels", [8000, 8000], "more parameters than its weights"),
        ("config", "network_def.channels", ["@a0", "@a0"], "more than 10000 values"),
        ("config", "network_def.pretrained", True, "the argument pretrained, which is not one of those taken"),
        ("config", "network_def._target_", "FlexibleUNet", "UNet, .* of monai.networks.nets are taken"),
        ("config", "network_def._target_", "HoVerNet", "its network is HoVerNet"),
        ("config", "network_def", ["UNet"], "not in the form"),
        ("config", "inferer.roi_size", "wide", "not in the form"),
        ("config", "preprocessing.transforms.3.pixdim", {"a": 1}, "not in the form"),
        ("config", "preprocessing.transforms.4.dtype", "https://host.example", "numbers and words are taken"),
        ("metadata", "network_data_format.inputs.image", 3, "one input"),
        ("metadata", "network_data_format.inputs.image.spatial_shape", 3, "not in the form"),
        ("config", "preprocessing.transforms.0", {"_target_": "Lambdad", "keys": "image"}, "Lambdad"),
        ("config", "preprocessing.transforms.2.axcodes", "PIL", "PIL"),
        ("config", "preprocessing.transforms.3.pixdim", "$[1, 1, 1]", "never done"),
        ("config", "preprocessing.transforms.3.pixdim", [1.0, 0, 1.0], "positive millimetres are taken"),
        ("config", "preprocessing.transforms.3.mode", 3, "the mode 3; bilinear and nearest are taken"),
        ("config", "inferer._target_", "SaliencyInferer", "SaliencyInferer"),
        ("config", "inferer", "$@my_inferer", "not written out"),
    ],
)
def test_bundles_that_are_refused(
    write: Callable[..., Path], load: Load, file: str, place: str, value: Any, says: str
) -> None:
    given = {"metadata": METADATA, "config": CONFIG}
    given[file] = changed(given[file], place, value)
    given["config"] |= {f"a{k}": [f"@a{k + 1}"] * 10 for k in range(8)} | {"a8": 1}  # each ten of the next
    with pytest.raises(ValueError, match=f"the bundle bundle cannot be used: .*{says}"):
        load(write(**given))


class Harm:
    def __reduce__(self) -> Any:
        return pytest.fail, ("the file of weights was run",)


def test_weights_are_never_unpickled_as_code(write: Callable[..., Path], load: Load) -> None:
    folder = write()
    (folder / "models" / "model.pt").write_bytes(pickle.dumps({"model": Harm()}, protocol=2))
    with pytest.raises(ValueError, match="not a file of plain weights"):
        load(folder)
    for broken in (b"", b"PK\x03\x04", b"\x80\x02}q\x00(", (folder / "configs" / "metadata.json").read_bytes()):
        (folder / "models" / "model.pt").write_bytes(broken)
        with pytest.raises(ValueError, match="not a file of plain weights"):
            load(folder)
    (folder / "models" / "model.pt").unlink()
    with pytest.raises(ValueError, match=r"no models/model\.pt"):
        load(folder)


def test_images_that_a_bundle_cannot_take(write: Callable[..., Path], load: Load) -> None:
    bundle = load(write())
    with pytest.raises(ValueError, match="needs a volume"):
        bundle.segment(Image(pixels=np.zeros((8, 8), np.int16)), SegmentationPrompt())
    with pytest.raises(ValueError, match="spacing is known"):
        bundle.segment(volume(spacing=None), SegmentationPrompt())
    with pytest.raises(ValueError, match="too large"):
        bundle.segment(volume(spacing=(900.0, 900.0, 900.0)), SegmentationPrompt())
