"""JSON Schemas walked and taken apart: the one place that knows subschemas, references and alternatives.

What reads a tool's schema (flags, random arguments, hypothesis strategies, the repair of arguments, clients' schemas) first
writes its references out with `inline_references` and then asks `alternatives` and `accepted_types` of a part of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from medvistagym_core.imaging import BOX_GRID_SIZE

_SUBSCHEMA: Final = frozenset({
    "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames",
    "then", "unevaluatedItems", "unevaluatedProperties",
})  # fmt: skip
_SUBSCHEMA_LISTS: Final = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
_SUBSCHEMA_MAPS: Final = frozenset({
    "$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties",
})  # fmt: skip
_REFERENCES: Final = ("$ref", "$dynamicRef")
_DEFINITIONS: Final = frozenset({"$defs", "definitions", "$anchor", "$dynamicAnchor", "$id"})
_IMPLIED_TYPES: Final = {
    "properties": "object", "required": "object", "items": "array", "prefixItems": "array", "minItems": "array",
    "maxItems": "array", "pattern": "string", "minLength": "string", "maxLength": "string", "minimum": "number",
    "maximum": "number", "exclusiveMinimum": "number", "exclusiveMaximum": "number", "multipleOf": "number",
}  # fmt: skip
MAX_NODES: Final = 20_000
MAX_ALTERNATIVES: Final = 256


class SchemaTooLargeError(ValueError):
    """A schema whose references multiply to more than `MAX_NODES` subschemas, or that is nested too deeply."""


def map_subschemas(schema: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """The schema with each direct subschema (an object, true or false) replaced by `change(subschema)`.

    Args:
        schema: A JSON Schema; it is not changed.
        change: Makes of a subschema what stands in its place.
    """
    changed: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _SUBSCHEMA_MAPS and isinstance(value, Mapping):
            changed[key] = {name: change(part) for name, part in value.items()}
        elif key in _SUBSCHEMA_LISTS and isinstance(value, list):
            changed[key] = [change(part) for part in value]
        elif key in _SUBSCHEMA and isinstance(value, Mapping | bool):
            changed[key] = change(value)
        else:
            changed[key] = value
    return changed


def iterate_subschemas(schema: Any) -> Iterator[Mapping[str, Any]]:
    """A schema and all subschemas in it that are objects; references are not followed."""
    pending = [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, Mapping):
            yield node
            map_subschemas(node, pending.append)


def references(schema: Any) -> Iterator[str]:
    """Every `$ref` and `$dynamicRef` of a schema and its subschemas."""
    for node in iterate_subschemas(schema):
        yield from (node[key] for key in _REFERENCES if isinstance(node.get(key), str))


def inline_references(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with every reference within it replaced by what it refers to, and without definitions.

    A reference into itself cannot be written out: from its first repetition on, any value is allowed, as a description
    says. Keywords beside a reference, such as a description, take precedence.

    Raises:
        SchemaTooLargeError: It has more than `MAX_NODES` subschemas when it is written out, or is nested too deeply.
        referencing.exceptions.Unresolvable: A reference leads nowhere, or to another document.
    """
    nodes = 0

    def inline(node: Any, resolver: Any, within: tuple[str, ...]) -> Any:
        nonlocal nodes
        nodes += 1
        if nodes > MAX_NODES:
            raise SchemaTooLargeError(f"it has more than {MAX_NODES} parts when its references are written out")
        if not isinstance(node, Mapping):
            return node
        reference = next((node[key] for key in _REFERENCES if isinstance(node.get(key), str)), None)
        beside = {key: value for key, value in node.items() if key not in _REFERENCES and key not in _DEFINITIONS}
        own = map_subschemas(beside, lambda part: inline(part, resolver, within))
        if reference is None:
            return own
        resolved = resolver.lookup(reference)
        if reference in within:
            kind = {"type": resolved.contents["type"]} if "type" in resolved.contents else {}
            return {**kind, "description": "nested in the same way", **own}
        target = inline(resolved.contents, resolved.resolver, (*within, reference))
        return {**target, **own} if isinstance(target, dict) else own

    resolver = _make_resolver(schema) if next(references(schema), None) is not None else None
    try:
        written: dict[str, Any] = inline(schema, resolver, ())
    except RecursionError:
        raise SchemaTooLargeError("it is nested too deeply") from None
    return written


def _make_resolver(schema: Mapping[str, Any]) -> Any:
    import referencing
    import referencing.jsonschema

    resource = referencing.Resource.from_contents(schema, default_specification=referencing.jsonschema.DRAFT202012)
    return referencing.Registry().with_resource("", resource).resolver()


def alternatives(schema: Any) -> list[Mapping[str, Any]]:
    """The schemas of which a value has to fit one: the branches of `anyOf` and `oneOf`, or else the schema itself.

    Args:
        schema: Without references. Keywords beside `anyOf` hold for every branch; true and false are the empty schema.

    Returns:
        The first `MAX_ALTERNATIVES` of them.
    """
    return list(itertools.islice(_branches(schema), MAX_ALTERNATIVES))


def _branches(schema: Any) -> Iterator[Mapping[str, Any]]:
    if not isinstance(schema, Mapping):
        yield {}
        return
    for key in ("anyOf", "oneOf"):
        branches = schema.get(key)
        if isinstance(branches, list) and branches:
            beside = {name: value for name, value in schema.items() if name != key}
            for branch in branches:
                yield from _branches({**beside, **branch} if isinstance(branch, Mapping) else beside)
            return
    yield schema


def accepted_types(schema: Any) -> frozenset[str]:
    """The JSON types that a value of a schema without references may have; empty where it says nothing of types."""
    names: set[str] = set()
    for branch in alternatives(schema):
        types = stated_types(branch)
        if not types:
            return frozenset()
        names.update(types)
    return frozenset(names)


def stated_types(schema: Mapping[str, Any]) -> list[str]:
    """The JSON types of a schema without alternatives, in its own order: declared, or those of its values or keywords."""
    declared = schema.get("type")
    if isinstance(declared, str):
        return [declared]
    if isinstance(declared, list):
        return [name for name in declared if isinstance(name, str)]
    if "const" in schema:
        return [json_type(schema["const"])]
    if isinstance(schema.get("enum"), list):
        return list(dict.fromkeys(json_type(value) for value in schema["enum"]))
    return [kind for keyword, kind in _IMPLIED_TYPES.items() if keyword in schema][:1]


def is_box_schema(schema: Any) -> bool:
    """Whether a schema is that of a `Box`: four integers on the grid of an image, whose corners are in order.

    A schema cannot say the latter, so whoever makes values for one has to know it.
    """
    if not isinstance(schema, Mapping) or not isinstance(items := schema.get("items"), Mapping):
        return False
    bounds = (items.get("type"), items.get("minimum"), items.get("maximum"))
    return bounds == ("integer", 0, BOX_GRID_SIZE) and schema.get("minItems") == schema.get("maxItems") == 4


def json_type(value: Any) -> str:
    """The JSON type of a value in JSON's own types: "integer" for a Python int, "number" for a float."""
    if value is None:
        return "null"
    kinds: tuple[tuple[type[Any], str], ...] = (
        (bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array"), (Mapping, "object"),
    )  # fmt: skip
    return next((name for kind, name in kinds if isinstance(value, kind)), "object")
