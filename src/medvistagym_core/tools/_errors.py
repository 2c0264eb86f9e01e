"""Errors that a policy can act on: a code, and one short sentence with what was wrong and what is accepted."""

from __future__ import annotations

import difflib
import json
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from medvistagym_core.imaging import Box
from medvistagym_core.tools._out_of_memory import is_out_of_memory
from medvistagym_core.tools._signature import strip_annotated

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError


_MAX_WORD = 100
_MAX_CHAIN = 10
ErrorCode = Literal[
    "unknown_tool", "malformed_call", "bad_arguments", "bad_value", "tool_failed", "timeout", "budget_exhausted"
]  # fmt: skip


class ToolError(Exception):
    """A call that gave no result, as one sentence that a policy can act on.

    Its `__cause__` is the exception of the tool's author that it stands for, where there was one: for whoever mends the tool
    (`--debug`), never for a policy.
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
    """An author's exception as an error of the call: `bad_value` for a ValueError, else `tool_failed`."""
    if isinstance(error, ToolError):
        return error
    if is_out_of_memory(error):  # its traceback would keep alive what had been allocated
        return OutOfMemoryToolError(tool)
    said = str(error).strip().split("\n")[0][:300]
    if isinstance(error, ValueError) and said:
        wrapped = ToolError("bad_value", f"{tool}: {said}{'' if said.endswith('.') else '.'}")
    else:
        wrapped = ToolError("tool_failed", f"{tool} failed with {type(error).__name__}{': ' + said if said else ''}.")
    wrapped.__cause__ = error
    _release_locals(error)
    return wrapped


def _release_locals(error: BaseException) -> None:
    """Let go of what the frames of an exception hold, such as images; where it was raised is still told."""
    chain: BaseException | None = error
    for _ in range(_MAX_CHAIN):
        if chain is None:
            return
        traceback.clear_frames(chain.__traceback__)
        chain = chain.__cause__ or chain.__context__


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
    where = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function-"))
    kind, given = first["type"], first.get("input")
    if kind == "missing":
        return f"{tool}: the argument {where} is missing; it takes {fields}."
    if kind == "extra_forbidden":
        near = closest_match(where, list(names))
        guess = f"; did you mean {near}? It takes {fields}." if near else f"; it takes {fields}, and nothing else."
        return f"{tool} has no argument {where[:_MAX_WORD]}{guess}"
    argument = str(first["loc"][0]) if first["loc"] else ""
    annotation = strip_annotated(names[argument].annotation) if argument in names else None
    if kind == "value_error":
        return f"{tool}: {where}: {first['msg'].removeprefix('Value error, ')}."
    shown = json.dumps(given, default=str)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    reason = (
        (first["msg"][0].lower() + first["msg"][1:]).replace("list should", "should").replace(" after validation", "")
    )
    if kind == "literal_error" and isinstance(given, str):
        near = closest_match(given, [str(v) for v in get_args(annotation)])
        reason += f"; did you mean {near}?" if near else ""
    reason = reason.replace("input should be", "must be").replace("input ", "the value ")
    where = where or "arguments"
    return (
        f"{tool}: {where} {reason}{'' if reason[-1] in '.?' else ','} got {shown}{_hint(argument, annotation, images)}."
    )


def _hint(argument: str, annotation: Any, images: Sequence[str]) -> str:
    """How to write an image or a box, for one that is written otherwise."""
    if argument in images:
        return "; images are named by their numbers, such as 0"
    if annotation is Box:
        return "; a box is a list [x0, y0, x1, y1] of integers on the grid of 0 to 1000 over the image"
    return ""


def closest_match(word: str, words: Sequence[str]) -> str | None:
    """The most similar of `words`, if any is similar enough to be meant; of a long word, its beginning counts."""
    found = difflib.get_close_matches(word[:_MAX_WORD], words, n=1, cutoff=0.6)
    return found[0] if found else None
