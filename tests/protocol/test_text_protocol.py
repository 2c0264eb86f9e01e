import json
import pickle
import random

import pytest
from pydantic import TypeAdapter, ValidationError

from medvistagym_core.protocol import TextProtocol
from medvistagym_core.tools import ToolCall

ZOOM = '<tool_call>{"name": "zoom", "arguments": {"image": 0, "box": [0, 0, 500, 500]}}</tool_call>'
WINDOW = '<tool_call>{"name": "window", "arguments": {"image": 0, "preset": "lung"}}</tool_call>'


def test_a_call_and_an_answer_are_read():
    turn = TextProtocol().parse(f"<think>A small marker.</think>{ZOOM}")
    assert turn.reasoning == "A small marker."
    assert turn.calls == (ToolCall(name="zoom", arguments={"image": 0, "box": [0, 0, 500, 500]}),)
    assert turn.answer is None
    assert turn.error is None
    assert turn.well_formed

    turn = TextProtocol().parse("<think>It is dark.</think>\n<answer> air </answer>")
    assert turn.answer == "air"
    assert turn.calls == ()
    assert turn.well_formed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "End the turn with"),
        ("Probably a cyst.", "End the turn with"),
        ("<think>hm</think>", "End the turn with"),
        ("<think>hm", "Close your reasoning with </think>"),
        ('<tool_call>{"name": "zoom", "arguments": {"image": 0}</tool_call>', "not JSON"),
        ("<tool_call></tool_call>", "empty"),
        ("<tool_call>zoom</tool_call>", "not JSON"),
        ('<tool_call>{"name": "zoom"}', "Close the call with </tool_call>"),
        ('<tool_call>{"name": "zo', "Close the call with </tool_call>"),
        ('<tool_call>{"name": "zoom"} {"name": "zoom"}</tool_call>', "at most 1 call"),
        ('<tool_call>["zoom"]</tool_call>', "JSON object"),
        ('<tool_call>{"arguments": {}}</tool_call>', 'no "name"'),
        ('<tool_call>{"name": 3, "arguments": {}}</tool_call>', 'no "name"'),
        ('<tool_call>{"name": "zoom", "arguments": [0]}</tool_call>', '"arguments" is a JSON object'),
        ('<tool_call>{"name": "zoom", "image": 0}</tool_call>', "only, not"),
        ('<tool_call>{"name": "w", "arguments": {"center": NaN}}</tool_call>', "NaN is not JSON"),
        ('<tool_call>{"name": "w", "arguments": {"center": 1e999}}</tool_call>', "too large"),
        ('<tool_call>{"name": "w", "arguments": {"p": "\\ud800"}}</tool_call>', "\\u escape"),
        ("<answer>left</answer><answer>right</answer>", "one <answer>, not 2"),
        ("<answer></answer>", "empty"),
        ("<answer>left", "Close your answer"),
        ("<answer>left<answer>right</answer>", "only the answer"),
        ("left</answer>", "closing tag"),
        (f"{ZOOM}<answer>left</answer>", "not both"),
        (ZOOM + WINDOW + ZOOM, "at most 1 call in one turn, not 3"),
        ("<answer>left</answer><think>because</think>", "<think>...</think> first"),
        (f"{ZOOM}<think>because</think>", "<think>...</think> first"),
        ("<think>a</think><think>b</think><answer>left</answer>", "once"),
    ],
)
def test_what_is_wrong_is_one_sentence(text, says):
    turn = TextProtocol().parse(text)
    assert turn.error is not None
    assert turn.error.code == "malformed_call"
    assert says in turn.error.message
    assert "\n" not in turn.error.message
    assert len(turn.error.message) < 220
    assert turn.calls == ()
    assert turn.answer is None
    assert not turn.well_formed


