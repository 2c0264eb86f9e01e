"""Where another process finds a tool: the module it is defined in, or that module's file."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import pickle
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from medvistagym_core.tools import Tool

_MAIN: Final = "__isolated_main__"


class NotImportableToolError(ValueError):
    """A tool that cannot run in another process; the sentence says why, and what to do."""


class ToolReference(NamedTuple):
    """A tool as another process can have it.

    Attributes:
        pickled: The tool, by reference where it was made by `@tool`.
        module: The module that defines it.
        file: Its file, when it cannot be imported by its name.
        python: The interpreter to run it with; None for this one.
    """

    pickled: bytes
    module: str
    file: str | None
    python: str | None = None


def tool_references(tools: Iterable[Tool]) -> dict[str, ToolReference]:
    """The origins of tools by name.

    Raises:
        NotImportableToolError: Some cannot run in another process.
    """
    references: dict[str, ToolReference] = {}
    faults: list[str] = []
    for tool in tools:
        try:
            references[tool.name] = _origin(tool)
        except NotImportableToolError as error:
            faults.append(f"{tool.name} {error}")
    if faults:
        raise NotImportableToolError(f"not every tool can run in another process: {'; '.join(faults)}")
    return references


def _origin(tool: Tool) -> ToolReference:
    return _importable(tool)._replace(python=None if tool.python is None else _interpreter(tool.python))


def _interpreter(python: str) -> str:
    """The interpreter as an absolute path that keeps its links: an environment is told by where its link lies."""
    path = shutil.which(Path(python).expanduser())
    if path is None:
        raise NotImportableToolError(
            f"runs with the interpreter {python}, which is not there; make its environment, for example by "
            f"python -m venv {Path(python).parent.parent}, and install the tool's package in it"
        )
    return str(Path(path).absolute())


def _importable(tool: Tool) -> ToolReference:
    if "<locals>" in tool.__qualname__:
        raise NotImportableToolError("is defined inside a function; define it at the top of a module")
    try:
        pickled = pickle.dumps(tool, protocol=5)
        pickle.loads(pickled)  # its name may lead to something else
    except Exception as error:  # noqa: BLE001 of whatever the tool is made of
        raise NotImportableToolError(f"cannot be handed over ({type(error).__name__}: {error})") from None
    name = tool.__module__
    if name != "__main__" and importlib.machinery.PathFinder.find_spec(name.partition(".")[0]) is not None:
        return ToolReference(pickled, name, None)
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        raise NotImportableToolError("is defined in an interactive session; put it into a file")
    if name == "__main__":
        sys.modules[_MAIN] = sys.modules[name]  # so that what a script's tool gives back can be read here
    return ToolReference(pickled, name, file)


def load_tool(origin: ToolReference) -> Tool:
    """The tool, in another process."""
    if origin.file is not None and (origin.module == "__main__" or origin.module not in sys.modules):
        # A script's main part must not run again, so its file is loaded under another name.
        name = _MAIN if origin.module == "__main__" else origin.module
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, origin.file)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            spec.loader.exec_module(module)
        sys.modules[origin.module] = sys.modules[name]
    tool = pickle.loads(origin.pickled)
    assert isinstance(tool, Tool)
    return tool
