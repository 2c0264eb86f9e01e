"""Options that many commands share, and the registry they lead to."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvistagym_core.cli._console import print_stderr
from medvistagym_core.cli._errors import CommandError, UsageError
from medvistagym_core.cli._model_tools import model_tools
from medvistagym_core.cli._parser import HelpFormatter

if TYPE_CHECKING:
    from collections.abc import Callable

    from medvistagym_core.execution import Executor
    from medvistagym_core.plugins import Listing, PluginReport, Registry
    from medvistagym_core.tools import Toolbox


__all__ = [
    "add_command",
    "add_common",
    "add_device",
    "add_execution",
    "add_executor",
    "add_selection",
    "add_tools_from",
    "check_allow_list",
    "find_executor",
    "find_listing",
    "load_registry",
    "make_executor",
    "report_failures",
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
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    add_common(parser, example, json=json)
    return parser


def add_common(parser: argparse.ArgumentParser, example: str, *, json: bool = False) -> None:
    """Add the options that every command has, and an example at the end of the help."""
    lines = "\n".join(f"  {line}" for line in example.splitlines())
    parser.epilog = f"example:\n{lines}"
    parser.formatter_class = HelpFormatter
    if json:
        parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--plugins", metavar="NAMES", help="load only these plugins, by name, separated by commas")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def add_selection(parser: argparse.ArgumentParser, *, default: str | None = "*") -> None:
    """Add the options that choose a toolbox."""
    default_text = f" (default: {default!r})" if default else ""
    parser.add_argument(
        "--tools",
        metavar="SELECT",
        default=default,
        help=f"which tools: names, ids or patterns, separated by commas; alias=plugin:tool renames one{default_text}",
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
    add_executor(parser)


def add_executor(parser: argparse.ArgumentParser, default: str | None = "local") -> None:
    """Add the option that says what runs the tools; None as the default leaves it to a recipe."""
    parser.add_argument(
        "--executor",
        metavar="NAME",
        default=default,
        help="what runs the tools: local, process (where none can harm this process), or a plugin's, such as "
        f"ray[:HOST:PORT] (default: {default or 'that of the recipe'})",
    )


def load_registry(options: argparse.Namespace) -> Registry:
    """Discover the plugins that the options allow, add tools from files and servers, and say what did not load."""
    from medvistagym_core.plugins import Registry, ToolsFileError, load_tools

    registry = Registry.discover(options.plugins)
    check_allow_list(options.plugins, registry.reports)
    report_failures(registry.reports)
    try:
        for tool in load_tools([*getattr(options, "tools_from", ()), *getattr(options, "tools_from_mcp", ())]):
            registry.add_tool(tool, tool.plugin)
    except ToolsFileError as error:
        raise UsageError(str(error)) from error
    if getattr(options, "models", None) is not None:
        for tool in model_tools(options.models):
            registry.add_tool(tool, tool.plugin)
    return registry


def find_listing(options: argparse.Namespace) -> Listing:
    """Names of what is installed, as they were kept if nothing has changed and `--no-cache` is not given."""
    from medvistagym_core.plugins import Listing, load_listing

    if options.no_cache or options.plugins is not None:
        return Listing.of(load_registry(options))
    return load_listing(lambda: load_registry(options))


def check_allow_list(names: str | None, reports: Sequence[PluginReport]) -> None:
    """Refuse a name in `--plugins` that is no plugin's; one in `MEDVISTAGYM_PLUGINS` is only said to be none.

    "none" allows no plugin at all.

    Raises:
        UsageError: There is no such plugin.
    """
    from medvistagym_core.plugins import ALLOW_VARIABLE
    from medvistagym_core.tools import closest_match

    installed = sorted({name for report in reports for name in (report.name, report.distribution)})
    asked = names if names is not None else os.environ.get(ALLOW_VARIABLE, "")
    for name in filter(None, (part.strip() for part in asked.split(","))):
        if name in installed or name == "none":
            continue
        suggestion = closest_match(name, installed)
        guess = (
            f"did you mean {suggestion}?"
            if suggestion
            else f"there are: {', '.join(r.name for r in reports) or 'none'}."
        )
        if names is not None:
            raise UsageError(f"--plugins: there is no plugin {name!r}; {guess}")
        print_stderr(f"medvistagym: {ALLOW_VARIABLE} names {name!r}, and there is no such plugin; {guess}")


def report_failures(reports: Sequence[PluginReport]) -> None:
    """Say which plugins did not load, and what of others was left out."""
    for report in reports:
        if report.state in ("failed", "incompatible"):
            print_stderr(
                f"medvistagym: plugin {report.name} is not loaded: {report.reason} (see `medvistagym plugins list`)"
            )
        for fault in report.faults:
            print_stderr(f"medvistagym: plugin {report.name}: left out: {fault}")


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
        CommandError: It is a plugin's, and cannot be made.
    """
    make = find_executor(registry, name)
    try:
        executor = make(toolbox)
    except ValueError as error:
        raise UsageError(f"--executor {name}: {error}") from error
    except (Exception, SystemExit) as error:  # a plugin's fault
        raise CommandError(f"the executor {name} cannot be made: {type(error).__name__}: {error}") from error
    missing = [member for member in ("run", "close", "toolbox") if not hasattr(executor, member)]
    if missing:
        raise CommandError(f"the executor {name} gave {type(executor).__name__}, which has no {', '.join(missing)}")
    return executor


def find_executor(registry: Registry, name: str) -> Callable[[Toolbox], Executor]:
    """What makes the executor that `--executor` names.

    Raises:
        UsageError: There is none; how Ray's is installed, if it is that.
    """
    try:
        return registry.executor(name)
    except ValueError as error:
        if name.partition(":")[0] == "ray" and "ray" not in registry.executors:
            from medvistagym_core.cli._ray import MISSING

            raise UsageError(f"--executor {name}: {MISSING}") from error
        raise UsageError(f"--executor {name}: {error}") from error
