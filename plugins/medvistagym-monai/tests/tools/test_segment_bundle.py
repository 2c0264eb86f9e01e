"""`segment_bundle`, on small bundles in the format they come in, whose networks are real and whose weights are set by hand."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import Image
from medvistagym_core.testing._call_checks import ToolTrials
from medvistagym_core.testing._sample_images import sample_pictures
from medvistagym_core.tools import Tool, ToolError
from medvistagym_monai import components, fill_holes
from medvistagym_segment import SEGMENTERS_ENV_VAR, crop_to_mask, load_segmenter

torch = pytest.importorskip("torch")

LABELS = {"0": "background", "1": "liver", "2": "stone", "3": "kidney"}


def write(folder: Path, axes: int, *, sigmoid: bool = False, labels: dict[str, str] = LABELS) -> Path:
    """A bundle that knows values: liver from 0 to 400 HU, stone above, and never a kidney."""
    from monai.networks import nets

    options: dict[str, Any] = {
        "spatial_dims": axes, "in_channels": 1, "out_channels": 4, "channels": [2, 2], "strides": [1], "act": "relu",
        "norm": None,
    }  # fmt: skip
    network = nets.UNet(**options)
    state = {name: torch.zeros_like(value) for name, value in network.state_dict().items()}
    center = (1,) * axes
    first, *_, last = sorted(name for name in state if name.endswith("weight") and "model.1" not in name)
    # values come as -1000..1000 HU on 0..1; the logits are straight lines that cross at 0 and 400 HU
    state[first][(0, 0, *center)] = 1
    slopes, offsets = [0.0, 1.0, 2.0, 0.0], [0.0, -0.5, -1.2, -9.0]
    for k, (slope, offset) in enumerate(zip(slopes, offsets, strict=True)):
        state[last][(0, k, *center)] = slope
        state[last.replace("weight", "bias")][k] = offset
    inputs = {"image": {"num_channels": 1, "spatial_shape": [16] * axes}}
    metadata = {
        "version": "1.0",
        "monai_version": "1.6.1",
        "task": "values",
        "network_data_format": {
            "inputs": inputs,
            "outputs": {"pred": {"num_channels": 4, "channel_def": labels}},
        },
    }
    scale = {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -1000, "a_max": 1000, "b_min": 0, "b_max": 1}
    config = {
        "network_def": {"_target_": "monai.networks.nets.UNet", **options},
        "preprocessing": {"_target_": "Compose", "transforms": [{"_target_": "LoadImaged", "keys": "image"}, scale]},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16] * axes, "sw_batch_size": 4, "overlap": 0.25},
        "postprocessing": {"transforms": [{"_target_": "Activationsd", "sigmoid" if sigmoid else "softmax": True}]},
    }
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    torch.save({"model": state}, folder / "models" / "model.pt")
    return folder


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Tool]]:
    """A function that gives the tool as it is where the environment names a bundle."""

    def offer(**options: Any) -> Tool:
        folder = write(tmp_path / "abdomen", **options)
        monkeypatch.setenv(SEGMENTERS_ENV_VAR, f"abdomen={folder}; other=some_module:thing; twin={folder}")
        module = importlib.import_module("medvistagym_monai.tools._segment_bundle")
        tool: Tool = importlib.reload(module).SegmentBundle
        return tool

    load_segmenter.cache_clear()
    yield offer
    load_segmenter.cache_clear()


def plane() -> np.ndarray:
    """Air, a liver of 20 x 30 pixels with a hole of 4 x 4 and a speck of it apart, a stone of 3 x 3 beside it."""
    pixels = np.full((48, 64), -900, np.int16)
    pixels[10:30, 12:42] = 100
    pixels[14:18, 20:24] = -500
    pixels[40, 60] = 100
    pixels[20:23, 46:49] = 800
    return pixels


def run(tool: Tool, image: Image, label: str | None = None) -> Any:
    return tool.run({"image": image, "bundle": "abdomen", "label": label})


def test_every_label_is_measured(offered: Callable[..., Tool]) -> None:
    tool = offered(axes=2)
    assert tool.spec.parameters["properties"]["bundle"]["enum"] == ["abdomen", "twin"]
    image = Image(pixels=plane(), unit="HU", spacing=(1.0, 2.0)).crop(2, 4, 64, 48)
    result = run(tool, image)
    assert result.ok, result.error
    liver, stone = result.data["labels"]
    assert (liver["label"], liver["area_mm2"]) == ("liver", (600 - 16 + 1) * 2)
    assert (stone["label"], stone["area_mm2"]) == ("stone", 18)
    assert stone["box"] == [44 * 1000 // 62, 16 * 1000 // 44, -(-47 * 1000 // 62), -(-19 * 1000 // 44)]
    assert result.data["not_found"] == ["kidney"]
    assert result.text.startswith("liver: 1170 mm2")
    assert result.text.endswith("\nnot found: kidney")
    assert np.array_equal(result.images[0].pixels, image.pixels > 0)
    assert result.images[0].to_source == image.to_source
    only = run(tool, image, "Stone").images[0]
    assert np.array_equal(only.pixels, image.pixels > 400)


def test_a_volume_from_the_network_to_the_crop(offered: Callable[..., Tool]) -> None:
    volume = np.full((20, 48, 64), -900, np.int16)
    volume[6:14] = plane()
    image = Image(pixels=volume, unit="HU", spacing=(5.0, 1.0, 2.0))
    result = run(offered(axes=3), image, "liver")
    assert result.data["labels"][0]["volume_ml"] == pytest.approx(585 * 8 * 10 / 1000)
    assert result.data["labels"][0]["slices"] == [6, 13]
    filled, _, _ = fill_holes(result.images[0])
    kept, _, data = components(filled)
    assert data["volume_ml"] == pytest.approx(600 * 8 * 10 / 1000)
    part, _ = crop_to_mask(image, kept, margin_mm=0.0)
    assert np.array_equal(part.pixels, volume[6:14, 10:30, 12:42])


def test_channels_that_are_thresholded_each_for_itself_may_overlap(offered: Callable[..., Tool]) -> None:
    tool = offered(axes=2, sigmoid=True, labels={"0": "nothing", "1": "above 0", "2": "above 200"})
    result = run(tool, Image(pixels=plane(), unit="HU", spacing=(1.0, 1.0)))
    sizes = {one["label"]: one["area_mm2"] for one in result.data["labels"]}
    assert sizes == {"above 0": 594, "above 200": 9}
    assert result.data["not_found"] == ["nothing", "label 3"]
    assert result.data["area_mm2"] == 594


def test_refusals_say_what_would_be_taken(offered: Callable[..., Tool]) -> None:
    tool = offered(axes=2)
    image = Image(pixels=plane(), unit="HU")
    for label, sentence in (
        ("lever", "did you mean liver"),
        ("xyz", "it knows liver, stone, kidney"),
        ("kidney", "no kidney was found"),
    ):
        error = run(tool, image, label).error
        assert isinstance(error, ToolError)
        assert (error.code, sentence in error.message) == ("bad_value", True), error
    air = run(tool, image.replace(pixels=np.full((20, 20), -900, np.int16))).error
    assert "no liver or stone or kidney was found" in str(air)
    volume = run(tool, Image(pixels=np.zeros((4, 8, 8), np.int16), spacing=(1.0, 1.0, 1.0))).error
    assert "needs a single frame" in str(volume)
    nan = run(tool, Image(pixels=np.full((8, 8), np.nan, np.float32))).error
    assert "64 of 64 pixels have no value" in str(nan)


@pytest.mark.parametrize("prefers_batches", [False, True])
def test_a_batch_is_its_calls(offered: Callable[..., Tool], prefers_batches: bool) -> None:
    tool = offered(axes=2)
    image = Image(pixels=plane(), unit="HU", spacing=(1.0, 1.0))
    images = [
        image,
        image.replace(pixels=plane()[:, ::-1]),
        image.crop(0, 0, 48, 40),
        image.resized(24, 32),
        image.replace(pixels=np.full(image.shape, np.nan, np.float32)),
        image.replace(pixels=np.full(image.shape, -900, np.int16)),
        Image(pixels=np.zeros((2, *image.shape), np.int16), spacing=(1.0, 1.0, 1.0)),
    ]
    calls = [{"image": each, "bundle": "abdomen", "label": label} for each in images for label in (None, "stone")]
    alone = [tool.run(call) for call in calls]
    assert sum(result.ok for result in alone) == 8
    kernel: Any = tool._batch
    instance: Any = tool._function()
    instance.setup("cpu")
    instance.prefers_batches = prefers_batches  # as on a GPU
    for one, other in zip(alone, kernel(instance, calls), strict=True):
        if one.ok:
            image, text, data = other
            assert (image.digest, text, data) == (one.images[0].digest, one.text, one.data)
        else:
            assert isinstance(other, ValueError)
            assert str(other) in str(one.error)


def test_a_bundle_without_monai_says_what_to_install(
    offered: Callable[..., Tool], monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = offered(axes=2)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "monai" else find_spec(name, *rest)
    )
    error = run(tool, Image(pixels=plane(), unit="HU")).error
    assert "pip install 'medvistagym-segment[bundle]'" in str(error)


def test_the_tool_conforms(offered: Callable[..., Tool]) -> None:
    """The kit's own checks; as a whole it looks at what is offered without a bundle."""
    tool = offered(axes=2)
    trial = ToolTrials(
        tool, lambda doing, limit_s: None, examples=4, limit_s=30.0, pictures=sample_pictures(tool.spec.modalities, {})
    )
    findings = {
        "calls": trial.valid_calls(),
        **{kind: trial.judge_faults(kind) for kind in ("input", "output", "lineage")},
        "repeated": trial.repeated(),
        "batch": trial.batch_equals_loop(),
    }
    assert {name: finding.status for name, finding in findings.items()} == dict.fromkeys(findings, "PASS"), findings


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_a_gpu_finds_the_same(offered: Callable[..., Tool]) -> None:
    tool = offered(axes=2)
    image = Image(pixels=plane(), unit="HU", spacing=(1.0, 1.0))
    cpu = run(tool, image)
    instance: Any = tool._function()
    instance.setup("cuda")
    (one,), (two, _) = (
        tool._batch(instance, [{"image": image, "bundle": "abdomen", "label": None}] * n) for n in (1, 2)
    )  # type: ignore[misc]
    assert one[0].digest == two[0].digest == cpu.images[0].digest
