"""A tool's schema in the part of JSON Schema that every client and every model provider takes.

Providers refuse tools over keywords they do not know: references, `anyOf`, `exclusiveMinimum`, a property without a
`type`, enumerations of numbers. What such a keyword says is written with others where that is possible
(`exclusiveMinimum: 0` of an integer is `minimum: 1`), and into the description where it is not. The schema shown is
never narrower than the tool's except where a value may have several types: then it shows the first, and describes the
others. What a tool takes is decided by its own validator, which has the whole schema.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from medvistagym_core.tools import inline_references, stated_types

_KEYWORDS: Final = (
    "type", "description", "enum", "items", "properties", "required", "minimum", "maximum", "minItems", "maxItems",
    "minLength", "maxLength", "pattern", "default",
)  # fmt: skip
_NUMBERS: Final = ("integer", "number")


def to_client_schema(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a tool's arguments as it is offered to clients.

    Args:
        parameters: The JSON Schema of an object, such as `ToolSpec.parameters`.
    """
    schema = _simplify(inline_references(parameters))
    schema.setdefault("properties", {})
    if parameters.get("additionalProperties") is False:
        schema["additionalProperties"] = False
    return {**schema, "type": "object"}


def _simplify(schema: Any) -> dict[str, Any]:
    """A subschema with the keywords of `_KEYWORDS` alone, and always with a type."""
    merged = dict(schema) if isinstance(schema, Mapping) else {}
    notes: list[str] = []
    for part in merged.pop("allOf", ()):
        merged = _intersect(merged, part)
    branches = [part for key in ("anyOf", "oneOf") for part in merged.pop(key, ())]
    if branches:
        chosen, others = _unite([_simplify(part) for part in branches if not _is_null(part)])
        merged = {**chosen, **{key: value for key, value in merged.items() if key != "type" or not chosen}}
        notes += [f"or {_describe(other)}" for other in others]
    if "const" in merged:
        merged["enum"] = [merged.pop("const")]
    types = [name for name in stated_types(merged) if name != "null"]
    merged["type"] = types[0] if types else "string"
    notes += [f"or {_describe({'type': name})}" for name in types[1:]] if types else ["any JSON value"]
    if merged["type"] in _NUMBERS:
        notes += _bound(merged)
    if merged["type"] == "array":
        notes += _bound_items(merged)
    if merged["type"] == "object":
        notes += _bound_properties(merged)
    if "format" in merged:
        notes.append(f"in the format {merged['format']}")
    texts = [value for value in merged.pop("enum", ()) if isinstance(value, str)]
    if merged["type"] == "string" and texts:
        merged["enum"] = texts
    simple = {key: merged[key] for key in _KEYWORDS if merged.get(key) is not None}
    if notes:
        simple["description"] = _append(simple.get("description", ""), notes)
    return simple


def _bound(schema: dict[str, Any]) -> list[str]:
    """Write exclusive bounds, steps and choices of numbers as inclusive bounds and notes."""
    notes = []
    whole = schema["type"] == "integer"
    for exclusive, inclusive, step, word in (
        ("exclusiveMinimum", "minimum", 1, "greater"),
        ("exclusiveMaximum", "maximum", -1, "less"),
    ):
        bound = schema.get(exclusive)
        if not isinstance(bound, int | float) or isinstance(bound, bool):
            continue
        nearest = (math.floor(bound) + 1 if step > 0 else math.ceil(bound) - 1) if whole else bound
        tighter = max if step > 0 else min
        schema[inclusive] = tighter(schema.get(inclusive, nearest), nearest)
        if not whole:
            notes.append(f"{word} than {bound:g}")
    if "multipleOf" in schema:
        notes.append(f"a multiple of {schema['multipleOf']:g}")
    values = [value for value in schema.get("enum", ()) if isinstance(value, int | float)]
    if values:
        schema["minimum"], schema["maximum"] = min(values), max(values)
        notes.append(f"one of {', '.join(map(str, values))}")
    return notes


