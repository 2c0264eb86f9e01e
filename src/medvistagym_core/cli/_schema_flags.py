"""A tool's arguments as command-line flags, generated from its JSON Schema.

`center: float` becomes `--center NUMBER`, a box `--box X0,Y0,X1,Y1`, corners `--points 'X,Y X,Y ...'`, a choice
`--preset lung|bone`. What a flag's text means is decided here; whether it is a good value is decided by the tool's own
validator, so that a person reads the same sentence as a policy.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from medvistagym_core.tools import ToolSpec, alternatives, inline_references, is_box_schema, stated_types

__all__ = [
    "RESERVED", "add_flags", "add_image_flags", "flags_of", "given_arguments", "hint", "image_destination", "join_numbers",
    "parse_value", "usage",
]  # fmt: skip

RESERVED: Final = frozenset({
    "arguments", "debug", "device", "executor", "help", "image", "image-index", "image-region", "image-unit", "json", "out",
    "models", "plugins", "tools-from", "tools-from-mcp",
})  # fmt: skip
"""The command's own flags, without the dashes."""
_WORDS: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NUMBERS: Final = re.compile(r"[-\N{MINUS SIGN}]?\d+(?:\.\d+)?(?:,[-\N{MINUS SIGN}]?\d+(?:\.\d+)?)*,?")
_DEGREES: Final = re.compile(r"\s*(°|deg|degrees?)$", re.IGNORECASE)


def flags_of(spec: ToolSpec) -> dict[str, str]:
    """The flags of a tool's arguments: `box` is `--box`; one that the command itself uses is prefixed, `--arg-out`."""
    taken, flags = set(RESERVED), {}
    # Those that keep their own name come first, so that no prefixed one takes it: `arg_out` before `out`.
    for name in sorted(spec.parameters["properties"], key=lambda name: (name in RESERVED, name)):
        flag = name.replace("_", "-")
        while flag in taken:
            flag = f"arg-{flag}"
        taken.add(flag)
        flags[name] = f"--{flag}"
    return flags


def add_flags(parser: argparse.ArgumentParser, spec: ToolSpec) -> None:
    """Add one flag for every argument of a tool that is not an image."""
    group = parser.add_argument_group(f"arguments of {spec.name}")
    required = spec.parameters.get("required", ())
    flags = flags_of(spec)
    for name, schema in _arguments(spec).items():
        alias = f"--{name}"
        aliases = [alias] if "_" in name and alias not in flags.values() else []
        flag = group.add_argument(
            flags[name],
            *aliases,
            dest=_destination(name),
            action="append" if _types(schema) == ["array"] else "store",
            default=argparse.SUPPRESS,
            metavar=_metavar(schema),
            help=_help(schema, required=name in required),
        )
        if _types(schema) == ["boolean"]:
            flag.nargs, flag.const = "?", "true"


def add_image_flags(parser: argparse.ArgumentParser, spec: ToolSpec, names: Sequence[str]) -> None:
    """Add a flag for every image argument whose name the command does not use: `--before FILE`."""
    group = parser.add_argument_group(f"images of {spec.name}, by name instead of in order")
    flags = flags_of(spec)
    for name in names:
        schema = spec.parameters["properties"][name]
        if name not in RESERVED:
            group.add_argument(
                flags[name], dest=image_destination(name), metavar="FILE", nargs="+" if schema.get("type") == "array" else 1,
                action="extend", type=Path, default=[], help=schema.get("description", "").replace("%", "%%"),
            )  # fmt: skip


def image_destination(name: str) -> str:
    """Where the files of an image argument that are given by its name are kept."""
    return f"image_argument_{name}"


def join_numbers(arguments: Sequence[str], spec: ToolSpec) -> list[str]:
    """The arguments with the numbers behind the flag of a list as one: `--box 0 0 500 500` is `--box "0 0 500 500"`."""
    flags = {flag for name, flag in flags_of(spec).items() if _types(_arguments(spec).get(name, {})) == ["array"]}
    joined: list[str] = []
    flag = ""
    for argument in arguments:
        if flag and joined[-1] != flag and _NUMBERS.fullmatch(argument):
            joined[-1] += f" {argument}"
        else:
            joined.append(argument)
            if argument in flags:
                flag = argument
            elif not _NUMBERS.fullmatch(argument):
                flag = ""
    return joined


def usage(spec: ToolSpec) -> str:
    """Return a tool's flags in one line, those that may be left out in brackets; each begins with a space."""
    required = spec.parameters.get("required", ())
    flags = flags_of(spec)
    usage_text = ""
    for name, schema in _arguments(spec).items():
        flag = f"{flags[name]} {_metavar(schema)}"
        usage_text += f" {flag}" if name in required else f" [{flag}]"
    return usage_text


def given_arguments(options: argparse.Namespace, spec: ToolSpec) -> dict[str, Any]:
    """Return the JSON values of the flags that were given, by argument name."""
    return {
        name: _join([parse_value(text, schema) for text in given])
        if isinstance(given, list)
        else parse_value(given, schema)
        for name, schema in _arguments(spec).items()
        if (given := getattr(options, _destination(name), None)) is not None
    }