def test_reasoning_may_be_required_or_off():
    answer = "<answer>left</answer>"
    assert TextProtocol("optional").parse(answer).well_formed
    missing = TextProtocol("required").parse(answer)
    assert missing.error is not None
    assert "Start the turn with <think>" in missing.error.message
    assert TextProtocol("required").parse(f"<think> </think>{answer}").error is not None
    thought = TextProtocol("off").parse(f"<think>x</think>{answer}")
    assert thought.answer == "left"
    assert not thought.well_formed
    with pytest.raises(ValueError, match="required"):
        TextProtocol("always")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        TextProtocol(max_calls_per_turn=0)


def test_a_template_may_have_opened_the_reasoning():
    turn = TextProtocol("required").parse("A small marker.</think>" + ZOOM)
    assert turn.reasoning == "A small marker."
    assert len(turn.calls) == 1
    assert turn.well_formed


def test_text_beside_the_parts_is_read_but_does_not_conform():
    for text in ("Let me look. " + ZOOM, ZOOM + " ok", "I see < 5 mm: <answer>left</answer>"):
        turn = TextProtocol().parse(text)
        assert turn.error is None
        assert turn.calls or turn.answer
        assert not turn.well_formed


def test_tags_inside_json_are_just_text():
    call = ToolCall(name="note", arguments={"text": 'a </tool_call> and <answer>x</answer> "quoted" é'})
    turn = TextProtocol().parse(
        "<tool_call>" + json.dumps({"name": call.name, "arguments": call.arguments}) + "</tool_call>"
    )
    assert turn.calls == (call,)


def test_several_calls_where_allowed():
    protocol = TextProtocol(max_calls_per_turn=2)
    assert [c.name for c in protocol.parse(ZOOM + "\n" + WINDOW).calls] == ["zoom", "window"]
    error = protocol.parse(ZOOM * 3).error
    assert error is not None
    assert "at most 2 calls" in error.message
    assert protocol.stop_strings == ("</answer>",)
    assert TextProtocol().stop_strings == ("</tool_call>", "</answer>")


def test_render_is_read_back():
    protocol = TextProtocol(max_calls_per_turn=2)
    calls = (ToolCall(name="zoom", arguments={"image": 1, "box": [0, 0, 1, 1]}), ToolCall(name="window", arguments={}))
    turn = protocol.parse(protocol.format_turn("why", calls))
    assert (turn.reasoning, turn.calls, turn.well_formed) == ("why", calls, True)
    turn = protocol.parse(protocol.format_turn(answer="upper left"))
    assert (turn.reasoning, turn.answer, turn.well_formed) == (None, "upper left", True)
    assert TextProtocol("off").format_turn("why", answer="x") == "<answer>x</answer>"
    for bad in ({}, {"calls": calls, "answer": "x"}, {"answer": "</answer>"}, {"answer": " "}, {"calls": calls * 2}):
        with pytest.raises(ValueError, match=r".+"):
            protocol.format_turn(**bad)


def test_rules_say_how_to_write_a_turn():
    assert "required" not in TextProtocol("required").instructions
    assert TextProtocol("required").instructions.startswith("Start every turn with <think>")
    assert "<think>" not in TextProtocol("off").instructions
    assert "up to 3 tool calls" in TextProtocol(max_calls_per_turn=3).instructions
    for think in ("required", "optional", "off"):
        assert "<tool_call>" in TextProtocol(think).instructions
        assert "<answer>" in TextProtocol(think).instructions


def message(*calls, content="", **more):
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **more}


