"""Each specialist: what it says of itself, what it refuses, and a call of it end to end.

Those whose packages clash with others run in environments of their own (`conftest.py`). Weights that cannot be had are made
up at random, in the package's own classes and in the real layout of files.
"""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medvistagym_core as mv
from medvistagym_core import Image, ImageStore, LocalExecutor, Registry, ToolCall, ToolResult, Window
from medvistagym_core.cli import main
from medvistagym_core.imaging import write_image
from medvistagym_models import ModelEntry, ModelError, load_adapters, load_tools
from medvistagym_models.checking import phantom

Run = Callable[..., ToolResult]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A function that calls the tool of a specialist with an image, as a policy does."""

    def call(adapter: str, image: Image, entry: str = "", **arguments: Any) -> ToolResult:
        file = tmp_path / "models.toml"
        file.write_text(f'[it]\nadapter = "{adapter}"\ntimeout_s = 900\n{entry}\n')
        (tool,) = load_tools(file)
        if isinstance(tool, ModelError):
            raise tool
        registry = Registry()
        registry.add_tool(tool, "models")
        with LocalExecutor(registry.toolbox()) as executor:
            ((result,),) = executor.run(
                [(ImageStore([image]), [ToolCall(name="it", arguments={"image": 0, **arguments})])]
            )
        return result

    return call


@pytest.fixture
def weights(tmp_path: Path, interpreter_of: Callable[[str], Path]) -> Callable[[str], str]:
    """A function that makes up a specialist's weights and gives the lines of an entry that name them."""

    def make(adapter: str, kind: str = "") -> str:
        python, script = interpreter_of(adapter), Path(__file__).with_name("random_weights.py")
        subprocess.run(
            [python, "-W", "ignore", script, kind or adapter, tmp_path / "w"], check=True, capture_output=True
        )
        return f'path = "w"\npython = "{python}"'

    return make


@pytest.mark.parametrize("name", sorted(load_adapters()))
def test_a_specialist_says_how_to_get_it(name: str) -> None:
    one = load_adapters()[name]
    assert not isinstance(one, Exception), one
    assert one.licence
    assert "Not " in one.description or "says nothing" in one.description or "not " in one.description
    assert "pip install 'medvistagym-specialists[" in one.install
    entry = tomllib.loads(one.fetch[one.fetch.index("\n[") if "\n[" in one.fetch else 0 :])
    ((tool, settings),) = entry.items()
    ModelEntry.model_validate({**settings, "name": tool})
    assert settings["adapter"] == name
    assert ("path" in settings) == one.needs_path


def test_text_burned_into_a_picture_is_found(run: Run) -> None:
    import PIL.Image
    import PIL.ImageDraw
    import PIL.ImageFont

    canvas = PIL.Image.new("L", (480, 320), 20)
    PIL.ImageDraw.Draw(canvas).text((60, 40), "LEFT KIDNEY 12 cm", 255, PIL.ImageFont.load_default(28))
    result = run("rapidocr", Image(pixels=np.asarray(canvas), modality="US"))
    assert result.error is None
    (found,) = result.data["findings"]  # type: ignore[index]
    x0, y0, x1, y1 = found["source_box"]
    assert x0 < 70
    assert x1 > 270
    assert y0 < 60 < y1 < 90
    assert found["probability"] > 0.6
    assert result.text.startswith("text (1): [")


def test_a_package_that_is_missing_is_named_with_the_command_that_installs_it(tmp_path: Path, run: Run) -> None:
    pytest.importorskip("medvistagym_specialists")
    (tmp_path / "unet_r231-d5d2fc3d.pth").write_bytes(b"")
    result = run("lungmask", phantom(["CT"], volume=True), f'path = "{tmp_path}"')
    assert result.error is not None
    assert "only a file of plain tensors is loaded" in result.error.message
    result = run("lungs_finder", phantom(["DX"]))
    assert result.error is not None
    assert "pip install 'medvistagym-specialists[lungsfinder]'" in result.error.message


