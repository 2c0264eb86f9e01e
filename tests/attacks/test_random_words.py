"""Whatever is said, returned or answered: a value or a typed error, and records that read back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medvistagym_core.environment import Answer
from medvistagym_core.environment.grading import GRADERS, Grade, grade
from medvistagym_core.execution import ImageStore, LocalExecutor
from medvistagym_core.imaging import Image
from medvistagym_core.protocol import TextProtocol, Turn
from medvistagym_core.scoring import PROTOCOLS, ScoredItem
from medvistagym_core.tools import Toolbox, ToolCall, ToolResult, tool

PIECES = (
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "<answer>", "</answer>", "<|im_end|>", "[INST]", "&lt;"),
    *(
        '{"name": "window", "arguments": {',
        "}}",
        '"image": 0',
        "\\u003c",
        "\\ud800",
        "\u2028",
        "\u202e",
        "\ud800",
        "\0",
        "\n",
    ),
    *("yes", "no", "(B)", "3.5 mm", "1,000", "\\boxed{", "**", "[1, 2, 3, 4]", "left"),
)
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=20)), max_size=12).map("".join)
VALUES = {
    "exact": "fat",
    "yes_no": "yes",
    "choice": "fat",
    "number": "5",
    "set": "a; b",
    "box": "[1, 2, 3, 4]",
    "text": "fat in lung",
}
ODD = st.one_of(st.binary(max_size=8), st.just(object()), st.just({1, 2}))
KEYS = st.one_of(TEXTS, st.integers(), st.none())
JSON_LIKE: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, ODD),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)
ROOM = {"deadline": None, "suppress_health_check": list(HealthCheck)}
returned: list[Any] = [None]


@tool(deterministic=False)
def give(image: Image) -> Any:
    """Give back what the test says.

    Args:
        image: Any.
    """
    return returned[0]


def parse(text: str) -> None:
    turn = TextProtocol().parse(text)
    assert isinstance(turn, Turn)
    assert (turn.error is not None) or turn.calls or turn.answer is not None
    turn.text.encode()


def answer(text: str) -> None:
    for kind, value in VALUES.items():
        assert isinstance(
            grade(Answer(value, kind=kind), text, options=("fat", "b") if kind == "choice" else ()), Grade
        )
    for protocol in PROTOCOLS.values():
        protocol.score_item(ScoredItem("1", "vqa_rad", "Which?", "fat", text, "choice", ("fat", "b")), None)


def run_tool(value: Any) -> None:
    returned[0] = value
    with LocalExecutor(Toolbox({"give": give}), cache_bytes=0) as executor:
        image = Image(pixels=np.zeros((2, 2), np.uint8))
        ((result,),) = executor.run([(ImageStore([image]), [ToolCall(name="give", arguments={"image": 0})])])
    assert isinstance(result, ToolResult)
    assert isinstance(result.text, str)
    result.text.encode()
    json.dumps(result.data, allow_nan=False).encode()
    if result.error is not None:
        assert result.error.code in ("tool_failed", "bad_value")
        str(result.error).encode()


def test_every_kind_of_answer_is_tried() -> None:
    assert VALUES.keys() == GRADERS.keys()


@given(TEXTS)
@settings(max_examples=150, **ROOM)
def test_words_of_a_policy(text: str) -> None:
    parse(text)
    answer(text)


@given(st.one_of(JSON_LIKE, st.tuples(TEXTS, JSON_LIKE), st.builds(lambda data: ToolResult(data=data), JSON_LIKE)))
@settings(max_examples=150, **ROOM)
def test_results_of_a_tool(value: Any) -> None:
    run_tool(value)


@pytest.mark.attack
@given(TEXTS)
@settings(max_examples=20_000, **ROOM)
def test_many_words_of_a_policy(text: str) -> None:
    parse(text)
    answer(text)


@pytest.mark.attack
@given(JSON_LIKE)
@settings(max_examples=5_000, **ROOM)
def test_many_results_of_a_tool(value: Any) -> None:
    run_tool(value)
