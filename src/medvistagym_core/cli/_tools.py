"""`medvistagym tools list | show | call`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from medvistagym_core.cli._console import print_json, print_stderr, print_table, print_text
from medvistagym_core.cli._errors import CommandError, UsageError
from medvistagym_core.cli._options import add_command, add_selection, add_tools_from, load_registry, select_toolbox
from medvistagym_core.cli._tools_call import ToolArgumentParser, configure_call

if TYPE_CHECKING:
    from medvistagym_core.tools import ToolSpec


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
    registry = load_registry(options)
    if options.tools == "*":  # two tools of one name are a fault in a toolbox, not in a list
        tools = list(registry.tools.values())
    else:
        tools = list(select_toolbox(registry, options.tools).values())
    if options.modality is not None:
        code = options.modality.upper()
        tools = [tool for tool in tools if code in tool.spec.modalities or not tool.spec.modalities]
    if options.json:
        print_json([tool.spec.model_dump(mode="json") for tool in tools])
    elif tools:
        print_table([[tool.id, tool.description.partition(". ")[0].rstrip(".")] for tool in tools])
    else:
        print_stderr("No plugin offers a tool; `medvistagym plugins search` shows plugins that would.")
    return 0


def _show(options: argparse.Namespace) -> int:
    from medvistagym_core.tools import render_tool_schema

    registry = load_registry(options)
    specs = select_toolbox(registry, options.name).specs
    shown: list[Any]
    if options.format is None and not options.json:
        for position, spec in enumerate(specs):
            print_text(("\n" if position else "") + _described(spec))
        return 0
    if options.format is not None:
        try:
            shown = [render_tool_schema(spec, options.format, registry.dialects) for spec in specs]
        except ValueError as error:
            raise UsageError(f"--format: {error}") from error
        except Exception as error:  # a plugin's fault
            raise CommandError(f"the dialect {options.format} fails: {type(error).__name__}: {error}") from error
    else:
        shown = [spec.model_dump(mode="json") for spec in specs]
    if all(isinstance(one, str) for one in shown):
        print_text("\n".join(shown))
    else:
        print_json(shown[0] if len(shown) == 1 else shown)
    return 0


def _described(spec: ToolSpec) -> str:
    from medvistagym_core.cli._schema_flags import flags_of

    lines = [f"{spec.id}, version {spec.version}", f"  {spec.description}", ""]
    required, flags = spec.parameters.get("required", ()), flags_of(spec)
    for name, schema in spec.parameters["properties"].items():
        flag = "--image FILE" if name in spec.images else flags[name]
        need = "" if name in required else ", optional"
        lines.append(f"  {name} ({flag}{need}): {schema.get('description', '')}")
    facts = [f"gives {' and '.join(spec.returns)}", "deterministic" if spec.deterministic else "not deterministic"]
    facts.append(f"given up after {spec.timeout_s:g} s" if spec.timeout_s else "without a time limit")
    facts += [f"made for {', '.join(spec.modalities)}"] if spec.modalities else []
    return "\n".join([*lines, "", f"  {'; '.join(facts)}"])
