"""Compact signatures say what the schemas say: they are read back into them, for every tool that is installed."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from medvistagym_core.plugins import Registry
from medvistagym_core.tools import ToolSpec
from medvistagym_trl.rollout import render_compact

KINDS = {"int": "integer", "num": "number", "str": "string", "bool": "boolean"}


def read_value(text: str) -> tuple[Any, str]:
    """A JSON value at the head of a text, and the rest."""
    value, end = json.JSONDecoder().raw_decode(text)
    return value, text[end:]


def read_type(text: str) -> tuple[dict[str, Any], str]:
    if text.startswith('"'):
        options, text = [], "|" + text
        while text.startswith("|"):
            option, text = read_value(text[1:])
            options.append(option)
        return {"type": "string", "enum": options}, text
    if text.startswith("{"):
        return read_value(text)
    if text.startswith("["):
        items, text = read_type(text[1:])
        schema: dict[str, Any] = {"type": "array", "items": items}
        if text.startswith("; "):
            length, _, text = text[2:].partition("]")
            least, dots, most = length.partition("..")
            schema |= {"minItems": int(least)} if least else {}
            schema |= {"maxItems": int(most if dots else least)} if (most or not dots) else {}
            return schema, text
        return schema, text[1:]
    word = re.match("[a-z]+", text)
    assert word is not None
    schema, text = {"type": KINDS[word[0]]}, text[word.end() :]
    number = r"-?[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?"
    bounds = re.match(rf" (>?)({number})?\.\.(<?)({number})?", text)
    if bounds:
        above, low, below, high = bounds.groups()
        schema |= {"exclusiveMinimum" if above else "minimum": json.loads(low)} if low else {}
        schema |= {"exclusiveMaximum" if below else "maximum": json.loads(high)} if high else {}
        text = text[bounds.end() :]
    return schema, text


def read_line(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\\\", "\\")


def read_signature(text: str) -> tuple[str, str, dict[str, Any]]:
    """Name, description and parameters of a signature."""
    first, *lines = text.split("\n")
    name, _, rest = first.partition("(")
    if rest.startswith("{"):
        parameters, rest = read_value(rest)
        return name, read_line(rest.removeprefix(") -- ")), parameters
    properties: dict[str, Any] = {}
    required = []
    while not rest.startswith(")"):
        key, _, rest = rest.removeprefix(", ").partition(": ")
        schema, rest = read_type(rest)
        if rest.startswith(" = "):
            schema["default"], rest = read_value(rest[3:])
        properties[key.removesuffix("?")] = schema
        if not key.endswith("?"):
            required.append(key)
    for line in lines:
        key, _, described = line.strip().partition(": ")
        properties[key]["description"] = read_line(described)
    parameters = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        parameters["required"] = required
    return name, read_line(rest.removeprefix(") -- ")), parameters


def ordered(parameters: dict[str, Any]) -> dict[str, Any]:
    return {**parameters, "required": parameters.get("required", [])}


def test_the_signatures_of_all_installed_tools_read_back_into_their_schemas() -> None:
    toolbox = Registry.discover().toolbox("*")
    assert len(toolbox.specs) >= 20
    for spec in toolbox.specs:
        name, description, parameters = read_signature(render_compact([spec]))
        assert (name, description) == (spec.name, spec.description)
        assert ordered(parameters) == ordered(dict(spec.parameters)), spec.name
        assert list(parameters["properties"]) == list(spec.parameters["properties"])


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 0, "maximum": 3},
        {"type": "number", "exclusiveMinimum": 0.5},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "number", "minimum": 0, "exclusiveMinimum": 1},
        {"type": "number", "maximum": -2.5},
        {"type": "string", "enum": ["a", 'b "quoted"', "c|d"]},
        {"type": "string", "maxLength": 5},
        {"type": "array", "items": {"type": "integer"}, "minItems": 2},
        {"type": "array", "items": {"type": "string", "enum": ["x", "y"]}, "maxItems": 3},
        {"type": "array", "items": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}},
        {"type": "array", "items": {"type": "integer", "description": "An item."}},
        {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        {"type": "object", "properties": {"a": {"type": "string"}}},
    ],
)
def test_any_schema_reads_back(schema: dict[str, Any]) -> None:
    parameters = {
        "type": "object",
        "properties": {
            "given": {**schema, "description": "Two\nlines, and a \\ backslash: with a colon."},
            "left_out": {**schema, "default": None},
        },
        "required": ["given"],
        "additionalProperties": False,
    }
    spec = ToolSpec.model_construct(name="tool", description="Does (something) -- with\nit.", parameters=parameters)
    name, description, read = read_signature(render_compact([spec]))
    assert (name, description, read) == ("tool", spec.description, parameters)


def test_compact_signatures_are_shorter() -> None:
    toolbox = Registry.discover().toolbox("*")
    full = "\n".join(map(json.dumps, toolbox.schemas("huggingface")))
    assert len(render_compact(toolbox.specs)) < 0.65 * len(full)
