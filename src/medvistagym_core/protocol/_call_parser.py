"""A tool call as it is written: JSON between two tags, or a part of a chat message.

Whatever is wrong is a `MalformedCallError` whose sentence tells the policy what to do.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from typing import Any, Final

from medvistagym_core.tools import ToolCall, encodable_text

TOOL_CALL_TAGS: Final = ("<tool_call>", "</tool_call>")
TOOL_CALL_EXAMPLE: Final = '<tool_call>{"name": ..., "arguments": {...}}</tool_call>'


class MalformedCallError(Exception):
    """The sentence for the policy."""


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is too large")
    return number


_DECODER: Final = json.JSONDecoder(parse_constant=_constant, parse_float=_finite)
_KEYS: Final = frozenset(("name", "arguments"))


def parse_tagged_call(text: str, begin: int) -> tuple[ToolCall, int]:
    """The call whose JSON begins at `begin`, and the place after its closing tag."""
    while begin < len(text) and text[begin] in " \t\r\n":
        begin += 1
    try:
        body, end = _DECODER.raw_decode(text, begin)
    except json.JSONDecodeError as error:
        if TOOL_CALL_TAGS[1] not in text[begin:]:
            raise MalformedCallError(f"Close the call with </tool_call>: {TOOL_CALL_EXAMPLE}.") from None
        if TOOL_CALL_TAGS[1] == text[error.pos : error.pos + len(TOOL_CALL_TAGS[1])] and error.pos == begin:
            raise MalformedCallError(f"The call is empty; write {TOOL_CALL_EXAMPLE}.") from None
        where = text[max(error.pos - 12, begin) : error.pos + 12].split(TOOL_CALL_TAGS[1])[0]
        reason = error.msg.lower().removesuffix(" starting at")
        raise MalformedCallError(
            f"The call is not JSON ({reason} near {_quoted(where)}); write {TOOL_CALL_EXAMPLE}."
        ) from None
    except (ValueError, RecursionError) as error:
        reason = str(error) if type(error) is ValueError and len(str(error)) < 60 else "it is too deep or too long"
        raise MalformedCallError(f"The call is not JSON ({reason}); write {TOOL_CALL_EXAMPLE}.") from None
    escaped = text.find("\\u", begin, end) >= 0
    while end < len(text) and text[end] in " \t\r\n":
        end += 1
    if not text.startswith(TOOL_CALL_TAGS[1], end):
        if TOOL_CALL_TAGS[1] in text[end:]:
            extra = _quoted(text[end : end + 12])
            raise MalformedCallError(
                f"Put one JSON object between <tool_call> and </tool_call>, and no {extra} after it."
            )
        raise MalformedCallError(f"Close the call with </tool_call>: {TOOL_CALL_EXAMPLE}.")
    if escaped and not _encodable(body):
        raise MalformedCallError("The call holds an invalid \\u escape; write plain characters.")
    return _call(body), end + len(TOOL_CALL_TAGS[1])


def _call(body: Any, identifier: Any = None) -> ToolCall:
    if not isinstance(body, dict):
        raise MalformedCallError(f"A call is a JSON object; write {TOOL_CALL_EXAMPLE}.")
    name = body.get("name")
    if not isinstance(name, str) or not name.strip():
        raise MalformedCallError(f'The call has no "name"; write {TOOL_CALL_EXAMPLE}.')
    if not body.keys() <= _KEYS:
        stray = next(key for key in body if key not in _KEYS)
        raise MalformedCallError(
            f'A call has "name" and "arguments" only, not {_quoted(stray)}; put it into "arguments".'
        )
    arguments = body.get("arguments", {})
    if not isinstance(arguments, dict):
        raise MalformedCallError(
            f'"arguments" is a JSON object such as {{"image": 0}}, not {_quoted(dumps(arguments))}.'
        )
    return ToolCall(name=name, arguments=arguments, id=identifier if isinstance(identifier, str) else None)


def parse_structured_call(call: Any) -> ToolCall:
    """The call in a part of a chat message, `{"type": "function", "function": {...}}` or `{"name", "arguments"}`."""
    if not isinstance(call, Mapping):
        raise MalformedCallError(f"A call is a JSON object; write {TOOL_CALL_EXAMPLE}.")
    function = call.get("function", call)
    if not isinstance(function, Mapping):
        raise MalformedCallError('The call has no "name" of a function.')
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = _DECODER.decode(arguments.strip() or "{}")
        except (ValueError, RecursionError):
            raise MalformedCallError(f'"arguments" is not JSON: {_quoted(str(function.get("arguments")))}.') from None
    elif arguments is not None:
        try:
            arguments = _DECODER.decode(json.dumps(arguments))
        except (TypeError, ValueError, RecursionError):
            raise MalformedCallError(
                '"arguments" is a JSON object of finite numbers, texts, lists and objects.'
            ) from None
    body = {"name": function.get("name"), "arguments": {} if arguments is None else arguments}
    if not _encodable(body):
        raise MalformedCallError("The call holds characters that are no text; write plain characters.")
    return _call(body, call.get("id"))


def format_structured_call(call: Any) -> str:
    """Wire text of a structured call as it was sent, right or wrong."""
    function = call.get("function", call) if isinstance(call, Mapping) else {}
    body = {key: function.get(key) for key in ("name", "arguments")} if isinstance(function, Mapping) else {}
    arguments = body.get("arguments")
    if isinstance(arguments, str):
        with contextlib.suppress(ValueError, RecursionError):
            body["arguments"] = json.loads(arguments)
    return TOOL_CALL_TAGS[0] + encodable_text(dumps(body)) + TOOL_CALL_TAGS[1]


def dumps(value: Any) -> str:
    """JSON text of anything; dots for what has none."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return "..."


def _encodable(body: Any) -> bool:
    try:
        json.dumps(body, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return False
    return True


def _quoted(text: str) -> str:
    text = " ".join(text.split())
    return json.dumps(text if len(text) <= 24 else text[:21] + "...", ensure_ascii=False)