def test_structured_calls_give_the_same_turn():
    arguments = {"image": 0, "box": [0, 0, 500, 500]}
    text = TextProtocol().parse(f"<think>Look closer.</think>{ZOOM}")
    for call in (
        {"type": "function", "function": {"name": "zoom", "arguments": arguments}},
        {"name": "zoom", "arguments": json.dumps(arguments)},
    ):
        for said in (
            message(call, content="<think>Look closer.</think>"),
            message(call, content=[{"type": "text", "text": "<think>Look closer.</think>"}]),
            message(call, content=None, reasoning_content="Look closer."),
        ):
            assert TextProtocol().parse_message(said) == text
    assert TextProtocol().parse_message({"role": "assistant", "content": "<answer>left</answer>"}).answer == "left"
    assert TextProtocol().parse_message({"role": "assistant", "content": ZOOM}).calls == text.calls
    assert (
        TextProtocol().parse_message(message({"id": "call_1", "name": "zoom", "arguments": arguments})).calls[0].id
        == "call_1"
    )


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (message({"name": "zoom", "arguments": "{"}), "not JSON"),
        (message({"name": "zoom", "arguments": "[]"}), "JSON object"),
        (message({"name": "zoom", "arguments": {"x": float("nan")}}), "finite"),
        (message({"name": "zoom", "arguments": {"x": object()}}), "finite"),
        (message({"name": "zoom", "arguments": {"x": "\ud800"}}), "plain characters"),
        (message({"name": None, "arguments": {}}), 'no "name"'),
        (message({"function": "zoom"}), 'no "name"'),
        (message("zoom"), "JSON object"),
        ({"content": "", "tool_calls": {"name": "zoom"}}, "list of calls"),
        (message({"name": "zoom", "arguments": {}}, content="<answer>left</answer>"), "not both"),
        (message(*[{"name": "zoom", "arguments": {}}] * 3), "not 3"),
        ({"content": None}, "End the turn with"),
        ({}, "End the turn with"),
        ({"content": 7}, "End the turn with"),
    ],
)
def test_what_is_wrong_with_a_structured_turn(said, says):
    turn = TextProtocol().parse_message(said)
    assert turn.error is not None
    assert turn.error.code == "malformed_call"
    assert says in turn.error.message
    turn.text.encode()


def test_hostile_text_never_raises():
    rng = random.Random(7)
    tags = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<answer>", "</answer>"]
    parts = [*tags, "{", "}", '"name"', ":", '"a"', "[", "1", " ", "\\u", "é", "\ud800", "\x00", "<"]
    for _ in range(5000):
        text = "".join(rng.choices(parts, k=rng.randrange(14)))
        turn = TextProtocol().parse(text)
        turn.text.encode()
        assert (turn.error is None) == bool(turn.calls or turn.answer)
    digits = '<tool_call>{"name": ' + "9" * 10_000 + "}</tool_call>"
    for text in ("[" * 200_000, "<tool_call>" + "[" * 200_000, digits, "<" * 200_000):
        assert TextProtocol().parse(text).error is not None
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    assert TextProtocol().parse_message(message({"name": "zoom", "arguments": {"x": deep}})).error is not None


