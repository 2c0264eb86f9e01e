"""A tool's arguments as command-line flags, generated from its JSON Schema.

`center: float` becomes `--center NUMBER`, a box `--box X0,Y0,X1,Y1`, corners `--points 'X,Y X,Y ...'`, a choice
`--preset lung|bone`. What a flag's text
means is decided here; whether it is a good value is decided by the tool's own validator, so that a person reads the same
sentence as a policy.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from medvistagym_core.tools import ToolSpec

__all__ = ["add_flags", "flag_of", "given_arguments", "hint", "parse_value", "usage"]

RESERVED: Final = frozenset({"arguments", "debug", "help", "image", "json", "out", "plugins", "tools_from"})
_WORDS: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def flag_of(argument: str) -> str:
    """Return the flag of an argument: `box` is `--box`; one that the command itself uses is prefixed, `--arg-out`."""
    return f"--{'arg-' if argument in RESERVED else ''}{argument.replace('_', '-')}"


def add_flags(parser: argparse.ArgumentParser, spec: ToolSpec) -> None:
    """Add one flag for every argument of a tool that is not an image."""
    group = parser.add_argument_group(f"arguments of {spec.name}")
    required = spec.parameters.get("required", ())
    for name, schema in spec.parameters["properties"].items():
        if name in spec.images:
            continue
        schema = _resolved(schema, spec.parameters)
        aliases = [f"--{name}"] if "_" in name and name not in RESERVED else []
        flag = group.add_argument(
            flag_of(name),
            *aliases,
            dest=_destination(name),
            default=argparse.SUPPRESS,
            metavar=_metavar(schema, spec.parameters),
            help=_help(schema, required=name in required),
        )
        if schema.get("type") == "boolean":
            flag.nargs, flag.const = "?", "true"


def usage(spec: ToolSpec) -> str:
    """Return a tool's flags in one line, those that may be left out in brackets; each begins with a space."""
    required = spec.parameters.get("required", ())
    shown = ""
    for name, schema in spec.parameters["properties"].items():
        if name not in spec.images:
            flag = f"{flag_of(name)} {_metavar(schema, spec.parameters)}"
            shown += f" {flag}" if name in required else f" [{flag}]"
    return shown


def given_arguments(options: argparse.Namespace, spec: ToolSpec) -> dict[str, Any]:
    """Return the JSON values of the flags that were given, by argument name."""
    properties = spec.parameters["properties"]
    return {
        name: parse_value(text, properties[name], spec.parameters)
        for name in properties
        if (text := getattr(options, _destination(name), None)) is not None
    }


def parse_value(text: str, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    """Read the text of a flag as the JSON value that its schema asks for; text that is none stays as it is.

    Args:
        text: What stood on the command line.
        schema: The argument's schema.
        root: The schema that holds the definitions (`$defs`) it may refer to.
    """
    schema = _resolved(schema, root)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return _first_that_fits(text, schema[key], root)
    match schema.get("type"):
        case "integer":
            return _number(text, int)
        case "number":
            return _number(text, float)
        case "boolean":
            return _WORDS.get(text.casefold(), text)
        case "array":
            if text.lstrip().startswith("["):
                return _json(text)
            items = _resolved(schema.get("items", {}), root)
            lists = items.get("type") == "array"  # with commas within each of them, and blanks or semicolons between
            parts = re.split(r"[\s;]+", re.sub(r"\s*,\s*", ",", text.strip(" ;"))) if lists else text.split(",")
            return [parse_value(part.strip(), items, root) for part in parts]
        case "object":
            return _json(text)
        case None:
            return _json(text) if "enum" not in schema and "const" not in schema else text
        case _:
            return text


def _first_that_fits(text: str, choices: list[Mapping[str, Any]], root: Mapping[str, Any]) -> Any:
    """Numbers and lists before text, which anything would fit."""
    for choice in choices:
        value = parse_value(text, choice, root)
        if not isinstance(value, str):
            return value
    return text


def _number(text: str, kind: type[int | float]) -> int | float | str:
    try:
        return kind(text)
    except ValueError:
        return text


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with a top-level reference replaced by what it names; its own words win."""
    found = dict(schema)
    while isinstance(reference := found.pop("$ref", None), str):
        found = {**root["$defs"][reference.rpartition("/")[2]], **found}
    return found


def _destination(name: str) -> str:
    # A prefix keeps an argument called `run` or `image` from overwriting what the command itself stores.
    return f"argument:{name}"


def _metavar(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    schema = _resolved(schema, root)
    if "enum" in schema:
        return "|".join(str(choice) for choice in schema["enum"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return "|".join(dict.fromkeys(_metavar(choice, root) for choice in schema[key]))
    if schema.get("type") == "array":
        least = schema.get("minItems")
        items = _resolved(schema.get("items", {}), root)
        if least == schema.get("maxItems") == 4 and items.get("type") == "integer":
            return "X0,Y0,X1,Y1"
        if _is_point(schema, root):
            return "X,Y"
        return "'X,Y X,Y ...'" if _is_point(items, root) else "VALUE,..."
    return {"integer": "INTEGER", "number": "NUMBER", "boolean": "true|false", "string": "TEXT"}.get(
        str(schema.get("type")), "JSON"
    )


def _is_point(schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    schema = _resolved(schema, root)
    numbers = _resolved(schema.get("items", {}), root).get("type") in ("integer", "number")
    return schema.get("type") == "array" and schema.get("minItems") == schema.get("maxItems") == 2 and numbers


def hint(spec: ToolSpec, complaint: str) -> str:
    """Return what to type instead of the points that a tool complains of; nothing when it complains of something else."""
    for name, schema in spec.parameters["properties"].items():
        if re.match(rf"{re.escape(spec.name)}: {re.escape(name)}\b", complaint):
            schema = _resolved(schema, spec.parameters)
            choices = [_resolved(one, spec.parameters) for one in schema.get("anyOf", [schema])]
            if any(_is_point(one, spec.parameters) for one in choices):
                return f" Give [x, y], such as {flag_of(name)} 100,900."
            if any(_is_point(one.get("items", {}), spec.parameters) for one in choices):
                return f" Give [x, y] pairs, such as {flag_of(name)} '100,100 900,100 500,900'."
    return ""


def _help(schema: Mapping[str, Any], *, required: bool) -> str:
    parts = [str(schema.get("description", ""))]
    if required:
        parts.append("(required)")
    elif "default" in schema:
        parts.append(f"(default: {json.dumps(schema['default'])})")
    return " ".join(parts).strip().replace("%", "%%")
