"""Arguments for a tool, valid and invalid, made from its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from medvistagym_core.imaging import BOX_GRID_SIZE
from medvistagym_core.tools import (
    Tool,
    ToolSpec,
    accepted_types,
    alternatives,
    inline_references,
    is_box_schema,
    repair_arguments,
    stated_types,
)

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


_WRONG: Final[Mapping[str, tuple[Any, ...]]] = {
    "integer": ("some", 0.5, None, [1]),
    "number": ("some", None, [1.0]),
    "string": (7, None, ["some"]),
    "boolean": ("some", 2, None),
    "array": ("some", 7, None),
    "object": ("some", 7, None),
}


class InvalidCase(NamedTuple):
    """Arguments with one thing wrong.

    Attributes:
        arguments: The arguments.
        culprit: The argument that the error must name.
        accepted: Texts of which the error must hold at least one, since they say what is accepted; empty: not asked for.
    """

    arguments: dict[str, Any]
    culprit: str
    accepted: tuple[str, ...]


def argument_strategy(spec: ToolSpec, examples: int, seen: Callable[[dict[str, Any]], None]) -> None:
    """Call `seen` with arguments that the schema allows, without those that are images: least ones first, then at random.

    Args:
        spec: The tool's spec.
        examples: About how many.
        seen: Must not raise.
    """
    from hypothesis import HealthCheck, Phase, given, settings

    # Hypothesis only draws here: what goes wrong is recorded by `seen`, and nothing is stored beside the project.
    quietly = settings(
        max_examples=examples,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )

    def draw(arguments: dict[str, Any]) -> None:
        seen(arguments)

    quietly(given(_strategy(spec))(draw))()


def _strategy(spec: ToolSpec) -> SearchStrategy[dict[str, Any]]:
    from hypothesis import strategies as st

    written = inline_references(spec.parameters)
    required = set(written.get("required", ()))
    always: dict[str, Any] = {}
    sometimes: dict[str, Any] = {}
    for name, schema in written["properties"].items():
        if name not in spec.images:
            (always if name in required else sometimes)[name] = _values(schema)
    return st.fixed_dictionaries(always, optional=sometimes)


def _values(schema: Any) -> SearchStrategy[Any]:
    from hypothesis import strategies as st
    from hypothesis_jsonschema import from_schema

    if is_box_schema(schema):  # a schema cannot say that the corners are in order

        def ends() -> SearchStrategy[Any]:
            return st.lists(st.integers(0, BOX_GRID_SIZE), min_size=2, max_size=2, unique=True).map(sorted)

        return st.tuples(ends(), ends()).map(lambda pair: [pair[0][0], pair[1][0], pair[0][1], pair[1][1]])
    branches = alternatives(schema)
    if len(branches) > 1:
        return st.one_of([_values(branch) for branch in branches])
    (branch,) = branches
    if branch.get("type") == "object" and "enum" not in branch:
        return _fitting(branch, _objects(branch))
    if branch.get("type") == "array" and "enum" not in branch:
        return _fitting(branch, _lists(branch))
    drawn: SearchStrategy[Any] = from_schema(dict(branch))
    return drawn


def _objects(schema: Mapping[str, Any]) -> SearchStrategy[Any]:
    """Objects: from_schema cannot draw them with every version of Hypothesis that it accepts."""
    from hypothesis import strategies as st

    properties = schema.get("properties", {})
    required = schema.get("required", ())
    known = st.fixed_dictionaries(
        {name: _values(properties.get(name, {})) for name in required},
        optional={name: _values(part) for name, part in properties.items() if name not in required},
    )
    entries = [({**schema.get("propertyNames", {}), "pattern": pattern}, part)
               for pattern, part in schema.get("patternProperties", {}).items()]  # fmt: skip
    others = schema.get("additionalProperties", not properties and not entries)
    if others is not False:
        entries.append((schema.get("propertyNames", {}), {} if others is True else others))
    least = max(0, schema.get("minProperties", 0) - len(required)) if len(entries) == 1 else 0
    parts = [
        st.dictionaries(_values({**names, "type": "string"}), _values(part), min_size=least, max_size=least + 3)
        for names, part in entries
    ]
    return st.tuples(*parts, known).map(lambda drawn: {name: value for part in drawn for name, value in part.items()})


def _lists(schema: Mapping[str, Any]) -> SearchStrategy[Any]:
    from hypothesis import strategies as st

    first = schema.get("prefixItems", [])
    least = max(0, schema.get("minItems", 0) - len(first))
    most = schema.get("maxItems", len(first) + least + 5) - len(first)
    items = schema.get("items", {})
    rest = st.lists(_values({} if items is True else items), min_size=least, max_size=most) if most > 0 else st.just([])
    return st.tuples(st.tuples(*map(_values, first)), rest).map(lambda drawn: [*drawn[0], *drawn[1]])


def _fitting(schema: Mapping[str, Any], drawn: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Those that fit all that a schema says, of things such as `uniqueItems` that drawing leaves to chance."""
    from jsonschema import Draft202012Validator

    return drawn.filter(Draft202012Validator(schema).is_valid)


