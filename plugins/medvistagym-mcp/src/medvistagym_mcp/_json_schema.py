"""JSON Schemas taken apart and put together again: subschemas, and references replaced by what they refer to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

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
MAX_NODES: Final = 20_000


class SchemaTooLargeError(ValueError):
    """A schema whose references multiply to more than `MAX_NODES` subschemas."""


def map_subschemas(schema: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """The schema with each direct subschema (an object, true or false) replaced by `change(subschema)`."""
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


def references(schema: Any) -> Iterator[str]:
    """Every `$ref` and `$dynamicRef` of a schema and its subschemas."""
    pending = [schema]
    while pending:
        node = pending.pop()
        if isinstance(node, Mapping):
            yield from (node[key] for key in _REFERENCES if isinstance(node.get(key), str))
            map_subschemas(node, pending.append)


def inline_references(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with every reference within it replaced by what it refers to, and without definitions.

    A reference into itself cannot be written out: from its first repetition on, any value is allowed, as a description
    says. Keywords beside a reference, such as a description, take precedence.

    Raises:
        SchemaTooLargeError: It has more than `MAX_NODES` subschemas when it is written out.
        referencing.exceptions.Unresolvable: A reference leads nowhere, or to another document.
    """
    import referencing
    import referencing.jsonschema

    resource = referencing.Resource.from_contents(schema, default_specification=referencing.jsonschema.DRAFT202012)
    resolver = referencing.Registry().with_resource("", resource).resolver()
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
        found = resolver.lookup(reference)
        if reference in within:
            kind = {"type": found.contents["type"]} if "type" in found.contents else {}
            return {**kind, "description": "nested in the same way", **own}
        target = inline(found.contents, found.resolver, (*within, reference))
        return {**target, **own} if isinstance(target, dict) else own

    written: dict[str, Any] = inline(schema, resolver, ())
    return written