def _bound_items(schema: dict[str, Any]) -> list[str]:
    """Give an array one schema for all its items."""
    notes = []
    items = schema.get("items", True)
    if places := schema.get("prefixItems"):
        united, others = _unite([_simplify(part) for part in places])
        notes += (
            [f"with {_describe(_simplify(part))} at place {k}" for k, part in enumerate(places, 1)] if others else []
        )
        schema["items"] = united
        schema.setdefault("minItems", len(places))
        if items is False:
            schema.setdefault("maxItems", len(places))
    else:
        schema["items"] = _simplify(items)
    if schema.get("uniqueItems"):
        notes.append("without repetitions")
    return notes


def _bound_properties(schema: dict[str, Any]) -> list[str]:
    """Simplify properties; what properties without a name may hold is a note."""
    properties = schema.get("properties", {})
    if properties or "properties" in schema:
        schema["properties"] = {name: _simplify(part) for name, part in properties.items()}
    required = [name for name in schema.get("required", ()) if name in properties]
    schema["required"] = required or None
    others = schema.get("additionalProperties")
    return [f"with {_describe(_simplify(others))} under any name"] if isinstance(others, Mapping) and others else []


def _unite(branches: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One schema for values that fit any of some simple schemas, and those that it does not cover."""
    if not branches:
        return {}, []
    first = branches[0]
    same = [part for part in branches if part["type"] == first["type"]]
    others = [part for part in branches if part["type"] != first["type"]]
    if {"integer", "number"} >= {part["type"] for part in branches}:
        same, others = list(branches), []
    if len(same) == 1:
        return first, others
    if first["type"] in ("object", "array") and any(part != first for part in same):
        return first, [part for part in branches if part != first]
    united = {key: value for key, value in first.items() if all(part.get(key) == value for part in same)}
    united["type"] = "number" if any(part["type"] == "number" for part in same) else first["type"]
    if all("enum" in part for part in same):
        united["enum"] = list(dict.fromkeys(value for part in same for value in part["enum"]))
    for key, loosest in (("minimum", min), ("maximum", max), ("minLength", min), ("maxLength", max)):
        if all(key in part for part in same):
            united[key] = loosest(part[key] for part in same)
    return united, others


def _intersect(schema: Mapping[str, Any], other: Any) -> dict[str, Any]:
    """The keywords of a schema and of one that must hold as well; of what both say, that of the second."""
    if not isinstance(other, Mapping):
        return dict(schema)
    both = {**schema, **other}
    if "properties" in schema and "properties" in other:
        both["properties"] = {**schema["properties"], **other["properties"]}
    if "required" in schema and "required" in other:
        both["required"] = list(dict.fromkeys([*schema["required"], *other["required"]]))
    return both


def _is_null(schema: Any) -> bool:
    return isinstance(schema, Mapping) and (
        schema.get("type") == "null" or ("const" in schema and schema["const"] is None)
    )


def _describe(schema: Mapping[str, Any]) -> str:
    """A few words for a value of a simple schema, such as "an integer from 0 to 9"."""
    name = {"array": "an array", "integer": "an integer", "object": "an object", "boolean": "true or false"}.get(
        schema["type"], f"a {schema['type']}"
    )
    if "enum" in schema:
        return f"one of {', '.join(json.dumps(value) for value in schema['enum'])}"
    if schema["type"] == "array" and "items" in schema:
        return f"{name} of {schema['items'].get('type', 'value')}s"
    if "minimum" in schema and "maximum" in schema:
        return f"{name} from {schema['minimum']} to {schema['maximum']}"
    if "minimum" in schema:
        return f"{name} from {schema['minimum']}"
    return name


def _append(description: str, notes: Sequence[str]) -> str:
    remark = "; ".join(dict.fromkeys(notes))
    return f"{description.rstrip('.')} ({remark})." if description else f"{remark[0].upper()}{remark[1:]}."
