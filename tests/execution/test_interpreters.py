"""Tools that run with an interpreter of their own, whose packages clash with those here."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from medvistagym_core import Image, ImageStore, LocalExecutor, ProcessExecutor, Registry, ToolCall
from medvistagym_core.execution import NotImportableToolError

TOOLS = """
import sys
from medvistagym_core import Image, tool

@tool(python={python!r}, deterministic=False)
class Foreign:
    '''Says what a package of another environment says.

    Args:
        image: Any.
    '''

    def setup(self, device: str) -> None:
        import only_there

        self.word = only_there.WORD

    def run(self, image: Image) -> list:
        return [self.word, sys.prefix, image.with_pixels(image.pixels + 1)]

@tool(deterministic=False)
def home(image: Image) -> str:
    '''Says where it runs.

    Args:
        image: Any.
    '''
    return sys.prefix
"""


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has the core, the tools and one package more; the folder of its tools."""
    folder = tmp_path_factory.mktemp("other")
    venv.create(folder / "env", with_pip=False)
    (packages,) = (folder / "env").glob("lib/python*/site-packages")
    (packages / "only_there.py").write_text("WORD = 'there'")
    paths = [folder, sysconfig.get_path("purelib"), *sys.path]
    (packages / "paths.pth").write_text("\n".join(str(Path(path).absolute()) for path in paths))
    python = folder / "env" / "bin" / "python"
    (folder / "tools_of_another.py").write_text(TOOLS.format(python=str(python)))
    return folder


@pytest.fixture
def tools(other: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(other))
    spec = importlib.util.find_spec("tools_of_another")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tools_of_another"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["tools_of_another"]


@pytest.mark.parametrize("make", [LocalExecutor, ProcessExecutor])
def test_a_tool_runs_with_the_interpreter_that_it_names(make: type, tools: ModuleType, other: Path) -> None:
    registry = Registry()
    registry.add_tool(tools.Foreign)
    registry.add_tool(tools.home)
    image = Image(pixels=np.ones((4, 4), np.int16), unit="HU", spacing=(0.5, 0.5))
    store = ImageStore([image])
    calls = [ToolCall(name=name, arguments={"image": 0}) for name in ("foreign", "home", "foreign")]
    with make(registry.toolbox()) as executor:
        ((first, here, again),) = executor.run([(store, calls)])
    assert first.text == again.text == f"there\n{other / 'env'}", first.error
    assert here.text == sys.prefix
    assert store[1].spacing == (0.5, 0.5)
    assert np.array_equal(store[1].pixels, image.pixels + 1)


def test_an_interpreter_that_is_not_there_is_refused_when_the_executor_is_made(tools: ModuleType) -> None:
    registry = Registry()
    registry.add_tool(tools.Foreign.with_metadata(python="envs/none/bin/python"))
    with pytest.raises(
        NotImportableToolError, match=r"foreign runs with the interpreter envs/none/bin/python, which is"
    ):
        LocalExecutor(registry.toolbox())


def test_an_environment_without_the_core_says_what_to_install(tools: ModuleType, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    registry = Registry()
    registry.add_tool(tools.Foreign.with_metadata(python=str(tmp_path / "bare" / "bin" / "python")))
    store = ImageStore([Image(pixels=np.ones((4, 4), np.int16))])
    with LocalExecutor(registry.toolbox()) as executor:
        ((result,),) = executor.run([(store, [ToolCall(name="foreign", arguments={"image": 0})])])
    assert result.error is not None
    assert "needs medvistagym-core" in result.error.message
    assert "and the tool's package (pip install)" in result.error.message