@pytest.mark.parametrize(
    ("adapter", "files", "sentence"),
    [
        ("totalsegmentator", {}, "has no Dataset297_*/nnUNetTrainer*__nnUNetPlans__3d_fullres, which total at speed fast"),
        ("hdbet", {"plans.json": "{}"}, "has no dataset.json"),
        ("lungmask", {"other.pth": ""}, "has no unet_r231-d5d2fc3d.pth nor "),
        ("torchxrayvision", {"densenet121-res224-all.pt": ""}, "has no densenet121-res224-all.safetensors nor"),
    ],
)  # fmt: skip
def test_a_folder_of_another_layout_is_told(
    tmp_path: Path, run: Run, adapter: str, files: dict[str, str], sentence: str
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(content)
    with pytest.raises(ModelError, match=sentence.replace("*", r"\*")):
        run(adapter, phantom(["CT"], volume=True), 'path = "weights"')


def test_a_plan_that_names_a_foreign_network_is_refused(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "weights"
    (folder / "fold_all").mkdir(parents=True)
    (folder / "fold_all" / "checkpoint_final.pth").write_bytes(b"")
    (folder / "dataset.json").write_text("{}")
    plans = {"configurations": {"3d_fullres": {"architecture": {"network_class_name": "os.system"}}}}
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(
        ModelError, match=r"names the network os\.system; those of dynamic_network_architectures are taken"
    ):
        run("hdbet", phantom(["MR"], volume=True), 'path = "weights"')


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:DeprecationWarning")
def test_deepbet_finds_the_brain_of_ch2(run: Run) -> None:
    nibabel = pytest.importorskip("nibabel", reason="ch2 is a NIfTI file, read by nibabel")
    folder = Path(os.environ.get("MEDVISTAGYM_CH2", "/usr/share/mricron/templates"))
    if not (folder / "ch2bet.nii.gz").is_file():
        pytest.skip(
            f"{folder} has no ch2bet.nii.gz: apt-get install mricron-data, or name its folder in MEDVISTAGYM_CH2"
        )
    head, brain = (_slices(nibabel.load(folder / f"{name}.nii.gz")) for name in ("ch2", "ch2bet"))
    image = Image(pixels=head, unit="raw", modality="MR", spacing=(1.0, 1.0, 1.0), window=Window(60, 120))
    result = run("deepbet", image)
    assert result.error is None
    (mask,) = result.images
    found = mask.pixels > 0
    dice = 2 * (found & (brain > 0)).sum() / (found.sum() + (brain > 0).sum())
    assert dice >= 0.93
    assert result.text.startswith("brain: ")


def _slices(image: Any) -> np.ndarray:
    """Axial slices from feet to head, rows from front to back, columns to the patient's left."""
    import nibabel

    values = np.asarray(nibabel.as_closest_canonical(image).dataobj).squeeze()
    return np.ascontiguousarray(values.transpose(2, 1, 0)[:, ::-1, ::-1])


@pytest.mark.slow
def test_lungs_are_found_on_a_chest_film(run: Run, interpreter_of: Callable[[str], Path]) -> None:
    data = pytest.importorskip("pydicom.data", reason="the film is a file of pydicom-data")
    from medvistagym_dicom import read_one

    film = read_one(data.get_testdata_file("RG1_UNCR.dcm"))
    result = run("lungs_finder", film, f'python = "{interpreter_of("lungs_finder")}"')
    assert result.error is None
    found = {one["label"]: one["box"] for one in result.data["findings"]}  # type: ignore[index]
    assert set(found) == {"right lung", "left lung"}
    right, left = found["right lung"], found["left lung"]
    assert right[0] < left[0]  # the patient's right is the picture's left
    assert 200 < right[3] - right[1] < 900


@pytest.mark.slow
@pytest.mark.parametrize(
    "adapter", ["torchxrayvision", "torchxrayvision_anatomy", "hdbet", "totalsegmentator", "lungmask"]
)
def test_a_package_of_its_own_environment_runs_end_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], weights: Callable[[str], str], adapter: str
) -> None:
    if adapter.startswith("torchxrayvision"):
        image = phantom(["DX"])
    else:
        image = phantom(["MR" if adapter == "hdbet" else "CT"], volume=True)
        image = image.replace(pixels=image.pixels[16:24, ::4, ::4], spacing=(3.0, 6.0, 6.0))
    write_image(image, tmp_path / "scan.nrrd", Registry.discover("files").writers)
    more = 'options = {task = "total", speed = "fastest"}' if adapter == "totalsegmentator" else ""
    models = tmp_path / "models.toml"
    models.write_text(f'[it]\nadapter = "{adapter}"\ntimeout_s = 900\n{weights(adapter)}\n{more}\n')
    out = [] if adapter == "torchxrayvision" else ["--out", str(tmp_path / "mask.nrrd")]
    command = ["tools", "call", "it", "--models", str(models), "--image", str(tmp_path / "scan.nrrd"), *out]
    assert main(command) == 0, capsys.readouterr().err
    assert "By the model w" in capsys.readouterr().out
    if out and (tmp_path / "mask.nrrd").exists():
        mask = mv.open(tmp_path / "mask.nrrd")
        assert mask.pixels.shape == image.pixels.shape
        assert mask.pixels.any()


@pytest.mark.slow
def test_a_pickle_that_names_a_function_is_refused(run: Run, weights: Callable[..., str]) -> None:
    entry = weights("lungmask", "lungmask_pickle")
    result = run("lungmask", phantom(["CT"], volume=True), entry)
    assert result.error is not None
    assert "only a file of plain tensors is loaded" in result.error.message
