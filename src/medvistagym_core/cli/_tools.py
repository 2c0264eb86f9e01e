"""`medvistagym tools list | show | call`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from medvistagym_core.cli._console import print_json, print_stderr, print_table, print_text
from medvistagym_core.cli._errors import CommandError, UsageError
from medvistagym_core.cli._options import (
    add_command,
    add_selection,
    add_tools_from,
    find_listing,
    load_registry,
    select_toolbox,
)
from medvistagym_core.cli._tools_call import ToolArgumentParser, configure_call

if TYPE_CHECKING:
    from medvistagym_core.plugins import ListedTool

__all__ = ["configure"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the commands of this group."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=ToolArgumentParser)

    listing = add_command(
        commands,
        "list",
        "list the tools of the installed plugins",
        "medvistagym tools list\nmedvistagym tools list --modality US --json",
        json=True,
    )
    add_selection(listing)
    listing.add_argument(
        "--modality", metavar="CODE", help="only tools that are made for this DICOM modality, or for any, such as CT"
    )
    listing.add_argument(
        "--no-cache",
        action="store_true",
        help="load every plugin anew, even if nothing has changed since the last time",
    )
    listing.set_defaults(execute=_list)

    show = add_command(
        commands,
        "show",
        "show tools as a person, a model or a program reads them",
        "medvistagym tools show window\nmedvistagym tools show window --format openai",
        json=True,
    )
    from medvistagym_core.tools import DIALECTS

    dialects = ", ".join(DIALECTS)
    show.add_argument("name", metavar="NAME", help="the tool's name, id or a pattern")
    show.add_argument(
        "--format", metavar="DIALECT", help=f"print the schema in this dialect: {dialects}, or a plugin's"
    )
    add_tools_from(show)
    show.set_defaults(execute=_show)

    configure_call(commands)


def _list(options: argparse.Namespace) -> int:
    if options.tools == "*" and not (options.json or options.tools_from or options.tools_from_mcp or options.models):
        _print_tools(find_listing(options).tools, options.modality)
        return 0
    from medvistagym_core.plugins import ListedTool

    registry = load_registry(options)
    # Two tools of one name are a fault in a toolbox, not in a list.
    tools = [*(registry.tools if options.tools == "*" else select_toolbox(registry, options.tools)).values()]
    if options.json:
        print_json(
            [tool.spec.model_dump(mode="json") for tool in tools if _suits(tool.spec.modalities, options.modality)]
        )
    else:
        _print_tools(map(ListedTool.of, tools), options.modality)
    return 0


def _print_tools(tools: Iterable[ListedTool], modality: str | None) -> None:
    """A line for each tool that suits a modality."""
    rows = [[tool.id, tool.summary] for tool in tools if _suits(tool.modalities, modality)]
    if rows:
        print_table(rows)
    else:
        print_stderr("No plugin offers a tool; `medvistagym plugins search` shows plugins that would.")


def _suits(modalities: Sequence[str], modality: str | None) -> bool:
    """Whether a tool of some modalities, or of any, is made for one."""
    return modality is None or not modalities or modality.upper() in modalities


def _show(options: argparse.Namespace) -> int:
    from medvistagym_core.cli._tool_description import describe_tool
    from medvistagym_core.tools import render_tool_schema

    registry = load_registry(options)
    specs = select_toolbox(registry, options.name).specs
    documents: list[Any]
    if options.format is None and not options.json:
        for position, spec in enumerate(specs):
            print_text(("\n" if position else "") + describe_tool(spec))
        return 0
    if options.format is not None:
        try:
            documents = [render_tool_schema(spec, options.format, registry.dialects) for spec in specs]
            json.dumps(documents)
        except ValueError as error:
            raise UsageError(f"--format: {error}") from error
        except Exception as error:  # a plugin's fault
            raise CommandError(f"the dialect {options.format} fails: {type(error).__name__}: {error}") from error
        for one in documents:
            if not isinstance(one, dict | str):
                raise CommandError(
                    f"the dialect {options.format} gave {type(one).__name__}; it must give a dict or text"
                )
    else:
        documents = [spec.model_dump(mode="json") for spec in specs]
    if all(isinstance(one, str) for one in documents):
        print_text("\n".join(documents))
    else:
        print_json(documents[0] if len(documents) == 1 else documents)
    return 0
