"""Schemas as clients get them: nothing that any of them refuses, and what was said is still said and still checked."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis_jsonschema import from_schema
from pydantic import BaseModel, Field

from medvistagym_core import Box, Image, ToolError, tool
from medvistagym_mcp.server._client_schema import to_client_schema

REFUSED = {
    "$ref", "$defs", "$schema", "anyOf", "oneOf", "allOf", "not", "const", "prefixItems", "patternProperties", "format",
    "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "uniqueItems", "propertyNames", "if", "dependentRequired",
}  # fmt: skip


class Side(enum.Enum):
    left = "left"
    right = "right"


class Point(BaseModel):
    x: float
    label: str | None = None


class Tree(BaseModel):
    name: str
    parts: list[Tree] = []


@tool
def every_kind(
    image: Image,
    above: Annotated[float, Field(gt=0)],
    between: Annotated[int, Field(gt=0, lt=9)],
    either: int | str,
    pair: tuple[int, int],
    mixed: tuple[int, str],
    side: Side,
    tree: Tree,
    point: Point,
    anything: Any,
    table: dict[str, float],
    digit: Literal[1, 2, 3],
    day: dt.date,
    points: list[Point],
    ids: set[int],
    step: Annotated[int, Field(multiple_of=4)] = 4,
    box: Box | None = None,
    few: Annotated[list[float] | None, Field(max_length=3)] = None,
) -> str:
    """Take every kind of argument.

    Args:
        image: The image.
        above: A factor.
        between: A number of turns.
        either: A name or number.
        pair: Two numbers.
        mixed: A number and a name.
        side: A side.
        tree: A tree.
        point: A point.
        anything: Anything.
        table: A table.
        digit: A digit.
        day: A day.
        points: Points.
        ids: Numbers.
        step: A step.
        box: A box.
        few: A few numbers.
    """
    return ""


def subschemas(node: Any) -> Iterator[dict[str, Any]]:
    yield node
    for part in node.get("properties", {}).values():
        yield from subschemas(part)
    if "items" in node:
        yield from subschemas(node["items"])


def schemas() -> dict[str, dict[str, Any]]:
    """Schemas as tools and other people's servers have them."""
    foreign = {
        "type": "object",
        "properties": {
            "name": {"$ref": "#/$defs/name"},
            "again": {"type": "array", "items": {"$ref": "#/properties/name"}},
            "how": {"oneOf": [{"const": "fast"}, {"const": "slow"}]},
            "size": {"type": ["integer", "null"], "exclusiveMinimum": 0},
            "limits": {"allOf": [{"type": "object", "properties": {"low": {"type": "number"}}}, {"required": ["low"]}]},
            "range": {"anyOf": [{"type": "integer", "minimum": 3}, {"type": "number", "maximum": 9}]},
            "free": True,
            "word": {"enum": ["a", "b", None, 3]},
        },
        "required": ["name"],
        "$defs": {"name": {"type": "string", "pattern": "^[a-z]+$"}},
    }
    return {"every_kind": every_kind.spec.parameters, "foreign": foreign}


@pytest.mark.parametrize("name", list(schemas()))
def test_no_keyword_that_a_client_refuses_and_always_a_type(name: str) -> None:
    shown = to_client_schema(schemas()[name])
    jsonschema.Draft202012Validator.check_schema(shown)
    for node in subschemas(shown):
        assert not REFUSED & node.keys()
        assert isinstance(node["type"], str)
        if "enum" in node:
            assert node["type"] == "string"
    assert list(shown["properties"]) == list(schemas()[name]["properties"])
    assert shown["required"] == schemas()[name]["required"]


def test_what_no_keyword_says_any_more_is_in_the_description() -> None:
    shown = to_client_schema(schemas()["every_kind"])["properties"]
    assert shown["above"] == {"type": "number", "minimum": 0, "description": "A factor (greater than 0)."}
    assert shown["between"] == {"type": "integer", "minimum": 1, "maximum": 8, "description": "A number of turns."}
    assert shown["either"] == {"type": "integer", "description": "A name or number (or a string)."}
    assert shown["pair"] == {
        "type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2, "description": "Two numbers.",
    }  # fmt: skip
    assert (
        shown["mixed"]["description"] == "A number and a name (with an integer at place 1; with a string at place 2)."
    )
    assert shown["side"] == {"type": "string", "enum": ["left", "right"], "description": "A side."}
    assert shown["tree"]["properties"]["parts"]["items"]["type"] == "object"
    assert shown["digit"] == {"type": "integer", "minimum": 1, "maximum": 3, "description": "A digit (one of 1, 2, 3)."}
    assert shown["table"]["description"] == "A table (with a number under any name)."
    assert shown["step"]["description"] == "A step (a multiple of 4)."
    assert shown["few"]["maxItems"] == 3
    foreign = to_client_schema(schemas()["foreign"])["properties"]
    assert foreign["again"]["items"] == {"type": "string", "pattern": "^[a-z]+$"}
    assert foreign["how"] == {"type": "string", "enum": ["fast", "slow"]}
    assert foreign["limits"] == {"type": "object", "properties": {"low": {"type": "number"}}, "required": ["low"]}
    assert foreign["range"] == {"type": "number"}
    assert foreign["word"] == {"type": "string", "enum": ["a", "b"], "description": "Or an integer."}


GENERATED = ("image", "above", "between", "side", "digit", "day", "ids", "step", "box", "few")


@pytest.mark.parametrize("name", GENERATED)
def test_what_the_tool_takes_fits_what_is_shown(name: str) -> None:
    whole = schemas()["every_kind"]
    one = {**whole["properties"][name], "$defs": whole.get("$defs", {})}
    shown = jsonschema.Draft202012Validator(to_client_schema(whole)["properties"][name])

    @settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(from_schema(one))
    def check(value: Any) -> None:
        shown.validate(value)

    check()


def test_an_example_of_every_kind_fits_what_is_shown() -> None:
    shown = to_client_schema(schemas()["every_kind"])["properties"]
    for name, value in example().items():
        if name != "mixed":  # of several types, the first is shown
            jsonschema.validate(value, shown[name])


def example(**changes: Any) -> dict[str, Any]:
    arguments = {
        "image": 0, "above": 1.5, "between": 3, "either": 2, "pair": [1, 2], "mixed": [1, "a"], "side": "left",
        "tree": {"name": "root", "parts": [{"name": "leaf"}]}, "point": {"x": 1.0}, "anything": "x", "table": {"a": 1.0},
        "digit": 2, "day": "2024-02-29", "points": [{"x": 0.5, "label": "p"}], "ids": [1, 2],
    }  # fmt: skip
    return {**arguments, **changes}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("above", 0),
        ("between", 9),
        ("mixed", ["a", 1]),
        ("digit", 4),
        ("step", 3),
        ("day", "yesterday"),
        ("ids", ["x"]),
    ],
)
def test_what_is_not_shown_is_still_refused_by_the_tool(name: str, value: Any) -> None:
    every_kind.validate(example())
    with pytest.raises(ToolError, match=name):
        every_kind.validate(example(**{name: value}))