CONFORMING = [
    "<think>why</think><answer> upper left </answer>",
    ' <think> why\nnot </think>\n<tool_call>\n{"name": "zoom", "arguments": {"image": 0}}\n</tool_call>\n',
    '<tool_call>{"name": "zoom"}</tool_call>',
    "<think></think><answer>x</answer>",
    "<answer></answer>",
    "<answer>  </answer>",
    "<think>a</think><answer>a<b</answer>",
    "<think>a<b</think><answer>x</answer>",
    "<think>a</think><think>b</think><answer>x</answer>",
    "<answer>a</answer><answer>b</answer>",
    '<tool_call>{"name": "a"}</tool_call><tool_call>{"name": "b"}</tool_call>',
    '<tool_call>{"name": "a", "arguments": {"text": "</tool_call>"}}</tool_call>',
    '<tool_call>{"name": "a", "arguments": {"text": "\\ud800"}}</tool_call>',
    '<tool_call>{"name": "a", "arguments": {"x": NaN}}</tool_call>',
    '<tool_call>{"name": "a", "arguments": {"x": 1e999}}</tool_call>',
    '<tool_call>{"name": "a", "args": {}}</tool_call>',
    '<tool_call>{"name": "a", "arguments": {"x": "}"}}</tool_call>',
    '<tool_call>{"name": "a", "arguments": {"x": 1}}}</tool_call>',
    '<tool_call>{"name": "a", "arguments": {"x": 1}, "id": {}}</tool_call>',
    '<tool_call>{"name": "a", "arguments": {"x": 1}, "arguments": {"y": 2}}</tool_call>',
    '<tool_call>{"arguments": {"x": 1}, "name": "a"}</tool_call>',
    '<tool_call>{"name":"a","arguments":{"x":1}}</tool_call>',
    '<tool_call>\n{\n "name": "a",\n "arguments": {"x": 1}\n}\n</tool_call>',
    '<tool_call>{"name": "\\u0061", "arguments": {"x": "\\u00e9"}}</tool_call>',
    '<tool_call>{"name": "Gro\u00df 2", "arguments": {"x": "\u00e9"}}</tool_call>',
    '<tool_call>{"name": "a"} {}</tool_call>',
    '<tool_call>{"name": ""}</tool_call>',
    '<tool_call>{"name": "a", "id": null}</tool_call>',
    '<tool_call>{"name": "a", "arguments": null}</tool_call>',
    '<tool_call>{"name": "a", "arguments": {"x": [{"y": -1e999}]}}</tool_call>',
    '<tool_call>{"name": "a", "arguments": {"x": [Infinity]}}</tool_call>',
    '<tool_call>{"name": "a", "name": "b", "arguments": {"x": 1, "x": 2.50}}</tool_call>',
    '<tool_call>\u00a0{"name": "a"}</tool_call>',
    '<tool_call>{"name": "a", "arguments": {"x": [' + "9" * 60 + ", -0, 1E2, true, null]}}</tool_call>",
    '<tool_call>{"name": "a", "arguments": {"x": ' + "[" * 300 + "]" * 300 + "}}</tool_call>",
    "<tool_call>{}</tool_call>",
    "<think>a</think>",
    "so <answer>x</answer>",
    "<answer>x</answer> there",
]


@pytest.mark.parametrize("think", ["required", "optional", "off"])
@pytest.mark.parametrize("text", CONFORMING)
def test_a_chat_message_reads_as_its_text(text, think):
    protocol = TextProtocol(think)
    assert repr(protocol.parse_message({"role": "assistant", "content": text})) == repr(protocol.parse(text))


def test_a_call_is_checked_and_frozen_and_travels_whether_read_or_made():
    (read,) = TextProtocol().parse('<tool_call>{"name": "zoom", "arguments": {"image": 0}}</tool_call>').calls
    made = ToolCall(name="zoom", arguments={"image": 0})
    assert read == made
    assert repr(read) == repr(made) == "ToolCall(name='zoom', arguments={'image': 0}, id=None, repairs=())"
    assert pickle.loads(pickle.dumps(read)) == made
    assert TypeAdapter(ToolCall).validate_json(TypeAdapter(ToolCall).dump_json(read)) == made
    assert ToolCall(name="zoom").arguments == {}
    for call in (read, made):
        with pytest.raises(AttributeError):
            call.name = "other"
    for wrong in ({"name": 3}, {"name": "zoom", "arguments": [0]}, {"name": "zoom", "more": 1}, {}):
        with pytest.raises(ValidationError):
            TypeAdapter(ToolCall).validate_python(wrong)


@pytest.mark.parametrize("left", ["<|im_end|>", "\n<|im_end|>\n", "</s>", " <end_of_turn>\n", "<|eot_id|><|eot_id|>"])
def test_marks_of_the_end_that_a_server_left_are_taken_off(left):
    turn = TextProtocol().parse(f"<think>a</think>\n<answer>yes</answer>{left}")
    assert (turn.answer, turn.error, turn.well_formed) == ("yes", None, False)
    assert turn.text == "<think>a</think>\n<answer>yes</answer>"
    assert TextProtocol().parse(f"<answer>yes</answer>{left}<answer>").error.code == "malformed_call"
