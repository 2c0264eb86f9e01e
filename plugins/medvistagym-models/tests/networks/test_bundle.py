"""A MONAI bundle with random weights is a tool by one entry: labels, call, comparison with MONAI's own run, lock."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medvistagym_core import Image, Registry, Tool, Window
from medvistagym_models import ModelError, read_models
from medvistagym_models.checking import check_model

torch = pytest.importorskip("torch", reason="MONAI runs networks of torch")
Models = Callable[[str], dict[str, Tool]]
Make = Callable[..., Any]
ENTRY = """[outline]
path = "bundle"
task = "semantic-segmentation"
modalities = ["CT"]
description = "Outlines the liver and the spleen in abdominal CT."
"""
NETWORK = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [4, 8], "strides": [2]}
METADATA = {
    "version": "0.1.0",
    "monai_version": "1.6.1",
    "task": "liver and spleen in abdominal CT",
    "network_data_format": {
        "inputs": {"image": {"num_channels": 1, "spatial_shape": [16, 16, 16]}},
        "outputs": {
            "pred": {"num_channels": 3, "channel_def": {"0": "background", "1": "liver", "2": "spleen"}},
        },
    },
}
CONFIG = {
    "network_def": {"_target_": "UNet", **NETWORK},
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            {"_target_": "Spacingd", "keys": "image", "pixdim": [0.5, 0.5, 3.0], "mode": "bilinear"},
            {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -500, "a_max": 1000, "b_min": 0, "b_max": 1,
             "clip": True},
        ],
    },
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "sw_batch_size": 1, "overlap": 0.5},
    "postprocessing": {"_target_": "Compose", "transforms": [{"_target_": "Activationsd", "softmax": True}]},
}  # fmt: skip


@pytest.fixture(scope="module")
def nets() -> Any:
    return pytest.importorskip("monai.networks.nets", reason="a MONAI bundle is run by MONAI")


@pytest.fixture
def bundle(tmp_path: Path, nets: Any) -> Path:
    """The folder of a bundle in the layout of MONAI's model zoo."""
    folder = tmp_path / "bundle"
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    (folder / "configs" / "inference.json").write_text(json.dumps(CONFIG))
    torch.manual_seed(0)
    torch.save({"model": nets.UNet(**NETWORK).state_dict()}, folder / "models" / "model.pt")
    return folder


def test_a_bundle_is_called_as_any_tool_and_gives_what_monai_gives(
    bundle: Path, models: Models, volume: Make, call: Make
) -> None:
    tool = models(ENTRY)["outline"]
    assert "liver, spleen" in tool.spec.description
    scan = volume()
    result = call(tool, scan, label="liver")
    assert result.error is None, result.error
    (mask,) = result.images
    assert mask.pixels.shape == scan.pixels.shape
    assert mask.spacing == scan.spacing
    assert 0 < (mask.pixels > 0).sum() < mask.pixels.size
    findings = {one["label"]: one for one in result.data["findings"]}
    assert findings["liver"]["volume_ml"] == pytest.approx((mask.pixels > 0).sum() * 3.0 * 0.5 * 0.5 / 1000, rel=0.02)
    assert result.text.startswith("liver: ")
    (entry,) = read_models(bundle.parent / "models.toml")
    assert not isinstance(entry, ModelError)
    report = check_model(entry, scan)
    assert report.comparisons
    assert report.same, report.comparisons


@pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning")
@pytest.mark.parametrize("spacing", [(2.7, 0.8, 0.9), (3.0, 1.0, 1.0)])
@pytest.mark.parametrize("post", ["labels", "probabilities", "sigmoid"])
def test_a_bundle_that_resamples_gives_what_its_workflow_gives_of_a_file(
    bundle: Path, models: Models, call: Make, spacing: tuple[float, float, float], post: str
) -> None:
    nibabel: Any = pytest.importorskip("nibabel", reason="MONAI reads NIfTI by nibabel")
    from monai.bundle.config_parser import ConfigParser

    config = json.loads(json.dumps(CONFIG))
    activate = {"_target_": "Activationsd", "keys": "pred", "sigmoid" if post == "sigmoid" else "softmax": True}
    discretize = {"_target_": "AsDiscreted", "keys": "pred", "threshold" if post == "sigmoid" else "argmax": True}
    discretize |= {"threshold": 0.5} if post == "sigmoid" else {}
    invert = {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"}
    invert["nearest_interp"] = post == "labels"
    steps = [activate, discretize, invert] if post == "labels" else [activate, invert, discretize]
    config["postprocessing"] = {"_target_": "Compose", "transforms": steps}
    config["preprocessing"]["transforms"][2]["labels"] = [["L", "R"], ["P", "A"], ["I", "S"]]  # MONAI 1.6 asks for them
    config["preprocessing"]["transforms"][3]["pixdim"] = [1.5, 1.5, 2.0]
    (bundle / "configs" / "inference.json").write_text(json.dumps(config))
    pixels = np.random.default_rng(0).normal(0, 300, (23, 45, 61)).astype(np.int16)  # the hardest to resample alike
    scan = Image(pixels=pixels, unit="HU", modality="CT", spacing=spacing, window=Window(0, 1000))
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])  # of DICOM's axes in those of NIfTI
    nibabel.save(nibabel.Nifti1Image(pixels.T, affine), bundle.parent / "scan.nii.gz")

    parser = ConfigParser(config)
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True)["model"])
    data = parser.get_parsed_content("preprocessing")({"image": str(bundle.parent / "scan.nii.gz")})
    with torch.inference_mode():
        data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], network)[0]
    pred = np.asarray(parser.get_parsed_content("postprocessing")(data)["pred"])
    for channel, label in ((1, "liver"), (2, "spleen")):
        result = call(models(ENTRY)["outline"], scan, label=label)
        assert result.error is None, result.error
        theirs = pred[channel] > 0.5 if post == "sigmoid" else pred[0] == channel
        assert 0.05 < theirs.mean() < 0.95
        assert np.mean((result.images[0].pixels > 0) != theirs.T) <= 0.001


def test_the_lock_and_a_wrong_file_of_a_bundle(bundle: Path, nets: Any, models: Models, refused: Make) -> None:
    def lock() -> object:
        registry = Registry()
        registry.add_tool(models(ENTRY)["outline"], "models")
        return registry.toolbox().lock()

    before = lock()
    torch.save({"model": nets.UNet(**NETWORK).state_dict()}, bundle / "models" / "model.pt")
    assert lock() != before
    metadata = json.loads(json.dumps(METADATA))
    del metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata))
    assert "bundle/configs/metadata.json has no channel_def, which names its labels" in refused(ENTRY)