def _join(values: list[Any]) -> Any:
    """The lists that a flag was given, one after another, as one; else the value that is no list."""
    stray = [value for value in values if not isinstance(value, list)]
    return stray[0] if stray else list(itertools.chain.from_iterable(values))


def parse_value(text: str, schema: Any) -> Any:
    """Read the text of a flag as the JSON value that its schema asks for; text that is none stays as it is.

    Args:
        text: What stood on the command line.
        schema: The argument's schema, without references.
    """
    branches = alternatives(schema)
    if len(branches) > 1:  # numbers and lists before text, which anything would fit
        values = (parse_value(text, branch) for branch in branches)
        return next((value for value in values if not isinstance(value, str)), text)
    branch = branches[0]
    match next((kind for kind in stated_types(branch) if kind != "null"), None):
        case "integer":
            return _number(text, int)
        case "number":
            return _number(text, float)
        case "boolean":
            return _WORDS.get(text.casefold(), text)
        case "array":
            return _list(text, branch.get("items", {}))
        case "string":
            return text
        case _:
            return _json(text)


def _list(text: str, items: Any) -> Any:
    if text.lstrip().startswith("["):
        return _json(text)
    if text.lstrip().startswith("{") and "object" in _types(items):
        return _json(f"[{text}]")
    lists = "array" in _types(items)  # with commas within each of them, and blanks or semicolons between
    parts = re.split(r"[\s;]+", re.sub(r"\s*,\s*", ",", text.strip(" ;"))) if lists else _parts(text, items)
    return [parse_value(part.strip(), items) for part in parts]


def _parts(text: str, items: Any) -> list[str]:
    """The items of a list: between commas, or between blanks where they are numbers."""
    is_numeric = set(_types(items)) <= {"integer", "number"}
    return re.split(r"\s*,\s*|\s+", text.strip(" ,")) if is_numeric else text.split(",")


def _number(text: str, kind: type[int | float]) -> int | float | str:
    """A number as people type it: with a minus sign of typography, and an angle's degrees."""
    plain = _DEGREES.sub("", text.replace("\N{MINUS SIGN}", "-"))
    try:
        return kind(plain)
    except ValueError:
        return text


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _arguments(spec: ToolSpec) -> dict[str, Any]:
    """The schemas of a tool's arguments that are not images, without references."""
    written = inline_references(spec.parameters)
    return {name: schema for name, schema in written["properties"].items() if name not in spec.images}


def _types(schema: Any) -> list[str]:
    """The types of a schema and its alternatives, in order, besides null."""
    names = [name for branch in alternatives(schema) for name in stated_types(branch)]
    return [name for name in dict.fromkeys(names) if name != "null"]


def _destination(name: str) -> str:
    # A prefix keeps an argument called `run` or `image` from overwriting what the command itself stores.
    return f"argument:{name}"


def _metavar(schema: Any) -> str:
    branches = alternatives(schema)
    if len(branches) > 1:
        return "|".join(dict.fromkeys(_metavar(branch) for branch in branches if stated_types(branch) != ["null"]))
    branch = branches[0]
    if "enum" in branch or "const" in branch:
        return "|".join(str(choice) for choice in branch.get("enum", [branch.get("const")]))
    kind = next((name for name in stated_types(branch) if name != "null"), "")
    if kind == "array":
        if is_box_schema(branch):
            return "X0,Y0,X1,Y1"
        if _is_point(branch):
            return "X,Y"
        return "'X,Y X,Y ...'" if _is_point(branch.get("items")) else "VALUE,..."
    return {"integer": "INTEGER", "number": "NUMBER", "boolean": "true|false", "string": "TEXT"}.get(kind, "JSON")


def _is_point(schema: Any) -> bool:
    """Whether every value of a schema is a pair of numbers."""
    return isinstance(schema, Mapping) and all(
        branch.get("minItems") == branch.get("maxItems") == 2
        and set(_types(branch.get("items", {}))) <= {"integer", "number"}
        and bool(_types(branch.get("items", {})))
        for branch in alternatives(schema)
    )


def hint(spec: ToolSpec, complaint: str) -> str:
    """Return what to type instead of the points that a tool complains of; nothing when it complains of something else."""
    flags = flags_of(spec)
    for name, schema in _arguments(spec).items():
        if re.match(rf"{re.escape(spec.name)}: {re.escape(name)}\b", complaint):
            branches = alternatives(schema)
            if any(_is_point(branch) for branch in branches):
                return f" Give [x, y], such as {flags[name]} 100,900."
            if any(_is_point(branch.get("items")) for branch in branches):
                return f" Give [x, y] pairs, such as {flags[name]} '100,100 900,100 500,900'."
    return ""


def _help(schema: Any, *, required: bool) -> str:
    parts = [str(schema.get("description", "")) if isinstance(schema, Mapping) else ""]
    if required:
        parts.append("(required)")
    elif isinstance(schema, Mapping) and "default" in schema:
        parts.append(f"(default: {json.dumps(schema['default'])})")
    return " ".join(parts).strip().replace("%", "%%")
