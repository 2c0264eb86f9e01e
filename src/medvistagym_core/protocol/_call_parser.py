"""A tool call in another form than the protocol's own: other JSON between two tags, or a part of a chat message.

One whose meaning is clear is read by one rule, the table in docs/protocol.md, and carries the names of what was mended in
`ToolCall.repairs`. Whatever else is wrong is a `MalformedCallError` whose sentence tells the policy what to do. What the
*values* of arguments may look like is the business of `tools`, not of the form.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from medvistagym_core.tools import (
    JSON_DECODER,
    MAX_LITERAL_CHARS,
    ToolCall,
    encodable_text,
    parse_literal,
    python_to_json,
)

TOOL_CALL_TAGS: Final = ("<tool_call>", "</tool_call>")
TOOL_CALL_EXAMPLE: Final = '<tool_call>{"name": ..., "arguments": {...}}</tool_call>'
_SPACES: Final = " \t\r\n"  # JSON's own
_SPACE: Final = re.compile(rf"[{_SPACES}]*")
_FENCE: Final = re.compile(r"```[a-zA-Z_]*(.*)```", re.DOTALL)
_ARGUMENT_KEYS: Final = ("arguments", "parameters", "args", "input")
_BESIDE_KEYS: Final = frozenset(("id", "type"))
_MAX_VALUES: Final = 100


class MalformedCallError(Exception):
    """The sentence for the policy."""


def parse_tagged_calls(text: str, begin: int) -> tuple[list[ToolCall], int]:
    """The calls whose text begins at `begin`, and the place after their closing tag."""
    end = text.find(TOOL_CALL_TAGS[1], begin)
    if end < 0:
        raise MalformedCallError(f"Close the call with </tool_call>: {TOOL_CALL_EXAMPLE}.")
    written = text[begin:end].strip(_SPACES)
    repairs: list[str] = []
    try:
        body, length = JSON_DECODER.raw_decode(written)
        if length < len(written):
            raise json.JSONDecodeError("Extra data", written, _skip_space(written, length))
        bodies = [body]
    except (ValueError, RecursionError) as error:
        bodies, repairs = _parse_repaired(written.strip())
        if not bodies:  # perhaps the first closing tag stands in a text of the call
            whole = _parse_beyond(text, begin)
            if whole is None:
                raise MalformedCallError(_not_json(written, error)) from None
            bodies, end = [whole[0]], whole[1]
            written = text[begin:end]
    if ("\\u" in written or repairs) and not _encodable(bodies):
        raise MalformedCallError("The call holds an invalid \\u escape; write plain characters.")
    calls = _calls(bodies[0], repairs)
    for body in bodies[1:]:
        calls += _calls(body, repairs)
    return calls, end + len(TOOL_CALL_TAGS[1])


def _parse_repaired(written: str) -> tuple[list[Any], list[str]]:
    """The values in a text that is not one JSON value (in a code fence, several of them, or Python literals), and the repairs.

    Nothing when it holds none.
    """
    repairs: list[str] = []
    if fence := _FENCE.fullmatch(written):
        written = fence[1].strip()
        repairs.append("code_fence")
    try:
        bodies = _parse_values(written)
    except ValueError:
        if len(written) > MAX_LITERAL_CHARS:
            return [], []
        try:
            bodies = _parse_values(python_to_json(written))
        except ValueError:
            return [], []
        repairs.append("python_literal")
    return bodies, [*repairs, "several_in_one_tag"] if len(bodies) > 1 else repairs


def _parse_values(text: str) -> list[Any]:
    """The JSON values in a text, with white space or a comma between them; at most `_MAX_VALUES`."""
    values, at = [], 0
    while at < len(text):
        try:
            value, at = JSON_DECODER.raw_decode(text, at)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        values.append(value)
        if len(values) > _MAX_VALUES:
            raise ValueError("there are too many values")
        at = _skip_space(text, at)
        if text.startswith(",", at):
            at = _skip_space(text, at + 1)
    return values


def _parse_beyond(text: str, begin: int) -> tuple[Any, int] | None:
    """The JSON value at `begin`, whatever tags its texts hold, and where its closing tag begins; None where there is none."""
    try:
        body, end = JSON_DECODER.raw_decode(text, _skip_space(text, begin))
    except (ValueError, RecursionError):
        return None
    end = _skip_space(text, end)
    return (body, end) if text.startswith(TOOL_CALL_TAGS[1], end) else None


def _not_json(written: str, error: Exception) -> str:
    if not written.strip():
        return f"The call is empty; write {TOOL_CALL_EXAMPLE}."
    if not isinstance(error, json.JSONDecodeError):
        message = str(error)
        reason = message if type(error) is ValueError and len(message) < 60 else "it is too deep or too long"
    elif error.msg == "Extra data":
        extra = _quote(written[error.pos : error.pos + 24])
        return f"Put one JSON object between <tool_call> and </tool_call>, and no {extra} after it."
    else:
        excerpt = written[max(error.pos - 12, 0) : error.pos + 12]
        reason = f"{error.msg.lower().removesuffix(' starting at')} near {_quote(excerpt)}"
        if any(quote in excerpt for quote in "“”‘’„"):
            reason += ", where plain double quotes belong"
    return f"The call is not JSON ({reason}); write {TOOL_CALL_EXAMPLE}."


def _calls(body: Any, repairs: list[str]) -> list[ToolCall]:
    """The calls that a JSON value between tags says: one, or a list of them."""
    if not isinstance(body, list):
        return [_call(body, repairs)]
    if not body:
        raise MalformedCallError(f"The call is empty; write {TOOL_CALL_EXAMPLE}.")
    return [_call(one, [*repairs, "several_in_one_tag"]) for one in body[: _MAX_VALUES + 1]]


def _call(body: Any, found: Sequence[str], identifier: Any = None) -> ToolCall:
    """The call that a JSON value means, and what was mended; `found` is what had to be mended before it could be read."""
    if not isinstance(body, dict):
        raise MalformedCallError(f"A call is a JSON object; write {TOOL_CALL_EXAMPLE}.")
    repairs = list(found)
    identifier = body.get("id", identifier)
    if isinstance(body.get("function"), dict) and body.keys() <= {"function", *_BESIDE_KEYS}:
        body = body["function"]
        repairs.append("function_wrapper")
    elif not _BESIDE_KEYS.isdisjoint(body):
        repairs.append("function_wrapper")
    name = body.get("name")
    if not isinstance(name, str) or not name.strip():
        raise MalformedCallError(f'The call has no "name"; write {TOOL_CALL_EXAMPLE}.')
    keys = [key for key in _ARGUMENT_KEYS if key in body]
    stray = next((key for key in body if key not in ("name", *keys[:1], *_BESIDE_KEYS)), None)
    if stray is not None:
        raise MalformedCallError(
            f'A call has "name" and "arguments" only, not {_quote(stray)}; put it into "arguments".'
        )
    arguments = body[keys[0]] if keys else {}
    if keys and keys[0] != "arguments":
        repairs.append("arguments_key")
    if arguments is None:
        arguments = {}
        repairs.append("arguments_null")
    elif isinstance(arguments, str):
        arguments = _parse_arguments(arguments, repairs)
        repairs.append("arguments_text")
    if not isinstance(arguments, dict):
        raise MalformedCallError(
            f'"arguments" is a JSON object such as {{"image": 0}}, not {_quote(dumps(arguments)[:100])}.'
        )
    return ToolCall(
        name=name,
        arguments=arguments,
        id=identifier if isinstance(identifier, str) else None,
        repairs=tuple(dict.fromkeys(repairs)),
    )


def parse_structured_call(call: Any) -> ToolCall:
    """The call in a part of a chat message, `{"type": "function", "function": {...}}` or `{"name", "arguments"}`.

    There arguments are an object or JSON text, and null for none; none of these is a repair.
    """
    if not isinstance(call, Mapping):
        raise MalformedCallError(f"A call is a JSON object; write {TOOL_CALL_EXAMPLE}.")
    function = call.get("function", call)
    if not isinstance(function, Mapping):
        raise MalformedCallError('The call has no "name" of a function.')
    repairs: list[str] = []
    key = next((key for key in _ARGUMENT_KEYS if function.get(key) is not None), "arguments")
    if key != "arguments":
        repairs.append("arguments_key")
    arguments = function.get(key)
    if isinstance(arguments, str):
        arguments = _parse_arguments(arguments, repairs) if arguments.strip() else {}
    elif arguments is not None:
        try:
            arguments = JSON_DECODER.decode(json.dumps(arguments))
        except (TypeError, ValueError, RecursionError):
            raise MalformedCallError(
                '"arguments" is a JSON object of finite numbers, texts, lists and objects.'
            ) from None
    body = {"name": function.get("name"), "arguments": {} if arguments is None else arguments}
    if not _encodable(body):
        raise MalformedCallError("The call holds characters that are no text; write plain characters.")
    return _call(body, repairs, call.get("id"))


def _parse_arguments(text: str, repairs: list[str]) -> Any:
    """The value of arguments that are text: JSON, or Python literals, in a code fence or without."""
    if fence := _FENCE.fullmatch(text.strip()):
        text = fence[1]
        repairs.append("code_fence")
    try:
        return JSON_DECODER.decode(text)
    except (ValueError, RecursionError):
        with contextlib.suppress(ValueError):
            value = parse_literal(text)
            repairs.append("python_literal")
            return value
    raise MalformedCallError(f'"arguments" is not JSON: {_quote(text[:100])}.') from None


def format_structured_call(call: Any) -> str:
    """Wire text of a structured call as it was sent, right or wrong."""
    function = call.get("function", call) if isinstance(call, Mapping) else {}
    body: dict[str, Any] = {}
    if isinstance(function, Mapping):
        body = {key: function.get(key) for key in ("name", "arguments")}
        body |= {key: function[key] for key in _ARGUMENT_KEYS if key in function}
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


def _skip_space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _encodable(body: Any) -> bool:
    try:
        json.dumps(body, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return False
    return True


def _quote(text: str) -> str:
    text = " ".join(text.split())
    return json.dumps(text if len(text) <= 24 else text[:21] + "...", ensure_ascii=False)
