"""A tool as `tools show` tells a person: what it takes, within which bounds, and a command to begin with."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from medvistagym_core.cli._schema_flags import flags_of
from medvistagym_core.tools import alternatives, inline_references, is_box_schema, stated_types

if TYPE_CHECKING:
    from medvistagym_core.tools import ToolSpec

__all__ = ["describe_tool", "example_arguments", "example_command"]


def describe_tool(spec: ToolSpec) -> str:
    """A tool in some lines: description, arguments with choices, ranges and defaults, facts, and an example."""
    lines = [f"{spec.id}, version {spec.version}", f"  {spec.description}", ""]
    required, flags = spec.parameters.get("required", ()), flags_of(spec)
    for name, schema in inline_references(spec.parameters)["properties"].items():
        flag = "FILE or --image FILE" if name in spec.images else flags[name]
        facts = ["required" if name in required else "optional", *([] if name in spec.images else _constraints(schema))]
        lines.append(f"  {name} ({flag}; {'; '.join(facts)}): {schema.get('description', '')}")
    facts = [f"gives {' and '.join(spec.returns)}", "deterministic" if spec.deterministic else "not deterministic"]
    facts.append(f"given up after {spec.timeout_s:g} s" if spec.timeout_s else "without a time limit")
    facts += [f"made for {', '.join(spec.modalities)}"] if spec.modalities else []
    return "\n".join([*lines, "", f"  {'; '.join(facts)}", "", "  example:", f"    {example_command(spec)}"])


def example_command(spec: ToolSpec) -> str:
    """A command that calls a tool, its files named by a stand-in."""
    flags, words = flags_of(spec), ["medvistagym", "tools", "call", spec.name]
    words += ["scan.dcm" if len(spec.images) == 1 else f"{'abcdefgh'[k % 8]}.dcm" for k in range(len(spec.images))]
    for name, value in example_arguments(spec).items():
        words += [flags[name], _flag_text(value)]
    if "image" in spec.returns:
        words += ["--out", "out.png"]
    return shlex.join(words)


def example_arguments(spec: ToolSpec) -> dict[str, Any]:
    """Values of the arguments that a tool needs and that are no images; of the first one, where it needs none."""
    properties = inline_references(spec.parameters)["properties"]
    required = [name for name in spec.parameters.get("required", ()) if name not in spec.images]
    optional = [name for name in properties if name not in spec.images and "default" not in properties[name]]
    names = required or optional[:1]
    return {name: _example(properties[name]) for name in names}


def _example(schema: Any) -> Any:
    """A value that a schema takes, as far as the schema alone says it."""
    if not isinstance(schema, Mapping):
        return "TEXT"
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    if schema.get("default") is not None:
        return schema["default"]
    if "const" in schema:
        return schema["const"]
    branch = next((one for one in alternatives(schema) if stated_types(one) != ["null"]), schema)
    if branch is not schema and branch.get("enum"):
        return branch["enum"][0]
    if is_box_schema(branch):
        return [250, 250, 750, 750]
    kind = next((one for one in stated_types(branch) if one != "null"), "string")
    if kind in ("integer", "number"):
        return _number(branch, whole=kind == "integer")
    if kind == "boolean":
        return True
    if kind == "array":
        return _list(branch)
    if kind == "object":
        parts, others = branch.get("properties", {}), branch.get("additionalProperties")
        known = {name: _example(parts.get(name)) for name in branch.get("required", ())}
        return known or ({"NAME": _example(others)} if isinstance(others, Mapping) else {})
    return "TEXT"


def _list(schema: Mapping[str, Any]) -> list[Any]:
    if schema.get("prefixItems"):
        return [_example(item) for item in schema["prefixItems"]]
    items = schema.get("items", {})
    length = max(int(schema.get("minItems", 1)), 1)
    values = [_example(items) for _ in range(length)]
    spread = [[100, 100], [900, 100], [500, 900], [100, 900]]
    if all(isinstance(value, list) and len(value) == 2 for value in values):
        return spread[:length] if length <= len(spread) else values
    if all(isinstance(value, int) for value in values) and len(set(values)) == 1:
        return [100, 900][:length] if length <= 2 else values
    return values


def _number(schema: Mapping[str, Any], *, whole: bool) -> int | float:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is not None and high is not None:
        value = (float(low) + float(high)) / 2
    elif low is not None:
        value = float(low) + 10
    else:
        value = 40.0 if high is None else float(high) - 10
    return math.floor(value) if whole or value.is_integer() else round(value, 3)


def _flag_text(value: Any) -> str:
    if isinstance(value, list) and not any(isinstance(one, dict) for one in value):
        if any(isinstance(one, list) for one in value):
            return " ".join(",".join(map(str, one)) for one in value)
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value)


def _constraints(schema: Any) -> list[str]:
    """What a value may be, in a few words each: choices, bounds, lengths, the default."""
    facts = list(dict.fromkeys(fact for branch in alternatives(schema) for fact in _bounds(branch)))
    if isinstance(schema, Mapping) and "default" in schema:
        facts.append(f"default {_flag_text(schema['default'])}")
    return facts


def _bounds(branch: Mapping[str, Any]) -> list[str]:
    if is_box_schema(branch):
        return ["a box X0,Y0,X1,Y1 of integers from 0 to 1000"]
    if branch.get("enum"):
        return [f"one of {', '.join(map(str, branch['enum']))}"]
    kinds = [kind for kind in stated_types(branch) if kind != "null"]
    words = {
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "string": "text",
        "array": "a list",
        "object": "a JSON object",
    }
    bounds = words.get(kinds[0], "") if kinds else ""
    if kinds and kinds[0] in ("integer", "number"):
        bounds += _range(branch)
    if kinds and kinds[0] == "array":
        bounds += _lengths(branch, "Items", "values")
        inner = _bounds(branch["items"]) if isinstance(branch.get("items"), Mapping) else []
        bounds += f", each {inner[0]}" if inner else ""
    if kinds and kinds[0] == "string":
        bounds += _lengths(branch, "Length", "characters")
    return [bounds] if bounds else []


def _range(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    parts = [f"at least {low:g}"] if low is not None else [f"above {above:g}"] if above is not None else []
    parts += [f"at most {high:g}"] if high is not None else [f"below {below:g}"] if below is not None else []
    return f" {' and '.join(parts)}" if parts else ""


def _lengths(schema: Mapping[str, Any], key: str, what: str) -> str:
    low, high = schema.get(f"min{key}"), schema.get(f"max{key}")
    if low is not None and low == high:
        return f" of {low} {what}"
    if low is not None and high is not None:
        return f" of {low} to {high} {what}"
    if high is not None:
        return f" of at most {high} {what}"
    return f" of at least {low} {what}" if low else ""
