"""Arguments whose meaning is clear although they are not written as the schema says: the one rule for mending them.

Policies and clients send numbers and lists as text, whole numbers as 1.0, and null for what they leave out. The rule, in
docs/protocol.md:

- null, for an argument that may be left out and has no null of its own, leaves it out (`null_value`);
- text, where the schema takes no text or has other choices, is read as JSON or as a Python literal, if that gives a type
  the schema takes (`text_value`);
- a number without a fraction, where the schema takes integers only, is that integer (`whole_number`);
- a text called `NOTES` that the tool does not take, which agents add to every call to say why they make it, is left out
  (`note_left_out`).

It holds for nested values too (but for notes), and nothing else is changed: names are never guessed, and no other argument is
dropped. Arguments that the schema allows as they are never come here. Whether what it gives is allowed is for the validator to
say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from medvistagym_core.tools._json_schema import accepted_types, alternatives, json_type, stated_types
from medvistagym_core.tools._json_text import parse_literal


def repair_arguments(
    arguments: Mapping[str, Any], parameters: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The arguments as the schema takes them, where it is clear how they are meant.

    Args:
        arguments: JSON values by name.
        parameters: JSON Schema of the arguments, without references.

    Returns:
        The arguments, and the names of the repairs, sorted; without any the arguments are as they were.
    """
    repairs: set[str] = set()
    properties = parameters.get("properties", {})
    notes = {name for name, value in arguments.items() if name in NOTES - properties.keys() and isinstance(value, str)}
    if notes:
        repairs.add("note_left_out")
    sent = {name: value for name, value in arguments.items() if name not in notes}
    repaired = _repair_object(sent, parameters, repairs)
    return repaired, tuple(sorted(repairs))


NOTES: Final = frozenset({"comment", "explanation", "rationale", "reason", "reasoning", "thought", "thoughts"})


def _repair_object(values: Mapping[str, Any], schema: Mapping[str, Any], repairs: set[str]) -> dict[str, Any]:
    properties, required = schema.get("properties", {}), schema.get("required", ())
    repaired: dict[str, Any] = {}
    for name, value in values.items():
        part = properties.get(name)
        if part is None:
            repaired[name] = value
            continue
        own: set[str] = set()
        new = _repair(value, part, own)
        if new is None and name not in required and "null" not in accepted_types(part) and accepted_types(part):
            repairs.add("null_value")
        else:
            repaired[name] = new
            repairs |= own
    return repaired


def _repair(value: Any, schema: Any, repairs: set[str]) -> Any:
    types = accepted_types(schema)
    if isinstance(value, str) and types and not _takes_text(value, schema):
        parsed = _parse_text(value)
        if not isinstance(parsed, str) and (parsed is None or _fits(parsed, types)):
            repairs.add("text_value")
            value = parsed
    if isinstance(value, float) and value.is_integer() and "integer" in types and "number" not in types:
        repairs.add("whole_number")
        return int(value)
    if isinstance(value, list | Mapping):
        own = next((one for one in alternatives(schema) if json_type(value) in accepted_types(one)), None)
        if own is None:
            return value
        if isinstance(value, Mapping):
            return _repair_object(value, own, repairs)
        places, items = own.get("prefixItems", ()), own.get("items", {})
        return [_repair(part, places[k] if k < len(places) else items, repairs) for k, part in enumerate(value)]
    return value


def _takes_text(text: str, schema: Any) -> bool:
    """Whether a schema takes this text: it takes any, or has it among its choices."""
    for branch in alternatives(schema):
        choices = branch["enum"] if "enum" in branch else [branch["const"]] if "const" in branch else None
        if "string" in stated_types(branch) and (choices is None or text in choices):
            return True
    return False


def _fits(value: Any, types: frozenset[str]) -> bool:
    kind = json_type(value)
    return kind in types or (kind == "integer" and "number" in types) or (kind == "number" and "integer" in types)


def _parse_text(text: str) -> Any:
    """The value that a text holds; the text itself where it holds none."""
    try:
        return parse_literal(text)
    except ValueError:
        return text
