"""The text protocol: what a policy writes, read as a turn.

A turn is `<think>...</think>` and then either tool calls, `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`,
or `<answer>...</answer>`. Model text is untrusted: whatever it holds, `TextProtocol.parse` returns a `Turn`, and what
is wrong with it is in `Turn.error`, a `malformed_call` of one sentence that says what to do. A turn with an error
carries neither calls nor an answer, so nothing is half done. A call in another form whose meaning is clear is read all the same
and says so (`ToolCall.repairs`, `_call_parser`). A turn that holds a control mark of a chat template, such as `<|im_end|>`, is
malformed too: it ends where the policy stops, and images come from tools. `TextProtocol.parse_message` makes the same turn of
a chat message whose calls were already parsed by a trainer or an endpoint.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from medvistagym_core.protocol._call_parser import (
    TOOL_CALL_EXAMPLE,
    TOOL_CALL_TAGS,
    MalformedCallError,
    dumps,
    format_structured_call,
    parse_structured_call,
    parse_tagged_calls,
)
from medvistagym_core.protocol._turn import ReasoningMode, Turn
from medvistagym_core.tools import (
    JSON_DECODER,
    ToolCall,
    ToolError,
    encodable_text,
    escape_policy_text,
    find_control_mark,
)

THINK: Final = ("<think>", "</think>")
ANSWER: Final = ("<answer>", "</answer>")
_TAGS: Final = (*THINK, *TOOL_CALL_TAGS, *ANSWER)
_LAST_TAGS: Final = (TOOL_CALL_TAGS[1], ANSWER[1])
_ACTION_TAG: Final = re.compile(r"</?(?:tool_call|answer)>")
_CALL_OPENING: Final = re.compile(r"[ \t\r\n]*(?={)")
_CALL_CLOSING: Final = re.compile(r"[ \t\r\n]*</tool_call>")
_END_MARKS: Final = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<end_of_turn>",
    "<eos>",
    "</s>",
)
_MAX_END_MARKS: Final = 4
_MAX_COUNTED: Final = 100


@dataclasses.dataclass(frozen=True)
class TextProtocol:
    """How a turn is written.

    Attributes:
        think: "required" (a turn without reasoning is malformed), "optional", or "off" (reasoning is read, but does not
            conform).
        max_calls_per_turn: Calls allowed in one turn; a turn with more is malformed and none of them is run.

    Raises:
        ValueError: `think` is none of those, or `max_calls_per_turn` is below 1.
    """

    think: ReasoningMode = "optional"
    max_calls_per_turn: int = 1

    def __post_init__(self) -> None:
        if self.think not in ("required", "optional", "off"):
            raise ValueError(f"think is 'required', 'optional' or 'off', not {self.think!r}")
        if self.max_calls_per_turn < 1:
            raise ValueError(f"max_calls_per_turn is at least 1, not {self.max_calls_per_turn}")

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """Texts that end a turn, for decoding; they belong to the turn."""
        return (TOOL_CALL_TAGS[1], ANSWER[1]) if self.max_calls_per_turn == 1 else (ANSWER[1],)

    @property
    def instructions(self) -> str:
        """How to write a turn, for the system prompt."""
        think = {
            "required": "Start every turn with <think>your reasoning</think>. Then",
            "optional": "In every turn you may reason first in <think>...</think>. Then",
            "off": "In every turn,",
        }[self.think]
        max_calls = self.max_calls_per_turn
        call = (
            f"call a tool with {TOOL_CALL_EXAMPLE}"
            if max_calls == 1
            else f"make up to {max_calls} tool calls, each {TOOL_CALL_EXAMPLE}"
        )
        return f"{think} either {call} or end with <answer>your answer</answer>."

    def parse(self, text: str) -> Turn:
        """The turn that `text` is. Never raises.

        Marks of the end of a turn that a server left behind the last tag are taken off; then the turn does not conform.
        """
        text = encodable_text(text)
        bare = _without_end_marks(text)
        was_bare, text = bare == text, bare
        think: str | None = None
        try:
            _refuse_control_mark(text)
            think, at, conforms = self._think(text)
            calls, answers, tidy = self._actions(text, at)
            return self._turn(text, think, calls, answers, conforms and tidy and was_bare)
        except MalformedCallError as error:
            return Turn(text, think, error=ToolError("malformed_call", str(error)))

    def parse_message(self, message: Mapping[str, Any]) -> Turn:
        """The turn in an assistant's chat message. Never raises.

        Args:
            message: `content` is text or a list of content blocks; `reasoning_content` or `reasoning`, if any, is the
                thinking; `tool_calls` is a list of `{"id", "type": "function", "function": {"name", "arguments"}}` or
                of `{"name", "arguments"}`, with arguments as an object or as JSON text. Calls may also stand in the
                text.
        """
        content = encodable_text(_content(message.get("content")))
        reasoning = message.get("reasoning_content") or message.get("reasoning")
        if isinstance(reasoning, str) and reasoning.strip() and not _contains_tag(reasoning):
            content = f"{THINK[0]}{encodable_text(reasoning)}{THINK[1]}{content}"
        structured = message.get("tool_calls")
        if not structured:
            return self.parse(content)
        think: str | None = None
        text = content
        try:
            text = content + "".join(format_structured_call(call) for call in _sequence(structured))
            _refuse_control_mark(text)
            think, at, conforms = self._think(content)
            calls, answers, tidy = self._actions(content, at, bare=True)
            sent = [parse_structured_call(call) for call in _sequence(structured)]
            tidy = tidy and not any(call.repairs for call in sent)
            return self._turn(text, think, calls + sent, answers, conforms and tidy)
        except MalformedCallError as error:
            return Turn(text, think, error=ToolError("malformed_call", str(error)))

    def format_turn(self, think: str | None = None, calls: Sequence[ToolCall] = (), answer: str | None = None) -> str:
        """The wire text of a turn; `parse` reads it back.

        Args:
            think: The reasoning; None for none. Left out when the protocol's `think` is "off".
            calls: The calls of the turn; none where it answers.
            answer: The answer; None where it calls.

        Raises:
            ValueError: The parts are not a turn: both or neither of calls and answer, too many calls, or a tag inside a part.
        """
        if bool(calls) == (answer is not None):
            raise ValueError("a turn has either tool calls or an answer")
        for part in (think, answer):
            if part is not None and _contains_tag(part):
                raise ValueError(f"a tag of the protocol cannot stand inside a part: {part!r}")
        text = f"{THINK[0]}{think}{THINK[1]}" if think and self.think != "off" else ""
        text += "".join(
            TOOL_CALL_TAGS[0] + dumps({"name": c.name, "arguments": c.arguments}) + TOOL_CALL_TAGS[1] for c in calls
        )
        if answer is not None:
            text += f"{ANSWER[0]}{answer}{ANSWER[1]}"
        turn = self.parse(text)
        if turn.error is not None:
            raise ValueError(turn.error.message)
        return text

    def _think(self, text: str) -> tuple[str | None, int, bool]:
        """The reasoning at the head of a turn, where it ends, and whether nothing else stands there."""
        start, end = text.find(THINK[0]), text.find(THINK[1])
        if end < 0:
            if start >= 0 and not text[:start].strip():
                raise MalformedCallError("Close your reasoning with </think> before you act.")
            if start >= 0:
                raise MalformedCallError("Write <think>...</think> first, before any call or answer.")
            return None, 0, True
        # A chat template may have opened the reasoning in the prompt: then only its end is in the text.
        opened = 0 <= start < end
        head = text[:start] if opened else ""
        think = text[start + len(THINK[0]) : end] if opened else text[:end]
        before = head if opened else think
        if TOOL_CALL_TAGS[0] in before or ANSWER[0] in before:
            raise MalformedCallError("Write <think>...</think> first, before any call or answer.")
        at = end + len(THINK[1])
        if text.find(THINK[0], at) >= 0 or text.find(THINK[1], at) >= 0:
            raise MalformedCallError("Write <think>...</think> once, at the start of the turn.")
        return think.strip() or None, at, not head.strip() and self.think != "off"

    def _actions(self, text: str, at: int, bare: bool = False) -> tuple[list[ToolCall], list[str], bool]:
        """Calls and answers from `at` on, and whether nothing but white space stands between; `bare` expects none of them."""
        calls: list[ToolCall] = []
        answers: list[str] = []
        tidy = True
        while tag := _ACTION_TAG.search(text, at):
            name, begin = tag[0], tag.end()
            tidy = tidy and not text[at : tag.start()].strip()
            if name == TOOL_CALL_TAGS[0]:
                written, at = _read_call(text, begin) or parse_tagged_calls(text, begin)
                calls += written
                for call in written:
                    tidy = tidy and not call.repairs
            elif name == ANSWER[0]:
                end = text.find(ANSWER[1], begin)
                if end < 0:
                    raise MalformedCallError("Close your answer with </answer>.")
                answer = text[begin:end].strip()
                if _contains_tag(answer):
                    raise MalformedCallError("Write only the answer between <answer> and </answer>.")
                if not answer:
                    raise MalformedCallError("Put your answer between <answer> and </answer>; it is empty.")
                answers.append(answer)
                at = end + len(ANSWER[1])
            else:
                opening = TOOL_CALL_TAGS[0] if name == TOOL_CALL_TAGS[1] else ANSWER[0]
                raise MalformedCallError(f"There is a closing tag without {opening} before it.")
            if len(calls) + len(answers) > self.max_calls_per_turn + _MAX_COUNTED:
                break  # far too many, however many more there are
        tidy = tidy and not text[at:].strip()
        # Text before structured calls is reasoning that a chat template has stripped of its tags.
        return calls, answers, tidy or bare

    def _turn(self, text: str, think: str | None, calls: list[ToolCall], answers: list[str], conforms: bool) -> Turn:
        if calls and answers:
            raise MalformedCallError("Either call a tool or answer in one turn, not both.")
        if not calls and not answers:
            raise MalformedCallError(f"End the turn with {TOOL_CALL_EXAMPLE} or <answer>...</answer>.")
        if len(answers) > 1:
            raise MalformedCallError(f"Give one <answer>, not {len(answers)}.")
        if self.think == "required" and think is None:
            raise MalformedCallError("Start the turn with <think>...</think>, then call a tool or answer.")
        if len(calls) > self.max_calls_per_turn:
            raise self._too_many_calls(len(calls))
        if "\\" in text:  # JSON's escapes may have hidden a mark in an argument
            for call in calls:
                _refuse_control_mark(dumps({"name": call.name, "arguments": call.arguments}))
        return Turn(text, think, tuple(calls), answers[0] if answers else None, None, conforms)

    def _too_many_calls(self, count: int) -> MalformedCallError:
        max_calls = self.max_calls_per_turn
        return MalformedCallError(
            f"Make at most {max_calls} call{'s' if max_calls > 1 else ''} in one turn, not {count}; none was run."
        )


def _read_call(text: str, begin: int) -> tuple[list[ToolCall], int] | None:
    """The call that is written in the protocol's own form at `begin`, and the place behind its closing tag.

    None where it is in another form: `parse_tagged_calls` mends it, or says what is wrong.
    """
    opening = _CALL_OPENING.match(text, begin)
    if opening is None:
        return None
    try:
        body, end = JSON_DECODER.raw_decode(text, opening.end())
    except (ValueError, RecursionError):
        return None
    closing = _CALL_CLOSING.match(text, end)
    name, arguments = body.get("name"), body.get("arguments")
    if closing is None or len(body) != 2 or type(name) is not str or not name.strip() or type(arguments) is not dict:
        return None
    if text.find("\\u", begin, end) >= 0:  # the escape may stand for half a character
        return None
    return [ToolCall(name=name, arguments=arguments)], closing.end()


def _without_end_marks(text: str) -> str:
    """The text without marks of the end of a turn behind its last tag; the text itself where there are none."""
    rest = text.rstrip()
    if rest.endswith(_LAST_TAGS):
        return text
    for _ in range(_MAX_END_MARKS):
        end = next((mark for mark in _END_MARKS if rest.endswith(mark)), None)
        if end is None:
            return text
        rest = rest.removesuffix(end).rstrip()
        if rest.endswith(_LAST_TAGS):
            return rest
    return text


def _refuse_control_mark(text: str) -> None:
    mark = find_control_mark(text)
    if mark is not None:
        raise MalformedCallError(
            f"Write plain words: {escape_policy_text(mark)} is a control mark, which only the chat template writes."
        )


def _sequence(value: Any) -> Sequence[Any]:
    if isinstance(value, list | tuple):
        return value
    raise MalformedCallError("tool_calls is a list of calls.")


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple):
        texts = (block.get("text") if isinstance(block, Mapping) else block for block in content)
        return "".join(text for text in texts if isinstance(text, str))
    return ""


def _contains_tag(text: str) -> bool:
    return "<" in text and any(tag in text for tag in _TAGS)
