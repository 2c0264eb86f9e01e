"""A megabyte of the worst text costs a tenth of a second of processor time wherever text of others is read or shown.

Parsing, escaping and grading have tests of their own, whose texts are made from the patterns themselves.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from costs import processor_seconds

from medvistagym_core.imaging import text_html
from medvistagym_core.plugins import Registry, SelectionError
from medvistagym_core.scoring import PROTOCOLS, ScoredItem
from medvistagym_core.tools import (
    SchemaTooLargeError,
    ToolError,
    ToolResult,
    accepted_types,
    closest_match,
    encodable_text,
    inline_references,
    iterate_subschemas,
    normalize_schema,
    parse_literal,
    python_to_json,
    references,
    repair_arguments,
)

LIMIT_S = 0.1
SIZE = 1_000_000
UNITS = (
    *(
        "a",
        "*",
        "?",
        "[",
        "[!",
        "a*",
        "*a",
        "a,",
        ",",
        "dicom:",
        "[a-",
        "\\",
        "-",
        "é",
        "<",
        "&lt;",
        "'",
        '"',
        "'\\",
        " ",
    ),
    *("\n", "<aa", "\ud800", "\u202e", "1,000 ", "<answer>", "(A) ", "\\boxed{", "yes ", "&#", "True ", "{'a':"),
)
NUMBERS = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "number"}}}}
NAMES = [f"tool_{number}" for number in range(100)]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover("none")


def seconds(read: Callable[[Any], object], value: object) -> float:
    """Processor time of reading a value, or of refusing it."""

    def read_or_refuse() -> None:
        with contextlib.suppress(SelectionError, SchemaTooLargeError, ValueError):
            read(value)

    return processor_seconds(read_or_refuse, LIMIT_S)


@pytest.mark.attack
@pytest.mark.parametrize("unit", UNITS, ids=ascii)
def test_text_of_others(unit: str, registry: Registry) -> None:
    text = unit * (SIZE // len(unit))
    readers: dict[str, Callable[[Any], object]] = {
        "selection": registry.toolbox,
        "nearest name": lambda name: closest_match(name, NAMES),
        "page": text_html,
        "page of an error": lambda words: ToolResult(error=ToolError("bad_value", words))._repr_html_(),
        "page of a result": lambda words: ToolResult(text=words)._repr_html_(),
        "literal": parse_literal,
        "literals as JSON": lambda words: python_to_json(words[:65_536]),
        "repair": lambda words: repair_arguments({"a": words}, NUMBERS),
        "what can be encoded": encodable_text,
    }
    for protocol in PROTOCOLS.values():
        readers[protocol.name] = lambda words, protocol=protocol: protocol.score_item(
            ScoredItem("1", "vqa_rad", "Which?", "fat", words, "choice", ("fat", "b")), None
        )
    assert {name: spent for name, read in readers.items() if (spent := seconds(read, text)) > LIMIT_S} == {}


def schemas() -> Iterator[tuple[str, dict[str, Any]]]:
    """JSON Schemas of a megabyte."""
    yield "wide", {"properties": {f"p{n}": {"type": "string", "enum": ["a", "b"]} for n in range(15_000)}}
    chain = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(12_000)}
    yield "references that double", {"$defs": {**chain, "d12000": {}}, "properties": {"a": {"$ref": "#/$defs/d0"}}}
    yield "alternatives", {"properties": {"a": {"anyOf": [{"type": "string", "pattern": "a" * 20}] * 12_000}}}
    yield "conditions", {"properties": {"a": {"allOf": [{"anyOf": [{"type": "string"}, {"type": "null"}]}] * 10_000}}}
    yield (
        "a circle",
        {"$defs": {"a": {"$ref": "#/$defs/a"}}, "properties": {"a": {"$ref": "#/$defs/a"}}, "x": "y" * SIZE},
    )
    nested: dict[str, Any] = {"type": "string"}
    for _ in range(60):
        nested = {"type": "object", "properties": {"a": nested}, "description": "b" * 15_000}
    yield "nested", {"properties": {"a": nested}}


@pytest.mark.attack
@pytest.mark.parametrize(("name", "schema"), list(schemas()), ids=[name for name, _ in schemas()])
def test_schemas_of_others(name: str, schema: dict[str, Any]) -> None:
    assert len(json.dumps(schema)) > SIZE / 2
    walks: dict[str, Callable[[Any], object]] = {
        "references written out": inline_references,
        "parts": lambda whole: list(iterate_subschemas(whole)),
        "references": lambda whole: list(references(whole)),
        "normal form": normalize_schema,
        "types": lambda whole: accepted_types(whole["properties"].get("a", {})),
        "repair": lambda whole: repair_arguments({"a": "[1]", "p1": 5}, whole),
    }
    assert {walk: spent for walk, read in walks.items() if (spent := seconds(read, schema)) > LIMIT_S} == {}


def test_a_schema_that_is_nested_too_deeply_is_refused() -> None:
    nested: dict[str, Any] = {}
    for _ in range(5_000):
        nested = {"type": "object", "properties": {"a": nested}}
    with pytest.raises(SchemaTooLargeError, match="nested too deeply"):
        inline_references(nested)
