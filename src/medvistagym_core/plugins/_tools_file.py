"""Tools of a Python file, or of the MCP servers that a TOML or JSON file names: tools without a package."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Final

from medvistagym_core.tools import Tool

FILES_VARIABLE: Final = "MEDVISTAGYM_TOOLS_FROM"
"""Files whose tools `Registry.discover` offers too, separated as in PATH: how a command hands them to its processes."""
MCP_MISSING: Final = (
    "this needs medvistagym-mcp, which is not installed: pip install 'medvistagym-core[mcp]', "
    "or from a clone: pip install ./plugins/medvistagym-mcp"
)


class ToolsFileError(ValueError):
    """A file that offers no tools; the sentence says why."""


def load_tools(files: Iterable[Path]) -> list[Tool]:
    """The tools of several files.

    Raises:
        ToolsFileError: A file offers none, or two files offer one of the same name.
    """
    tools: dict[str, tuple[Tool, Path]] = {}
    for file in dict.fromkeys(Path(file).resolve() for file in files):
        for tool in _tools_of_servers(file) if file.suffix in (".toml", ".json") else _tools_of_module(file):
            other = tools.get(tool.id)
            if other is not None:
                raise ToolsFileError(
                    f"{other[1]} and {file} both offer a tool named {tool.name}; rename one with @tool(name=...)"
                )
            tools[tool.id] = tool, file
    return [tool for tool, _ in tools.values()]


def import_file(file: Path) -> ModuleType:
    """The module that a Python file is, under a name of its own, so that files of one name do not take each other's place.

    Raises:
        ToolsFileError: It is no Python file, or there is none.
    """
    if not file.exists():
        raise ToolsFileError(f"{file}: there is no such file")
    digest = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]
    name = f"medvistagym_tools_from_{re.sub(r'[^0-9A-Za-z_]', '_', file.stem)}_{digest}"
    spec = importlib.util.spec_from_file_location(name, file) if file.suffix == ".py" and file.is_file() else None
    if spec is None or spec.loader is None:
        raise ToolsFileError(
            f"{file} is not a Python file; tools are taken from one, or from a TOML or JSON file of MCP servers"
        )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that what it defines can be pickled to a worker process
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def tools_of_module(module: ModuleType) -> list[Tool]:
    """The tools that a module has under public names, each once."""
    named = vars(module).items()
    return list({id(value): value for name, value in named if isinstance(value, Tool) and name[0] != "_"}.values())


def _tools_of_module(file: Path) -> list[Tool]:
    try:
        tools = tools_of_module(import_file(file))
    except (ToolsFileError, KeyboardInterrupt):
        raise
    except BaseException as error:  # the author's code, SystemExit too
        places = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        location = f", line {places[-1]}," if places else ""
        raise ToolsFileError(f"{file}{location} cannot be imported: {type(error).__name__}: {error}") from error
    if not tools:
        raise ToolsFileError(f"{file} defines no tool; decorate a typed function with @tool")
    return tools


def _tools_of_servers(file: Path) -> list[Tool]:
    try:
        client = importlib.import_module("medvistagym_mcp.client")
    except ModuleNotFoundError as error:
        raise ToolsFileError(MCP_MISSING) from error
    try:
        tools: list[Tool] = client.mcp_tools(client.read_servers(file))
    except client.McpServerError as error:
        raise ToolsFileError(str(error)) from error
    return tools


@contextmanager
def hand_to_processes(files: Iterable[Path]) -> Iterator[None]:
    """Let the registries of processes that are started meanwhile offer the tools of these files too (`FILES_VARIABLE`)."""
    before = os.environ.get(FILES_VARIABLE)
    named = [str(Path(file).resolve()) for file in files]
    if named:
        os.environ[FILES_VARIABLE] = os.pathsep.join([*named, *filter(None, [before])])
    try:
        yield
    finally:
        if named and before is None:
            del os.environ[FILES_VARIABLE]
        elif named and before is not None:
            os.environ[FILES_VARIABLE] = before


def files_from_environment() -> list[Path]:
    """The files that `FILES_VARIABLE` names."""
    return [Path(part) for part in os.environ.get(FILES_VARIABLE, "").split(os.pathsep) if part]
