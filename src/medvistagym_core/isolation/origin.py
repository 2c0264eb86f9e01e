"""Where another process finds a tool: the module it is defined in, or that module's file."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import pickle
import sys
from collections.abc import Iterable
from typing import Final, NamedTuple

from medvistagym_core.tool import Tool

_MAIN: Final = "__isolated_main__"


class IsolationError(ValueError):
    """A tool that cannot run in another process; the sentence says why, and what to do."""


class Origin(NamedTuple):
    """A tool as another process can have it.

    Attributes:
        pickled: The tool, by reference where it was made by `@tool`.
        module: The module that defines it.
        file: Its file, when it cannot be imported by its name.
    """

    pickled: bytes
    module: str
    file: str | None


def origins(tools: Iterable[Tool]) -> dict[str, Origin]:
    """The origins of tools by name.

    Raises:
        IsolationError: Some cannot run in another process.
    """
    found: dict[str, Origin] = {}
    faults: list[str] = []
    for tool in tools:
        try:
            found[tool.name] = _origin(tool)
        except IsolationError as error:
            faults.append(f"{tool.name} {error}")
    if faults:
        raise IsolationError(f"not every tool can run in another process: {'; '.join(faults)}")
    return found


def _origin(tool: Tool) -> Origin:
    if "<locals>" in tool.__qualname__:
        raise IsolationError("is defined inside a function; define it at the top of a module")
    try:
        pickled = pickle.dumps(tool, protocol=5)
        pickle.loads(pickled)  # its name may lead to something else
    except Exception as error:  # noqa: BLE001 of whatever the tool is made of
        raise IsolationError(f"cannot be handed over ({type(error).__name__}: {error})") from None
    name = tool.__module__
    if name != "__main__" and importlib.machinery.PathFinder.find_spec(name.partition(".")[0]) is not None:
        return Origin(pickled, name, None)
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        raise IsolationError("is defined in an interactive session; put it into a file")
    if name == "__main__":
        sys.modules[_MAIN] = sys.modules[name]  # so that what a script's tool gives back can be read here
    return Origin(pickled, name, file)


def restored(origin: Origin) -> Tool:
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
