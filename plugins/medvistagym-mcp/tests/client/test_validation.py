"""A server's schema is checked in bounded time, whatever it says and whatever is checked against it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from medvistagym_mcp.client._validation import JsonSchemaValidator

SECONDS = 20.0  # of processor time: some 100 ms are needed, and what is guarded against would take minutes or hours


def validator(schema: dict[str, Any]) -> JsonSchemaValidator:
    whole = {"type": "object", "properties": {"x": schema}}
    return JsonSchemaValidator(whole, {"x": "x"})


def nested(depth: int, leaf: Any) -> Any:
    value = leaf
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "(x+x+)+y", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_a_pattern_takes_linear_time(pattern: str) -> None:
    start = time.process_time()
    with pytest.raises(ValueError, match="does not match"):
        validator({"type": "string", "pattern": pattern})({"x": "a" * 50_000 + "x" * 50_000 + "!"})
    with pytest.raises(ValueError, match="not allowed"):
        validator({"type": "object", "patternProperties": {pattern: True}, "additionalProperties": False})(
            {"x": {"a" * 50_000 + "!": 1}}
        )
    listed = {"type": "object", "patternProperties": {pattern: True}, "unevaluatedProperties": False}
    validator(listed)({"x": {"a" * 50_000 + "!": 1}})  # which only the server can check
    assert time.process_time() - start < SECONDS


def test_names_that_no_pattern_takes_are_refused() -> None:
    schema = {"type": "object", "properties": {"a": True}, "patternProperties": {"^x-": {"type": "integer"}}}
    check = validator({**schema, "additionalProperties": False})
    check({"x": {"a": 1, "x-b": 2}})
    for wrong in ({"b": 1}, {"x-b": "text"}):
        with pytest.raises(ValueError, match=r"unexpected|integer"):
            check({"x": wrong})
    typed = validator({**schema, "additionalProperties": {"type": "string"}})
    typed({"x": {"a": 1, "b": "text"}})
    with pytest.raises(ValueError, match="string"):
        typed({"x": {"b": 1}})


def test_patterns_mean_what_they_did() -> None:
    check = validator({"type": "string", "pattern": "^[A-Z]{2}[0-9]+$"})
    check({"x": "AB12"})
    for wrong in ("ab12", "AB", "xAB12"):
        with pytest.raises(ValueError, match="does not match"):
            check({"x": wrong})
    validator({"pattern": "b+"})({"x": "abbc"})
    validator({"pattern": "(?=look)ahead"})({"x": "which only the server can check"})


def test_a_schema_that_multiplies_is_given_up() -> None:
    branch = {"type": "array", "items": {"$ref": "#/$defs/a"}}
    schema = {
        "$defs": {"a": {"anyOf": [branch, branch, {"type": "integer"}]}},
        "properties": {"x": {"$ref": "#/$defs/a"}},
    }
    check = JsonSchemaValidator(schema, {"x": "x"})
    check({"x": nested(20, 1)})
    start = time.process_time()
    with pytest.raises(ValueError, match="too many steps"):
        check({"x": nested(40, "text")})
    with pytest.raises(ValueError, match="nested deeper than 64"):
        check({"x": nested(500, 1)})
    assert time.process_time() - start < SECONDS
    check({"x": 1})  # each check has its own steps


def test_many_distinct_items_are_told_apart_at_once() -> None:
    check = validator({"type": "array", "uniqueItems": True})
    start = time.process_time()
    check({"x": [{str(k): k} for k in range(20_000)]})
    assert time.process_time() - start < SECONDS
    with pytest.raises(ValueError, match="non-unique"):
        check({"x": [{"a": 1}, {"b": 2}, {"a": 1}]})
