"""Every tool that is installed, with odd images and odd arguments: a result or a typed error, and a record that reads back."""

from __future__ import annotations

import json
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis_jsonschema import from_schema

from medvistagym_core.environment import Answer, Case, Episode, EpisodeConfig
from medvistagym_core.execution import LocalExecutor
from medvistagym_core.imaging import Image, Window
from medvistagym_core.plugins import Registry
from medvistagym_core.tools import ErrorCode, Tool, Toolbox, ToolResult, inline_references
from medvistagym_core.trajectories import Trajectory

TOOLS: dict[str, Tool] = dict(Registry.discover().toolbox("*"))
ROOM = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None, "derandomize": True}
rng = np.random.default_rng(0)
IMAGES = {
    "noise": Image(pixels=rng.integers(0, 255, (24, 20)).astype(np.uint8)),
    "a pixel": Image(pixels=np.zeros((1, 1), np.uint8)),
    "a row": Image(pixels=np.arange(40, dtype=np.int16)[None], unit="HU", modality="CT", spacing=(0.5, 0.5)),
    "colours": Image(pixels=rng.integers(0, 255, (16, 16, 3)).astype(np.uint8), unit="RGB", photometric="RGB"),
    "not finite": Image(pixels=np.array([[np.nan, np.inf], [-np.inf, 1.0]], np.float32), unit="raw"),
    "huge": Image(pixels=np.full((8, 8), 1e38, np.float32), unit="raw"),
    "sixty-four bits": Image(pixels=np.full((8, 8), 2**62, np.int64), unit="raw", window=Window(0, 1)),
    "truth": Image(pixels=np.eye(12, dtype=bool), unit="mask"),
    "nothing": Image(pixels=np.zeros((9, 9), np.uint8), unit="mask"),
    "a volume": Image(
        pixels=rng.normal(0, 400, (3, 12, 10)).astype(np.float32), unit="HU", modality="CT", spacing=(2.0, 1.0, 1.0)
    ),
    "frames": Image(pixels=rng.integers(0, 255, (2, 12, 12)).astype(np.uint8), modality="US"),
    "a sliver": Image(pixels=np.zeros((2, 3), np.uint16), unit="raw", spacing=(1e-9, 1e9)),
}  # fmt: skip
ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=5),
)


def arguments_of(tool: Tool) -> st.SearchStrategy[dict[str, Any]]:
    """Arguments that its schema allows, now and then with one of another kind."""
    schema = inline_references(tool.spec.parameters)
    handles = st.integers(0, 1)
    parts = {
        name: handles
        if name in tool.spec.images and part.get("type") == "integer"
        else from_schema({key: value for key, value in part.items() if key != "default"})
        for name, part in schema["properties"].items()
    }
    required = {name: part for name, part in parts.items() if name in schema.get("required", ())}
    optional = {name: part for name, part in parts.items() if name not in required}
    allowed = st.fixed_dictionaries(required, optional=optional)
    others = st.dictionaries(st.one_of(st.sampled_from(sorted(parts)), st.text(max_size=4)), ODD, max_size=2)
    return st.one_of(allowed, allowed, st.tuples(allowed, others).map(lambda pair: {**pair[0], **pair[1]}))


def call(name: str, images: tuple[str, str], arguments: dict[str, Any]) -> ToolResult:
    """The result of a call in an episode whose record reads back."""
    box = Toolbox({name: TOOLS[name]})
    case = Case("c", "t", "test", 0, "f", "What is it?", tuple(IMAGES[image] for image in images), Answer("x"))
    episode = Episode(case, box, EpisodeConfig(view_side=16))
    text = json.dumps({"name": name, "arguments": arguments})
    with LocalExecutor(box, cache_bytes=0) as executor:
        calls = episode.submit_turn(f"<tool_call>{text}</tool_call>")
        results = executor.run([(episode.store, calls)])[0]
        episode.submit_results(results)
    record = episode.to_trajectory()
    assert Trajectory.model_validate_json(record.model_dump_json(round_trip=True)) == record
    assert episode.observation().messages
    (result,) = results or (ToolResult(),)
    return result


def try_tool(name: str, examples: int) -> None:
    failed: dict[str, str] = {}

    @given(arguments_of(TOOLS[name]), st.tuples(st.sampled_from(sorted(IMAGES)), st.sampled_from(sorted(IMAGES))))
    @settings(max_examples=examples, **ROOM)
    def run(arguments: dict[str, Any], images: tuple[str, str]) -> None:
        result = call(name, images, arguments)
        if result.error is None:
            return
        assert result.error.code in get_args(ErrorCode)
        said = str(result.error)
        assert "\n" not in said
        if result.error.code == "tool_failed":
            failed[said[:200]] = f"{images} {arguments}"[:200]

    run()
    assert failed == {}


def test_there_are_many_tools() -> None:
    assert len(TOOLS) > 20


@pytest.mark.filterwarnings("ignore")  # what libraries say of values that are not finite
@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_gives_a_result_or_a_sentence(name: str) -> None:
    try_tool(name, 5)


@pytest.mark.attack
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_gives_a_result_or_a_sentence_whatever_it_is_given(name: str) -> None:
    try_tool(name, 150)
