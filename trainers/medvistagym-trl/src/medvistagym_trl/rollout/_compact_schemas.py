"""Tools as signatures: what their JSON Schemas say, in fewer tokens.

    zoom(image: int 0.., box: [int 0..1000; 4], factor?: num 1..8 = 2) -- Enlarge a part of an image.
      image: The image.
      box: The part, as [x0, y0, x1, y1].

An argument is `name: type`, or `name?: type` where it may be left out, `= value` its default. Types are `int`, `num`, `str`,
`bool`, a choice `"a"|"b"`, a list `[type; length]`; `a..b` are bounds, and `>a` or `<b` exclusive ones. A schema that these
words cannot say stands as its JSON. Nothing is lost: a test reads the signatures of all tools back into their schemas.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from medvistagym_core.tools import ToolSpec

EXPLANATION: Final = (
    "Arguments are name: type; name?: may be left out; = is the default. int, num, str, bool; a..b are bounds; "
    "[type; n] is a list of n."
)
_SCALARS: Final = {"integer": "int", "number": "num", "string": "str", "boolean": "bool"}
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def render_compact(specs: Iterable[ToolSpec]) -> str:
    """Signatures of some tools, one after another."""
    return "\n".join(_signature(spec.name, spec.description, spec.parameters) for spec in specs)


def _signature(name: str, description: str, parameters: Mapping[str, Any]) -> str:
    handled = {"type", "properties", "required", "additionalProperties"}
    plain = set(parameters) <= handled and parameters.get("additionalProperties") is False
    if not plain or parameters.get("type") != "object":
        return f"{name}({_json(parameters)}) -- {_one_line(description)}"
    required = parameters.get("required", [])
    arguments, lines = [], []
    for key, schema in parameters.get("properties", {}).items():
        body = {k: v for k, v in schema.items() if k not in ("description", "default")}
        default = f" = {_json(schema['default'])}" if "default" in schema else ""
        arguments.append(f"{key}{'' if key in required else '?'}: {_type(body)}{default}")
        if "description" in schema:
            lines.append(f"\n  {key}: {_one_line(schema['description'])}")
    return f"{name}({', '.join(arguments)}) -- {_one_line(description)}" + "".join(lines)


def _type(schema: Mapping[str, Any]) -> str:
    keys, kind = set(schema), schema.get("type")
    if kind == "string" and keys == {"type", "enum"} and all(isinstance(value, str) for value in schema["enum"]):
        return "|".join(_json(value) for value in schema["enum"])
    if kind in ("string", "boolean") and keys == {"type"}:
        return _SCALARS[kind]
    if kind in ("integer", "number") and keys <= {"type", *_BOUNDS}:
        bounds = _bounds(schema)
        if bounds is not None:
            return f"{_SCALARS[kind]} {bounds}".rstrip()
    if (
        kind == "array"
        and keys <= {"type", "items", "minItems", "maxItems"}
        and isinstance(schema.get("items"), Mapping)
    ):
        low, high = schema.get("minItems"), schema.get("maxItems")
        length = f"{low}" if low == high and low is not None else f"{_number(low)}..{_number(high)}"
        length = "" if length == ".." else f"; {length}"
        if "description" not in schema["items"] and "default" not in schema["items"]:
            return f"[{_type(schema['items'])}{length}]"
    return _json(schema)


def _bounds(schema: Mapping[str, Any]) -> str | None:
    """Bounds as text, or None where both kinds of one side are given."""
    if {"minimum", "exclusiveMinimum"} <= set(schema) or {"maximum", "exclusiveMaximum"} <= set(schema):
        return None
    low = f">{_json(schema['exclusiveMinimum'])}" if "exclusiveMinimum" in schema else _number(schema.get("minimum"))
    high = f"<{_json(schema['exclusiveMaximum'])}" if "exclusiveMaximum" in schema else _number(schema.get("maximum"))
    return f"{low}..{high}" if low or high else ""


def _number(value: Any) -> str:
    return "" if value is None else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _one_line(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
