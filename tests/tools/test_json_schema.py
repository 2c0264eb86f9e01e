"""JSON Schemas walked: types, alternatives, references."""

from __future__ import annotations

from typing import Any

import pytest

from medvistagym_core.tools import (
    SchemaTooLargeError,
    accepted_types,
    alternatives,
    inline_references,
    iterate_subschemas,
    references,
)


@pytest.mark.parametrize(
    ("schema", "types"),
    [
        ({"type": "integer"}, {"integer"}),
        ({"type": ["string", "null"]}, {"string", "null"}),
        ({"anyOf": [{"type": "integer"}, {"oneOf": [{"type": "string"}, {"const": True}]}]}, {"integer", "string", "boolean"}),
        ({"enum": [1, "a", None]}, {"integer", "string", "null"}),
        ({"const": 1.5}, {"number"}),
        ({"minItems": 2}, {"array"}),
        ({"exclusiveMinimum": 0}, {"number"}),
        ({}, set()),
        (True, set()),
        ({"anyOf": [{"type": "integer"}, {}]}, set()),
    ],
)  # fmt: skip
def test_the_types_that_a_schema_accepts(schema: Any, types: set[str]) -> None:
    assert accepted_types(schema) == types


def test_what_stands_beside_anyof_holds_for_every_branch() -> None:
    assert alternatives({"description": "x", "anyOf": [{"type": "integer"}, True, {"description": "y"}]}) == [
        {"description": "x", "type": "integer"},
        {"description": "x"},
        {"description": "y"},
    ]


def test_alternatives_are_bounded() -> None:
    nested: dict[str, Any] = {"type": "integer"}
    for _ in range(40):
        nested = {"anyOf": [nested, nested]}
    assert len(alternatives(nested)) == 256


def test_references_are_written_out_wherever_they_lead() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"$ref": "#/$defs/n", "description": "A."},
            "b": {"type": "array", "items": {"$ref": "#/properties/a"}},
            "c": {"$ref": "#tree"},
        },
        "$defs": {
            "n": {"type": "integer", "minimum": 0},
            "t": {"$anchor": "tree", "type": "object", "properties": {"parts": {"type": "array", "items": {"$ref": "#tree"}}}},
        },
    }  # fmt: skip
    assert sorted(references(schema)) == ["#/$defs/n", "#/properties/a", "#tree", "#tree"]
    written = inline_references(schema)
    assert written["properties"]["a"] == {"type": "integer", "minimum": 0, "description": "A."}
    assert written["properties"]["b"]["items"] == written["properties"]["a"]
    assert written["properties"]["c"]["properties"]["parts"]["items"]["type"] == "object"
    assert not list(references(written))
    assert inline_references({"properties": {"$ref": {"type": "string"}}}) == {
        "properties": {"$ref": {"type": "string"}}
    }


def test_references_that_multiply_are_refused() -> None:
    definitions: dict[str, Any] = {"d0": {"type": "integer"}}
    for k in range(1, 40):
        definitions[f"d{k}"] = {"anyOf": [{"$ref": f"#/$defs/d{k - 1}"}, {"$ref": f"#/$defs/d{k - 1}"}]}
    with pytest.raises(SchemaTooLargeError, match="20000 parts"):
        inline_references({"properties": {"x": {"$ref": "#/$defs/d39"}}, "$defs": definitions})


def test_a_property_called_like_a_keyword_is_no_keyword() -> None:
    schema = {"properties": {"items": {"type": "string"}, "anyOf": {"type": "integer"}}}
    assert [node.get("type") for node in iterate_subschemas(schema)] == [None, "integer", "string"]
