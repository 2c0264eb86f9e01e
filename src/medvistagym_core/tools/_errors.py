"""Errors that a policy can act on: a code, and one short sentence with what was wrong and what is accepted."""

from __future__ import annotations

import difflib
import json
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from medvistagym_core.imaging import Box
from medvistagym_core.tools._out_of_memory import is_out_of_memory
from medvistagym_core.tools._safe_text import encodable_text
from medvistagym_core.tools._signature import strip_annotated

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError


_MAX_WORD: Final = 100  # comparing two texts takes time in proportion to the product of their lengths
_MAX_CHAIN = 10
ErrorCode = Literal[
    "unknown_tool", "malformed_call", "bad_arguments", "bad_value", "tool_failed", "timeout", "budget_exhausted"
]  # fmt: skip

_TOOL_ERRORS: Final[frozenset[ErrorCode]] = frozenset(("bad_arguments", "bad_value", "tool_failed", "timeout"))
"""What a tool may say of a call; the other codes are the project's, about turns and budgets."""
_MAX_MESSAGE: Final = 2000


class ToolError(Exception):
    """A call that gave no result, as one sentence that a policy can act on.

    Its `__cause__` is the exception of the tool's author that it stands for, where there was one: for whoever mends the tool
    (`--debug`), never for a policy.

    Attributes:
        code: What kind of failure it is.
        message: The sentence.
    """

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
    """An author's exception as an error of the call: `bad_value` for a ValueError, else `tool_failed`.

    Args:
        tool: The tool's name.
        error: What its function raised; it becomes the `__cause__`.
    """
    if isinstance(error, ToolError):
        return _usable_error(tool, error)
    if is_out_of_memory(error):  # its traceback would keep alive what had been allocated
        return OutOfMemoryToolError(tool)
    message = _author_message(error)
    if isinstance(error, ValueError) and message:
        wrapped = ToolError("bad_value", f"{tool}: {message}{'' if message.endswith('.') else '.'}")
    else:
        wrapped = ToolError(
            "tool_failed", f"{tool} failed with {type(error).__name__}{': ' + message if message else ''}."
        )
    wrapped.__cause__ = error
    _release_locals(error)
    return wrapped


def _usable_error(tool: str, error: ToolError) -> ToolError:
    """An error that an author made, if its code is one of a tool's and its sentence is one; else one of these."""
    code: object = error.code
    message: object = error.message
    if not isinstance(message, str) or not message.strip():
        return ToolError("tool_failed", f"{tool} failed, and does not say why.")
    if isinstance(code, str) and code in _TOOL_ERRORS and len(message) <= _MAX_MESSAGE and message.isascii():
        return error
    usable_code = error.code if isinstance(code, str) and code in _TOOL_ERRORS else "tool_failed"
    usable = ToolError(usable_code, encodable_text(message[:_MAX_MESSAGE]))
    usable.__cause__ = error.__cause__
    return usable


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, at most 200 characters; the name of its type where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]


def _author_message(error: Exception) -> str:
    """What an author's exception says, as far as it can be said."""
    try:
        return encodable_text(str(error)[:_MAX_MESSAGE]).strip().split("\n")[0][:300]
    except Exception:  # noqa: BLE001 an exception's own text may be broken
        return ""


def _release_locals(error: BaseException) -> None:
    """Let go of what the frames of an exception hold, such as images; where it was raised is still told."""
    chain: BaseException | None = error
    for _ in range(_MAX_CHAIN):
        if chain is None:
            return
        traceback.clear_frames(chain.__traceback__)
        chain = chain.__cause__ or chain.__context__


def first_fault(error: ValidationError) -> tuple[str, str]:
    """What pydantic found wrong first: the place in the value, its parts joined by points, and the sentence about it."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return ".".join(str(part) for part in first["loc"]), first["msg"]


def from_validation_error(
    tool: str, model: type[BaseModel], error: ValidationError, images: Sequence[str] = ()
) -> ToolError:
    """What is wrong with a call's arguments: the argument, what it takes, and the nearest valid name.

    Args:
        tool: The tool's name.
        model: The model of its arguments.
        error: What the model found.
        images: The arguments that name images by number.
    """
    return ToolError("bad_arguments", _validation_message(tool, model, error, images))


def _validation_message(tool: str, model: type[BaseModel], error: ValidationError, images: Sequence[str]) -> str:
    names = model.model_fields
    fields = ", ".join(names) or "no arguments"
    faults = error.errors(include_url=False)
    # An argument that does not exist is often the one that is missing, under another name.
    first = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    location = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function-"))
    kind, given = first["type"], first.get("input")
    quoted = location[:_MAX_WORD] if location.isprintable() else ascii(location[:_MAX_WORD])
    if kind in ("missing", "extra_forbidden") and len(first["loc"]) > 1:
        return f"{tool}: {quoted} {'is missing' if kind == 'missing' else 'does not exist'}."
    if kind == "missing":
        absent = [str(fault["loc"][0]) for fault in faults if fault["type"] == "missing" and len(fault["loc"]) == 1]
        hints = dict.fromkeys(_hint(name, strip_annotated(names[name].annotation), ()) for name in absent)
        subject = f"the arguments {', '.join(absent)} are" if len(absent) > 1 else f"the argument {location} is"
        return f"{tool}: {subject} missing; it takes {fields}{''.join(hints)}."
    if kind == "extra_forbidden":
        suggestion = closest_match(location, list(names))
        guess = (
            f"; did you mean {suggestion}? It takes {fields}."
            if suggestion
            else f"; it takes {fields}, and nothing else."
        )
        return f"{tool} has no argument {quoted}{guess}"
    argument = str(first["loc"][0]) if first["loc"] else ""
    annotation = strip_annotated(names[argument].annotation) if argument in names else None
    if kind == "value_error":
        return f"{tool}: {location}: {first['msg'].removeprefix('Value error, ')}."
    value_text = json.dumps(given, default=str)
    value_text = value_text if len(value_text) <= 60 else value_text[:57] + "..."
    reason = (
        (first["msg"][0].lower() + first["msg"][1:]).replace("list should", "should").replace(" after validation", "")
    )
    if kind == "literal_error" and isinstance(given, str):
        suggestion = closest_match(given, [str(v) for v in get_args(annotation)])
        reason += f"; did you mean {suggestion}?" if suggestion else ""
    reason = reason.replace("input should be", "must be").replace("input ", "the value ")
    comma = "" if reason[-1] in ".?" else ","
    hint = _hint(argument, annotation, images)
    return f"{tool}: {location or 'arguments'} {reason}{comma} got {value_text}{hint}."


def _hint(argument: str, annotation: Any, images: Sequence[str]) -> str:
    """How to write an image or a box, for one that is written otherwise."""
    if argument in images:
        return "; images are named by their numbers, such as 0"
    if annotation is Box:
        return "; a box is a list [x0, y0, x1, y1] of integers on the grid of 0 to 1000 over the image"
    return ""


def closest_match(word: str, words: Sequence[str]) -> str | None:
    """The most similar of `words`, if any is similar enough to be meant; of a long word, its beginning counts.

    Args:
        word: What was written.
        words: What there is.
    """
    matches = difflib.get_close_matches(
        word[:_MAX_WORD], [each for each in words if len(each) <= 2 * _MAX_WORD], n=1, cutoff=0.6
    )
    return matches[0] if matches else None
