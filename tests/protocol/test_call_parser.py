"""The one rule for calls that are not written as they should be: docs/protocol.md says it, and here it is held to that."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from medvistagym_core.protocol import TextProtocol
from medvistagym_core.tools import ToolCall

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
BOX = {"image": 0, "box": [0, 0, 500, 500]}
CALL = json.dumps({"name": "zoom", "arguments": BOX})

# For each repair of the page: what a policy writes between the tags, and the calls it means.
REPAIRED = {
    "code_fence": (f"\n```json\n{CALL}\n```\n", [BOX]),
    "python_literal": ("{'name': 'zoom', 'arguments': {'image': 0, 'box': (0, 0, 500, 500)}}", [BOX]),
    "several_in_one_tag": (f"{CALL}\n{CALL}", [BOX, BOX]),
    "function_wrapper": (f'{{"id": "c1", "type": "function", "function": {CALL}}}', [BOX]),
    "arguments_key": (CALL.replace("arguments", "parameters"), [BOX]),
    "arguments_text": (json.dumps({"name": "zoom", "arguments": json.dumps(BOX)}), [BOX]),
    "arguments_null": ('{"name": "zoom", "arguments": null}', [{}]),
}


def documented(section: str) -> list[str]:
    """The names of the repairs in a table of the page."""
    table = re.search(rf"<!-- {section} -->\n(.*?)<!-- /{section} -->", PAGE.read_text("utf-8"), re.DOTALL)
    assert table is not None
    return re.findall(r"^\| `(\w+)`", table[1], re.MULTILINE)


def test_every_repair_of_the_page_is_tried_here() -> None:
    assert documented("form") == list(REPAIRED)


@pytest.mark.parametrize("repair", REPAIRED)
def test_a_call_in_another_form_is_read_and_says_so(repair: str) -> None:
    written, arguments = REPAIRED[repair]
    turn = TextProtocol(max_calls_per_turn=2).parse(f"<tool_call>{written}</tool_call>")
    assert turn.error is None
    assert [(call.name, call.arguments) for call in turn.calls] == [("zoom", one) for one in arguments]
    assert {call.repairs for call in turn.calls} == {(repair,)}
    assert not turn.well_formed


@pytest.mark.parametrize(
    "written",
    [
        f"[{CALL}, {CALL}]",
        f"{CALL},{CALL}",
        f"```\n{CALL}\n{CALL}\n```",
        CALL.replace('"', "'") + "\n" + CALL,
    ],
)
def test_several_calls_in_one_pair_of_tags_are_several_calls(written: str) -> None:
    turn = TextProtocol(max_calls_per_turn=2).parse(f"<tool_call>{written}</tool_call>")
    assert len(turn.calls) == 2
    assert all("several_in_one_tag" in call.repairs for call in turn.calls)
    one = TextProtocol().parse(f"<tool_call>{written}</tool_call>")
    assert one.error is not None
    assert "at most 1 call in one turn, not 2" in one.error.message


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("{'name': 'note', 'arguments': {'text': \"it's None\"}}", "it's None"),
        ("{'name': 'note', 'arguments': {'text': 'a \"b\" \\'c\\' \\u00e9'}}", "a \"b\" 'c' é"),
        ("{'name': 'note', 'arguments': {'text': '(True)'}}", "(True)"),
        ('{"name": "note", "arguments": {"text": None}}', None),
        ("{'name': 'note', 'arguments': {'text': [True, null, -1.5e3]}}", [True, None, -1500.0]),
    ],
)
def test_python_literals_keep_the_words_in_their_texts(written: str, value: object) -> None:
    (call,) = TextProtocol().parse(f"<tool_call>{written}</tool_call>").calls
    assert call.arguments == {"text": value}
    assert call.repairs == ("python_literal",)


def test_a_call_as_it_should_be_is_not_said_to_be_repaired() -> None:
    turn = TextProtocol().parse(f"<tool_call>{CALL}</tool_call>")
    assert turn.calls == (ToolCall(name="zoom", arguments=BOX),)
    assert turn.calls[0].repairs == ()
    assert turn.well_formed


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (CALL[:-1], "not JSON (expecting ',' delimiter"),
        (CALL + "}", 'no "}" after it'),
        (CALL.replace("}}", ",}}"), "not JSON"),
        ("{“name”: “zoom”}", "plain double quotes"),
        ("<function=zoom><parameter=image>0</parameter></function>", "control mark"),
        ("zoom(image=0)", "not JSON"),
        ("[]", "empty"),
        ("``` ```", "not JSON"),
        (f"{CALL} and more", 'no "and more" after it'),
        ('{"name": "zoom", "arguments": {}, "parameters": {}}', 'not "parameters"'),
        ('{"name": "zoom", "arguments": "image 0"}', '"arguments" is not JSON: "image 0"'),
        ('{"name": "zoom", "arguments": "[0]"}', '"arguments" is a JSON object'),
        ('{"function": "zoom", "arguments": {}}', 'no "name"'),
    ],
)
def test_what_is_not_clear_is_answered_by_a_sentence(written: str, says: str) -> None:
    turn = TextProtocol(max_calls_per_turn=2).parse(f"<tool_call>{written}</tool_call>")
    assert turn.calls == ()
    assert turn.error is not None
    assert says in turn.error.message
    assert len(turn.error.message) < 220
    assert "\n" not in turn.error.message


@pytest.mark.parametrize(
    ("sent", "repairs"),
    [
        ({"type": "function", "function": {"name": "zoom", "arguments": json.dumps(BOX)}}, ()),
        ({"name": "zoom", "arguments": BOX}, ()),
        ({"name": "zoom", "parameters": BOX}, ("arguments_key",)),
        ({"function": {"name": "zoom", "arguments": str(BOX)}}, ("python_literal",)),
    ],
)
def test_the_same_rule_holds_for_a_chat_message(sent: object, repairs: tuple[str, ...]) -> None:
    turn = TextProtocol().parse_message({"role": "assistant", "content": "", "tool_calls": [sent]})
    assert [call.arguments for call in turn.calls] == [BOX]
    assert turn.calls[0].repairs == repairs
    assert turn.well_formed == (not repairs)


HOSTILE = {
    "quotes": "<tool_call>" + "'" * 10**6 + "</tool_call>",
    "escaped quotes": "<tool_call>'" + "\\'" * 500_000 + "</tool_call>",
    "brackets": "<tool_call>" + "[" * 10**6 + "</tool_call>",
    "parentheses": "<tool_call>" + "(" * 10**6 + "</tool_call>",
    "white space": "<tool_call>" + " " * 10**6 + "</tool_call>",
    "fences": "<tool_call>" + "```" * 300_000 + "</tool_call>",
    "digits": '<tool_call>{"name": "a", "arguments": {"x": 0.' + "1" * 10**6 + "}}</tool_call>",
    "calls": f"<tool_call>{CALL}</tool_call>" * 10_000,
    "escapes": ('<tool_call>{"name": "\\u0061"}</tool_call>') * 20_000,
    "repaired calls": ("<tool_call>{'name': 'a'}</tool_call>") * 20_000,
    "open tags": "<tool_call>" * 90_000,
    "closing tags": "x</think>" * 110_000,
    "angles": "<" * 10**6,
    "answers": "<answer>a</answer>" * 50_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_megabyte_of_the_worst_text_costs_no_more_than_reading_it(kind: str) -> None:
    began = time.process_time()
    turn = TextProtocol().parse(HOSTILE[kind])
    assert time.process_time() - began < 20  # some 30 ms; whatever grows with the square takes minutes
    assert turn.error is not None or turn.calls
