"""Models in TorchScript and ONNX files, whose entry says what they are given."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medvistagym_core import Image, Tool
from medvistagym_models import ModelError, read_models
from medvistagym_models.checking import check_model

torch = pytest.importorskip("torch", reason="TorchScript is torch's")
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.* is deprecated:DeprecationWarning")
Models = Callable[[str], dict[str, Tool]]
Make = Callable[..., Any]
ENTRY = '[look]\npath = "net.pt"\ntask = "{}"\ndescription = "Looks at films."\n{}\n'
INPUT = "input = {size = 32, channels = 1, mean = 0.5, std = 0.25}"


class Brightest(torch.nn.Module):
    """The brightest of 4 x 4 fields as a box, its value as a probability: a detector whose answer is known."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        fields = torch.nn.functional.avg_pool2d(x, 8).flatten(1)
        value, at = fields.max(1)
        left, top = (at % 4) * 8.0, torch.div(at, 4, rounding_mode="floor") * 8.0
        boxes = torch.stack([left, top, left + 8.0, top + 8.0], 1)[:, None]
        return boxes, torch.sigmoid(value)[:, None], torch.ones_like(at)[:, None]


class Bright(torch.nn.Module):
    """What is brighter than the middle: a segmenter whose answer is known."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 20 * x


@pytest.fixture
def script(tmp_path: Path) -> Callable[[torch.nn.Module], None]:
    """A function that saves a module as net.pt."""
    return lambda module: torch.jit.script(module).save(str(tmp_path / "net.pt"))


def spot(shape: tuple[int, int] = (64, 96)) -> Image:
    pixels = np.zeros(shape, np.uint8)
    pixels[16:32, 48:72] = 255  # the field in the second row and the third column
    return Image(pixels=pixels, modality="DX", spacing=(1.0, 0.5))


def test_a_detector_finds_what_is_bright(script: Make, models: Models, call: Make) -> None:
    script(Brightest())
    tool = models(ENTRY.format("object-detection", f'labels = {{1 = "spot"}}\n{INPUT}'))["look"]
    result = call(tool, spot())
    (found,) = result.data["findings"]
    assert found["source_box"] == [48.0, 16.0, 72.0, 32.0]
    assert found["box"] == [500, 250, 750, 500]
    assert found["size_mm"] == [12.0, 16.0]
    assert result.text.startswith("spot (1): [500, 250, 750, 500] 0.8")


def test_a_segmenter_outlines_what_is_bright(script: Make, models: Models, call: Make) -> None:
    script(Bright())
    tool = models(ENTRY.format("semantic-segmentation", f'labels = {{0 = "spot"}}\n{INPUT}'))["look"]
    result = call(tool, spot())
    (mask,) = result.images
    assert (mask.pixels > 0).sum() == pytest.approx(16 * 24, rel=0.1)
    assert result.text.startswith("spot: ")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (INPUT, "labels are missing: net does not name its classes; add labels"),
        (f'labels = {{3 = "spot"}}\n{INPUT}', "labels names class 3, and the model gives 1 class, 0 to 0"),
        ('labels = {0 = "spot"}', "input is missing: net.pt does not say what it is given"),
    ],
)
def test_what_an_entry_leaves_out_is_asked_for(
    script: Make, models: Models, call: Make, settings: str, sentence: str
) -> None:
    script(Bright())
    try:
        said = call(models(ENTRY.format("semantic-segmentation", settings))["look"], spot()).error.message
    except ModelError as error:
        said = str(error)
    assert sentence in said


def test_an_onnx_file_finds_text_as_its_own_plain_loop_does(tmp_path: Path, models: Models, call: Make) -> None:
    pytest.importorskip("onnxruntime", reason="an ONNX file is run by ONNX Runtime")
    pytest.importorskip("rapidocr", reason="the network is one that rapidocr holds")
    import PIL.Image
    import PIL.ImageDraw
    import PIL.ImageFont

    network = Path(str(distribution("rapidocr").locate_file("rapidocr"))) / "models" / "PP-OCRv6_det_small.onnx"
    (tmp_path / "text.onnx").symlink_to(network)
    settings = 'labels = {0 = "text"}\nactivation = "none"\ninput = {size = [192, 288], mean = 0.5, std = 0.5}'
    text = ENTRY.replace("net.pt", "text.onnx").format("semantic-segmentation", settings)
    canvas = PIL.Image.new("L", (480, 320), 20)
    PIL.ImageDraw.Draw(canvas).text((60, 40), "LEFT KIDNEY", 255, PIL.ImageFont.load_default(32))
    image = Image(pixels=np.asarray(canvas), modality="US")
    result = call(models(text)["look"], image)
    (mask,) = result.images
    rows, columns = np.nonzero(mask.pixels)
    assert 35 < rows.min() < rows.max() < 90
    assert 50 < columns.min() < columns.max() < 300
    (entry,) = read_models(tmp_path / "models.toml")
    assert not isinstance(entry, Exception)
    report = check_model(entry, image)
    assert report.comparisons
    assert report.same
    wrong = text.replace("mean = 0.5, std = 0.5", "channels = 1")
    assert "the model takes 3 channels, and input.channels is 1" in call(models(wrong)["look"], image).error.message
