"""Errors that a policy can act on: a code, and one short sentence with what was wrong and what is accepted."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal, get_args

from medvistagym_core.tools._json_value import encodable_text
from medvistagym_core.tools._out_of_memory import is_out_of_memory
from medvistagym_core.tools._signature import strip_annotated

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError


ErrorCode = Literal[
    "unknown_tool", "malformed_call", "bad_arguments", "bad_value", "tool_failed", "timeout", "budget_exhausted"
]  # fmt: skip

_TOOL_ERRORS: Final[frozenset[ErrorCode]] = frozenset(("bad_arguments", "bad_value", "tool_failed", "timeout"))
"""What a tool may say of a call; the other codes are the project's, about turns and budgets."""
_MAX_MESSAGE: Final = 2000
_LONGEST_NAME: Final = 200  # comparing two texts takes time in proportion to the product of their lengths


class ToolError(Exception):
    """A call that gave no result, as one sentence that a policy can act on."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(code, message)
        self.code: ErrorCode = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class OutOfMemoryToolError(ToolError):
    """A call that memory did not suffice for; alone, or with fewer others at a time, it may succeed."""

    def __init__(self, tool: str) -> None:
        super().__init__("tool_failed", f"{tool} ran out of memory; ask for less at a time, such as a smaller image.")
        self.tool = tool

    def __reduce__(self) -> tuple[type[OutOfMemoryToolError], tuple[str]]:
        return OutOfMemoryToolError, (self.tool,)


def wrap_exception(tool: str, error: Exception) -> ToolError:
    """An author's exception as an error of the call: `bad_value` for a ValueError, else `tool_failed`."""
    if isinstance(error, ToolError):
        return _usable_error(tool, error)
    if is_out_of_memory(error):
        return OutOfMemoryToolError(tool)
    said = _first_line(error)
    if isinstance(error, ValueError) and said:
        return ToolError("bad_value", f"{tool}: {said}{'' if said.endswith('.') else '.'}")
    return ToolError("tool_failed", f"{tool} failed with {type(error).__name__}{': ' + said if said else ''}.")


def _usable_error(tool: str, error: ToolError) -> ToolError:
    """An error that an author made, if its code is one of a tool's and its sentence is one; else one of these."""
    code: object = error.code
    message: object = error.message
    if not isinstance(message, str) or not message.strip():
        return ToolError("tool_failed", f"{tool} failed, and does not say why.")
    if isinstance(code, str) and code in _TOOL_ERRORS and len(message) <= _MAX_MESSAGE and message.isascii():
        return error
    kept = error.code if isinstance(code, str) and code in _TOOL_ERRORS else "tool_failed"
    return ToolError(kept, encodable_text(message[:_MAX_MESSAGE]))


def _first_line(error: Exception) -> str:
    """What an author's exception says, as far as it can be said."""
    try:
        return encodable_text(str(error)[:_MAX_MESSAGE]).strip().split("\n")[0][:300]
    except Exception:  # noqa: BLE001 an exception's own text may be broken
        return ""


def from_validation_error(tool: str, model: type[BaseModel], error: ValidationError) -> ToolError:
    """What is wrong with a call's arguments: the argument, what it takes, and the nearest valid name."""
    return ToolError("bad_arguments", _validation_message(tool, model, error))


def _validation_message(tool: str, model: type[BaseModel], error: ValidationError) -> str:
    names = model.model_fields
    fields = ", ".join(names) or "no arguments"
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function-"))
    kind, given = first["type"], first.get("input")
    if kind == "missing":
        return f"{tool}: the argument {where} is missing; it takes {fields}."
    if kind == "extra_forbidden":
        near = closest_match(where, list(names))
        guess = f"; did you mean {near}?" if near else "."
        return f"{tool} has no argument {where}{guess} It takes {fields}."
    if kind == "value_error":
        return f"{tool}: {where}: {first['msg'].removeprefix('Value error, ')}."
    shown = json.dumps(given, default=str)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    reason = (
        (first["msg"][0].lower() + first["msg"][1:]).replace("list should", "should").replace(" after validation", "")
    )
    if kind == "literal_error" and isinstance(given, str):
        choices = [str(v) for v in get_args(strip_annotated(names[str(first["loc"][0])].annotation))]
        near = closest_match(given, choices)
        reason += f"; did you mean {near}?" if near else ""
    reason = reason.replace("input should be", "must be").replace("input ", "the value ")
    where = where or "arguments"
    return f"{tool}: {where} {reason}{'' if reason[-1] in '.?' else ','} got {shown}."


def closest_match(word: str, words: Sequence[str]) -> str | None:
    """The most similar of `words`, if any is similar enough to be meant; none where `word` is longer than any name."""
    if len(word) > _LONGEST_NAME:
        return None
    found = difflib.get_close_matches(word, [each for each in words if len(each) <= 2 * _LONGEST_NAME], n=1, cutoff=0.6)
    return found[0] if found else None