def with_images(spec: ToolSpec, arguments: Mapping[str, Any], several: int = 2) -> dict[str, Any]:
    """The arguments with handles for the images: 0 for each, `several` handles for a list."""
    handles: dict[str, Any] = {
        name: list(range(several)) if "array" in accepted_types(spec.parameters["properties"][name]) else 0
        for name in spec.images
    }
    return {**handles, **arguments}


def resolved(tool: Tool, arguments: Mapping[str, Any], images: Mapping[int, Any]) -> dict[str, Any]:
    """Validated arguments with images in place of handles."""
    out = dict(arguments)
    for name in tool.image_arguments:
        value = out[name]
        out[name] = (
            [images[handle] for handle in value]
            if isinstance(value, list)
            else None
            if value is None
            else images[value]
        )
    return out


def invalid(spec: ToolSpec, valid: Mapping[str, Any]) -> Iterator[InvalidCase]:
    """Arguments with one thing wrong each, made from valid ones; none that the rule of docs/protocol.md repairs."""
    schema = inline_references(spec.parameters)
    names = tuple(schema["properties"])
    yield InvalidCase({**valid, "no_such_argument": 1}, "no_such_argument", names)
    for name in schema.get("required", ()):
        yield InvalidCase({k: v for k, v in valid.items() if k != name}, name, ("missing", "required"))
    for name, part in schema["properties"].items():
        for value, accepted in _corrupt(part):
            arguments = {**valid, name: value}
            if not repair_arguments(arguments, schema)[1]:
                yield InvalidCase(arguments, name, accepted)


def _corrupt(schema: Any) -> Iterator[tuple[Any, tuple[str, ...]]]:
    branches = alternatives(schema)
    if len(branches) > 1:
        return  # what is wrong for one may be right for another
    (branch,) = branches
    if "enum" in branch or "const" in branch:
        choices = branch.get("enum", [branch.get("const")])
        yield "no_such_choice", tuple(str(choice) for choice in choices)
        return
    kind = next(iter(stated_types(branch)), "") if len(stated_types(branch)) == 1 else ""
    written = str(branch.get("format", "")).partition("-")[0]  # of a date the error says that it must be one
    for value in _WRONG.get(kind, ()):
        yield value, (kind, *_WORDS.get(kind, ()), *filter(None, [written]))
    for key, below in (("minimum", 1), ("exclusiveMinimum", 0), ("maximum", -1), ("exclusiveMaximum", 0)):
        bound = branch.get(key)
        if isinstance(bound, int | float) and not isinstance(bound, bool):
            yield bound - below, (f"{bound:g}", str(bound), json.dumps(bound))


_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "integer": ("int",),
    "number": ("float", "integer"),
    "string": ("text", "characters"),
    "boolean": ("bool", "true"),
    "array": ("list", "tuple", "items"),
    "object": ("dict", "mapping"),
}
