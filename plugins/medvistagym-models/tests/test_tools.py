"""A model of one entry is an ordinary tool: schema, call, batch, sentence, lineage and lock."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from medvistagym_core import Image, ImageStore, LocalExecutor, Registry, Tool, ToolCall
from medvistagym_core.cli import main
from medvistagym_models import read_models
from medvistagym_models.checking import check_model

Models = Callable[[str], dict[str, Tool]]
Make = Callable[..., Any]
TASKS = (
    "image-classification", "object-detection", "semantic-segmentation", "instance-segmentation", "promptable-segmentation",
    "embedding",
)  # fmt: skip
ARGUMENTS = {
    "object-detection": {"threshold": 0.3},
    "instance-segmentation": {"threshold": 0.1},
    "promptable-segmentation": {"box": [200, 200, 800, 800], "points": [[500, 500]]},
}


def entry(task: str, **settings: str) -> str:
    more = "\n".join(f"{name} = {value}" for name, value in settings.items())
    return f'[look]\npath = "model"\ntask = "{task}"\ndescription = "Looks at films. Not for CT."\n{more}\n'


@pytest.mark.parametrize("task", TASKS)
def test_a_folder_of_transformers_gives_what_its_own_pipeline_gives(
    task: str, tmp_path: Path, save: Make, film: Make
) -> None:
    save(task, tmp_path / "model")
    (tmp_path / "models.toml").write_text(entry(task, threshold="0.1"))
    (one,) = read_models(tmp_path / "models.toml")
    assert not isinstance(one, Exception)
    report = check_model(one, film())
    assert report.comparisons
    assert report.same, report.comparisons
    assert "By the model model" in report.text
    # A larger batch is left out where the one before it lets expect that it takes too long.
    assert [timing.images for timing in report.timings] in ([1], [1, 8], [1, 8, 64])


@pytest.mark.parametrize("task", TASKS)
def test_calls_of_many_episodes_give_what_each_alone_gives(
    task: str, tmp_path: Path, models: Models, save: Make, film: Make, call: Make
) -> None:
    save(task, tmp_path / "model")
    tool = models(entry(task))["look"]
    films = [film(seed, (60, 80) if seed % 2 else (50, 50)) for seed in range(5)]
    registry = Registry()
    registry.add_tool(tool, "models")
    handles: dict[str, object] = {"images": [0]} if task == "embedding" else {"image": 0}
    asked = ToolCall(name="look", arguments={**handles, **ARGUMENTS.get(task, {})})
    with LocalExecutor(registry.toolbox()) as executor:
        together = [results[0] for results in executor.run([(ImageStore([one]), [asked]) for one in films])]
    alone = [call(tool, one, **ARGUMENTS.get(task, {})) for one in films]
    for a, b in zip(together, alone, strict=True):
        assert a.error is None, a.error
        assert a.text == b.text
        assert [image.digest for image in a.images] == [image.digest for image in b.images]


def test_the_schema_follows_from_the_task(tmp_path: Path, models: Models, save: Make, film: Make, call: Make) -> None:
    save("object-detection", tmp_path / "model")
    tool = models(entry("object-detection", threshold="0.4", modalities='["CR", "DX"]'))["look"]
    properties = tool.spec.parameters["properties"]
    assert set(properties) == {"image", "threshold", "labels"}
    assert properties["threshold"]["default"] == 0.4
    assert "Not for CT." in tool.spec.description
    assert "may be wrong" in tool.spec.description
    wrong = call(tool, film(), labels=["lung"])
    assert wrong.error is not None
    assert wrong.error.code == "bad_arguments"
    assert "opacity" in wrong.error.message


def test_boxes_are_given_on_the_grid_in_source_pixels_and_in_millimetres(
    tmp_path: Path, models: Models, save: Make, film: Make, call: Make
) -> None:
    save("object-detection", tmp_path / "model")
    tool = models(entry("object-detection"))["look"]
    whole = film()
    part = whole.crop(20, 10, 60, 50)
    result = call(tool, part, threshold=0.05)
    assert result.data is not None
    for one in result.data["findings"]:
        assert all(0 <= value <= 1000 for value in one["box"])
        width, height = one["size_mm"]
        x0, y0, x1, y1 = one["source_box"]
        assert width == pytest.approx((x1 - x0) * 0.25, abs=0.1)
        assert height == pytest.approx((y1 - y0) * 0.5, abs=0.1)


def test_a_mask_leads_back_to_the_image_it_outlines(
    tmp_path: Path, models: Models, save: Make, film: Make, call: Make
) -> None:
    save("semantic-segmentation", tmp_path / "model")
    tool = models(entry("semantic-segmentation"))["look"]
    result = call(tool, film(), label="nodule")
    (mask,) = result.images
    assert mask.shape == (60, 80)
    assert mask.spacing == (0.5, 0.25)
    assert {one["label"] for one in result.data["findings"]} <= {"clear", "opacity", "nodule"}  # type: ignore[index]


def test_a_structure_is_followed_through_a_volume(
    tmp_path: Path, models: Models, save: Make, film: Make, volume: Make, call: Make
) -> None:
    save("promptable-segmentation", tmp_path / "model")
    tool = models(entry("promptable-segmentation"))["look"]
    result = call(tool, volume(), box=[100, 100, 900, 900], follow=True)
    assert result.error is None
    assert [mask.pixels.shape for mask in result.images] in ([(6, 60, 80)], [])
    single = call(tool, film(), box=[100, 100, 900, 900], follow=True)
    assert single.error is not None
    assert "follow is for volumes" in single.error.message
    nothing = call(tool, film())
    assert nothing.error is not None
    assert "needs a box around the structure, or a point inside it" in nothing.error.message


def test_a_network_that_gives_nan_says_so(tmp_path: Path, models: Models, save: Make, film: Make, call: Make) -> None:
    folder = save("image-classification", tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"] = torch.full_like(weights["classifier.bias"], float("nan"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    result = call(models(entry("image-classification"))["look"], film())
    assert result.error is not None
    assert result.error.code == "tool_failed"
    assert "gave values that are no numbers (NaN)" in result.error.message


def test_memory_that_runs_out_is_told(
    tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch, save: Make, film: Make, call: Make
) -> None:
    save("image-classification", tmp_path / "model")
    tool = models(entry("image-classification"))["look"]

    def fail(*arguments: object, **more: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("transformers.ViTForImageClassification.forward", fail)
    result = call(tool, film())
    assert result.error is not None
    assert "out of memory" in result.error.message


def test_channels_that_do_not_fit_are_named(tmp_path: Path, models: Models, save: Make, film: Make, call: Make) -> None:
    save("image-classification", tmp_path / "model")
    result = call(models(entry("image-classification", input="{size = 32, channels = 1}"))["look"], film())
    assert result.error is not None
    assert "the model takes 3 channels, and input.channels is 1" in result.error.message


def test_the_lock_changes_with_the_weights(tmp_path: Path, models: Models, save: Make) -> None:
    folder = save("image-classification", tmp_path / "model")

    def lock() -> object:
        registry = Registry()
        registry.add_tool(models(entry("image-classification"))["look"], "models")
        return registry.toolbox().lock()

    before = lock()
    assert lock() == before
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert lock() != before


def test_the_shell_calls_a_model_by_its_entry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, save: Make, film: Make
) -> None:
    save("image-classification", tmp_path / "model")
    (tmp_path / "models.toml").write_text(entry("image-classification"))
    picture = tmp_path / "film.png"
    film().save(picture)
    monkeypatch.chdir(tmp_path)
    assert main(["tools", "call", "look", "--models", "models.toml", "--image", "film.png"]) == 0
    assert "By the model model, one of these excludes the others." in capsys.readouterr().out
    assert main(["models", "check", "look", "--models", "models.toml", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["same"] is True
    assert main(["models", "list", "--models", "models.toml"]) == 0
    assert "look" in capsys.readouterr().out
    assert main(["models", "check", "lock", "--models", "models.toml"]) == 2
    assert "has no model 'lock'; did you mean look?" in capsys.readouterr().err


def test_colours_and_greys_are_both_taken(tmp_path: Path, models: Models, save: Make, call: Make) -> None:
    save("image-classification", tmp_path / "model")
    tool = models(entry("image-classification"))["look"]
    colour = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    assert call(tool, Image(pixels=colour, photometric="RGB", modality="US")).error is None
