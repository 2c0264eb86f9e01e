"""Where tools are set up."""

import pickle
import sys

import pytest

from medvistagym_core import Image, Registry, tool
from medvistagym_core.tools import device_for_tool, parse_device_map, unavailable_reason


@tool
class Where:
    """Say where it was set up."""

    def setup(self, device: str) -> None:
        self.device = device

    def run(self) -> str:
        """Say where it was set up."""
        return self.device


@tool
class Elsewhere:
    """Say where it was set up, too."""

    def setup(self, device: str) -> None:
        self.device = device

    def run(self) -> str:
        """Say where it was set up, too."""
        return self.device


@pytest.fixture
def registry():
    registry = Registry()
    registry.add_tool(Where)
    registry.add_tool(Elsewhere)
    return registry


@pytest.fixture
def many_devices(monkeypatch):
    monkeypatch.setattr(sys.modules["medvistagym_core.tools._tool"], "unavailable_reason", lambda device: "")


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("cuda", {"*": "cuda"}),
        (" cuda:1 ", {"*": "cuda:1"}),
        ("segment=cuda:0, *=cpu", {"segment": "cuda:0", "*": "cpu"}),
        ("monai:*=mps", {"monai:*": "mps"}),
        ("", {}),
    ],
)
def test_a_placement_is_read_from_text(text, devices):
    assert parse_device_map(text) == devices


@pytest.mark.parametrize("text", ["gpu", "cuda:x", "segment=", "=cpu", "segment=cuda:0,segment=cpu", "cuda:-1"])
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match=r"places nothing|placed twice"):
        parse_device_map(text)


def test_a_name_holds_before_a_pattern_and_the_first_pattern_before_others():
    devices = {"*": "cuda:1", "seg*": "cuda:2", "segment": "cuda:0"}
    assert device_for_tool("segment", "p:segment", devices) == "cuda:0"
    assert device_for_tool("segments", "p:segments", devices) == "cuda:1"
    assert device_for_tool("x", "p:x", {"p:*": "mps"}) == "mps"
    assert device_for_tool("x", "q:x", {"p:*": "mps"}) == "cpu"


def test_each_tool_of_a_toolbox_is_set_up_on_its_device(registry, many_devices):
    plain = registry.toolbox()
    placed = registry.toolbox("where,other=local:elsewhere", devices={"where": "cuda:0", "*": "cuda:1"})
    assert [placed["where"].run({}).text, placed["other"].run({}).text] == ["cuda:0", "cuda:1"]
    assert [tool.run({}).text for tool in plain.values()] == ["cpu", "cpu"]


def test_the_device_is_not_in_the_lock_and_survives_pickling(registry, many_devices):
    placed = registry.toolbox("where", devices={"*": "cuda:3"})
    assert placed.lock() == registry.toolbox("where").lock()
    assert pickle.loads(pickle.dumps(placed["where"])).run({}).text == "cuda:3"


def test_a_device_for_a_tool_that_does_not_exist_is_refused(registry):
    with pytest.raises(ValueError, match="did you mean where"):
        registry.toolbox(devices={"wher": "cuda"})


@pytest.mark.parametrize(
    ("device", "said"),
    [("cuda:99", "there is no device cuda:99 here"), ("cpu:1", "there is no device cpu:1"), ("tpu", "is no device")],
)
def test_a_device_that_is_not_there_is_named_when_it_is_needed(registry, device, said):
    assert said in unavailable_reason(device)
    result = registry.toolbox(devices={"where": device})["where"].run({})
    assert result.error is not None
    assert result.error.code == "tool_failed"
    assert said in result.error.message


def test_an_image_takes_a_tensor_without_a_copy():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    tensor = torch.zeros(8, 8, dtype=torch.int16)
    image = Image(pixels=tensor)
    tensor[3, 4] = 7
    assert image.pixels[3, 4] == 7
    assert not image.pixels.flags.writeable
