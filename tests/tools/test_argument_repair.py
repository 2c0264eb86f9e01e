"""The one rule for arguments that are not sent as the schema says: docs/protocol.md says it, and here it is held to that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import BaseModel, Field

from medvistagym_core import Box, Image, ImageStore, LocalExecutor, Toolbox, ToolCall, ToolError, ToolSpec, tool
from medvistagym_core.tools import Tool, repair_arguments

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"


class Margin(BaseModel):
    """A margin."""

    mm: float
    sides: list[int] = []


@tool
def shade(
    image: Image,
    others: list[Image] | None = None,
    width: Annotated[float, Field(gt=0)] = 400.0,
    count: int = 1,
    loud: bool = False,
    box: Box | None = None,
    word: str = "",
    preset: Literal["lung", "bone"] | None = None,
    level: float | Literal["auto"] = "auto",
    margin: Margin | None = None,
) -> str:
    """Say what was given.

    Args:
        image: The image.
        others: Other images.
        width: A number.
        count: A whole number.
        loud: Whether to shout.
        box: Where.
        word: A text.
        preset: A choice.
        level: A number, or auto.
        margin: A nested value.
    """
    return repr([image.shape, width, count, loud, box, word, preset, level, margin])


@pytest.mark.parametrize(
    ("sent", "meant", "repairs"),
    [
        ({"image": "0"}, {"image": 0}, "text_value"),
        ({"image": 0.0}, {"image": 0}, "whole_number"),
        ({"image": "0.0"}, {"image": 0}, "text_value whole_number"),
        ({"others": "[1, 2]"}, {"others": [1, 2]}, "text_value"),
        ({"others": ["1", 2.0]}, {"others": [1, 2]}, "text_value whole_number"),
        ({"width": "40"}, {"width": 40.0}, "text_value"),
        ({"width": " 4e1 "}, {"width": 40.0}, "text_value"),
        ({"count": "3"}, {"count": 3}, "text_value"),
        ({"loud": "true"}, {"loud": True}, "text_value"),
        ({"loud": "True"}, {"loud": True}, "text_value"),
        ({"box": "[0, 0, 500, 500]"}, {"box": Box(0, 0, 500, 500)}, "text_value"),
        ({"box": "(0, 0, 500.0, 500)"}, {"box": Box(0, 0, 500, 500)}, "text_value whole_number"),
        ({"box": ["0", "0", "500", "500"]}, {"box": Box(0, 0, 500, 500)}, "text_value"),
        ({"box": None}, {}, "null_value"),
        ({"box": "null"}, {}, "null_value"),
        ({"preset": None, "width": None}, {}, "null_value"),
        ({"level": "1.5"}, {"level": 1.5}, "text_value"),
        ({"level": "auto"}, {"level": "auto"}, ""),
        ({"level": "automatic"}, None, ""),
        ({"preset": "None"}, {}, "null_value"),
        ({"level": 1.5}, {"level": 1.5}, ""),
        ({"margin": "{'mm': '2', 'sides': [1.0]}"}, {"margin": Margin(mm=2, sides=[1])}, "text_value whole_number"),
        ({"margin": {"mm": 2, "sides": "[3]"}}, {"margin": Margin(mm=2, sides=[3])}, "text_value"),
        ({"explanation": "I look."}, {}, "note_left_out"),
        ({"reason": "why", "width": "40"}, {"width": 40.0}, "note_left_out text_value"),
        ({"explanation": 3}, None, ""),
        ({"level_name": "x"}, None, ""),
        ({"word": "40"}, {"word": "40"}, ""),
        ({"word": "None"}, {"word": "None"}, ""),
        ({"count": 1.5}, None, ""),
        ({"count": True}, None, ""),
        ({"loud": 1}, None, ""),
        ({"word": 7}, None, ""),
        ({"width": "NaN"}, None, ""),
        ({"width": "wide"}, None, ""),
        ({"preset": "Lung"}, None, ""),
        ({"box": "0, 0, 500, 500"}, None, ""),
        ({"image": None}, None, ""),
        ({"box": [0, 0, 1400, 1400]}, None, ""),
        ({"count": "9" * 5000}, None, ""),
    ],
)
def test_arguments_are_taken_as_they_are_meant(
    sent: dict[str, Any], meant: dict[str, Any] | None, repairs: str
) -> None:
    sent = {"image": 0, **sent}
    if meant is None:
        with pytest.raises(ToolError, match="bad_arguments"):
            shade.validate(sent)
        return
    checked = shade.check(sent)
    assert checked.values == {**shade.validate({"image": 0}), **meant}
    assert checked.repairs == tuple(repairs.split())
    assert shade.validate(checked.sent) == checked.values


def test_valid_arguments_are_never_touched() -> None:
    sent = {"image": 0, "word": "[1, 2]", "width": 40, "box": [0, 0, 1, 1]}
    checked = shade.check(sent)
    assert checked.sent is sent
    assert checked.repairs == ()


def test_the_error_is_that_of_what_cannot_be_repaired() -> None:
    with pytest.raises(ToolError, match=r'count must be a valid integer.*got "some"'):
        shade.validate({"image": "0", "width": "40", "count": "some"})


def test_a_choice_that_is_none_is_no_repair() -> None:
    arguments, repairs = repair_arguments({"image": 0, "preset": "lungs"}, shade.spec.parameters)
    assert arguments["preset"] == "lungs"
    assert repairs == ()


@pytest.mark.parametrize("reference", ["#/$defs/size", "#/properties/other"])
def test_the_rule_holds_for_a_tool_that_a_json_schema_describes(reference: str) -> None:
    def check(values: Any) -> None:
        if type(values["size"]) is not int:
            raise ValueError(f"size is an integer, not {values['size']!r}")

    size = {"type": "integer", "description": "Its size."}
    parameters = {
        "type": "object",
        "properties": {"size": {"$ref": reference}, "other": size, "note": {"type": ["string", "null"]}},
        "required": ["size"],
        "$defs": {"size": size},
    }
    spec = ToolSpec(name="remote", description="Far away.", parameters=parameters, returns=("text",))
    remote = Tool.from_schema(spec, lambda **given: repr(given), check)
    assert remote.check({"size": "3", "other": None, "note": None}).values == {"size": 3, "note": None}
    with pytest.raises(ToolError, match="size is an integer, not 'big'"):
        remote.check({"size": "big"})


def test_the_executor_runs_a_repaired_call_as_the_call_that_was_meant() -> None:
    store = ImageStore([Image(pixels=np.zeros((4, 6), np.uint8)), Image(pixels=np.zeros((8, 9), np.uint8))])

    @tool
    def cut(image: Image, box: Box) -> Image:
        """Cut out a part.

        Args:
            image: The image.
            box: Where.
        """
        return image.crop(*image.box_to_pixels(box))

    plain = ToolCall(name="cut", arguments={"image": 1, "box": [0, 0, 500, 500]})
    stringly = ToolCall(name="cut", arguments={"image": "1", "box": "[0, 0, 500, 500]"})
    wrong = ToolCall(name="cut", arguments={"image": "7", "box": "[0, 0, 500, 500]"})
    with LocalExecutor(Toolbox({"cut": cut})) as executor:
        ((first, second, third),) = executor.run([(store, [plain, stringly, wrong])])
    assert (first.repairs, second.repairs, third.repairs) == ((), ("text_value",), ("text_value",))
    assert not first.cached
    assert second.cached, "one call, however it is written"
    assert third.error is not None
    assert third.error.code == "bad_value"
    assert [stored.parent for stored in store] == [None, None, 1, 1]


def test_every_repair_of_the_page_is_tried_here() -> None:
    table = re.search(r"<!-- values -->\n(.*?)<!-- /values -->", PAGE.read_text("utf-8"), re.DOTALL)
    assert table is not None
    tried = {"text_value", "whole_number", "null_value", "note_left_out"}
    assert set(re.findall(r"^\| `(\w+)`", table[1], re.MULTILINE)) == tried
