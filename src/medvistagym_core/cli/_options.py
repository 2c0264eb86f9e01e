"""Options that many commands share, and the registry they lead to."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvistagym_core.cli._console import print_stderr
from medvistagym_core.cli._errors import UsageError
from medvistagym_core.cli._mcp import import_mcp
from medvistagym_core.cli._model_tools import model_tools

if TYPE_CHECKING:
    from medvistagym_core.execution import Executor
    from medvistagym_core.plugins import Registry
    from medvistagym_core.tools import Tool, Toolbox


__all__ = [
    "add_command",
    "add_common",
    "add_device",
    "add_execution",
    "add_selection",
    "add_tools_from",
    "load_registry",
    "make_executor",
    "select_toolbox",
]


def add_command(
    commands: argparse._SubParsersAction[Any],
    name: str,
    summary: str,
    example: str,
    *,
    json: bool = False,
) -> argparse.ArgumentParser:
    """Add a command to its group, with an example at the end of its help and the options that every command has.

    Args:
        commands: The group's subparsers.
        name: The command's name.
        summary: One line, without a capital and a full stop.
        example: A command line, or several, one a line.
        json: Whether the command can print JSON.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_common(parser, example, json=json)
    return parser


def add_common(parser: argparse.ArgumentParser, example: str, *, json: bool = False) -> None:
    """Add the options that every command has, and an example at the end of the help."""
    lines = "\n".join(f"  {line}" for line in example.splitlines())
    parser.epilog = f"example:\n{lines}"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    if json:
        parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--plugins", metavar="NAMES", help="load only these plugins, by name, separated by commas")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def add_selection(parser: argparse.ArgumentParser, *, default: str | None = "*") -> None:
    """Add the options that choose a toolbox."""
    shown = f" (default: {default!r})" if default else ""
    parser.add_argument(
        "--tools",
        metavar="SELECT",
        default=default,
        help=f"which tools: names, ids or patterns, separated by commas; alias=plugin:tool renames one{shown}",
    )
    add_tools_from(parser)


def add_tools_from(parser: argparse.ArgumentParser) -> None:
    """Add the options that offer tools from a Python file or from MCP servers, without a package."""
    parser.add_argument(
        "--tools-from",
        metavar="FILE",
        action="append",
        type=Path,
        default=[],
        help="also offer the tools defined in a Python file; may be given again",
    )
    parser.add_argument(
        "--tools-from-mcp",
        metavar="FILE",
        action="append",
        type=Path,
        default=[],
        help="also offer the tools of the MCP servers that a TOML or JSON file names; may be given again",
    )
    parser.add_argument(
        "--models", metavar="FILE", type=Path, help="also offer the models that a TOML file names as tools"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where tools run."""
    parser.add_argument(
        "--device",
        metavar="DEVICE",
        help="where tools are set up: cpu, cuda, cuda:1, or for each as 'segment=cuda:0,*=cpu' (default: cpu)",
    )


def add_execution(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where and how tools run."""
    add_device(parser)
    parser.add_argument(
        "--executor",
        metavar="NAME",
        default="local",
        help="what runs the tools: local, process (where none can harm this process), or a plugin's (default: local)",
    )


def load_registry(options: argparse.Namespace) -> Registry:
    """Discover the plugins that the options allow, add tools from files and servers, and say what did not load."""
    from medvistagym_core.plugins import Registry

    registry = Registry.discover(options.plugins)
    for report in registry.reports:
        if report.state in ("failed", "incompatible"):
            print_stderr(
                f"medvistagym: plugin {report.name} is not loaded: {report.reason} (see `medvistagym plugins list`)"
            )
        for fault in report.faults:
            print_stderr(f"medvistagym: plugin {report.name}: left out: {fault}")
    for file in getattr(options, "tools_from", []):
        for tool in _tools_in(file):
            registry.add_tool(tool)
    for file in getattr(options, "tools_from_mcp", []):
        for tool in _tools_of_servers(file):
            registry.add_tool(tool, tool.plugin)
    if getattr(options, "models", None) is not None:
        for tool in model_tools(options.models):
            registry.add_tool(tool, tool.plugin)
    return registry


def select_toolbox(registry: Registry, select: str, device: str | None = None) -> Toolbox:
    """Select tools, and say where they are set up (`--device`).

    Raises:
        UsageError: The selection or the device cannot be had; a tool that is known but not installed names its distribution.
    """
    from medvistagym_core.plugins import SelectionError

    try:
        return registry.toolbox(select, devices=_devices(device))
    except SelectionError as error:
        raise UsageError(str(error)) from error


def _devices(text: str | None) -> dict[str, str] | None:
    if text is None:
        return None
    from medvistagym_core.tools import parse_available_device_map

    try:
        return parse_available_device_map(text)
    except ValueError as error:
        raise UsageError(f"--device: {error}") from error


def make_executor(registry: Registry, name: str, toolbox: Toolbox) -> Executor:
    """The executor that `--executor` names.

    Raises:
        UsageError: There is none, or it cannot run a tool of the toolbox.
    """
    try:
        return registry.executor(name)(toolbox)
    except ValueError as error:
        raise UsageError(f"--executor {name}: {error}") from error


def _tools_in(file: Path) -> list[Tool]:
    """Import a Python file, and return the tools that it defines under a public name."""
    import importlib.util
    import sys

    from medvistagym_core.tools import Tool

    name = f"medvistagym_tools_from_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file) if file.suffix == ".py" and file.is_file() else None
    if spec is None or spec.loader is None:
        raise UsageError(f"--tools-from takes a Python file; {file} is none")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that what it defines can be pickled to a worker process
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{file} cannot be imported: {type(error).__name__}: {error}") from error
    found = {
        name: value for name, value in vars(module).items() if isinstance(value, Tool) and not name.startswith("_")
    }
    if not found:
        raise UsageError(f"{file} defines no tool; decorate a typed function with @tool")
    return list(found.values())


def _tools_of_servers(file: Path) -> list[Tool]:
    """The tools of the MCP servers that a file names."""
    client = import_mcp("client")
    try:
        tools: list[Tool] = client.mcp_tools(client.read_servers(file))
    except client.McpServerError as error:
        raise UsageError(str(error)) from error
    return tools
