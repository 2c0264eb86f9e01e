"""The conversation as chat messages with content blocks, and the pictures in them.

Messages are those of Hugging Face chat templates: `{"role", "content": [block, ...]}` with blocks `{"type": "text", "text"}`
and `{"type": "image", "image"}`. In style "tools" a call is in `tool_calls` and its result in a message of role "tool", for
chat templates that know tools; in style "text" both are plain text and content, for templates that do not.

Whatever a tool, a task or a policy says goes into messages here, and here the control marks in it are escaped: no words but the
chat template's own begin a turn or stand for an image. What is recorded and shown to a person is made of these same blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from medvistagym_core.protocol._call_parser import TOOL_CALL_TAGS
from medvistagym_core.protocol._text_protocol import THINK
from medvistagym_core.protocol._turn import Turn
from medvistagym_core.tools import (
    ErrorCode,
    ToolResult,
    encodable_text,
    escape_control_marks,
    escape_json,
    escape_policy_text,
)

ToolMessageStyle = Literal["tools", "text"]
Block = dict[str, Any]
Message = dict[str, Any]

_MAX_MARK_CHARS: Final = 64
_PROJECT_ERRORS: Final[frozenset[ErrorCode]] = frozenset(("malformed_call", "budget_exhausted"))
"""Errors whose sentences are the project's own and tell a policy which tags to write; no tool can return one."""


def truncate(text: str, max_chars: int) -> str:
    """The text, cut with a note when it is longer than `max_chars`; always encodable.

    Args:
        text: Any text, lone surrogates included.
        max_chars: Characters that are kept, the note not counted.
    """
    text = encodable_text(text)
    return text if len(text) <= max_chars else f"{text[:max_chars]} [cut: {len(text)} characters in all]"


def initial_blocks(question: str, options: Sequence[str], num_images: int, compact: bool) -> list[Block]:
    """The first observation: images by handle, then the question. Image blocks hold handles.

    Args:
        question: The question; control marks in it are escaped here.
        options: The answers to choose from; empty for a free answer.
        num_images: Images of the case, which have the handles from 0 on.
        compact: Whether images go without their number, and options without a list.
    """
    blocks = [block for handle in range(num_images) for block in _image_blocks(handle, compact=compact)]
    return [*blocks, _text(initial_text(question, options, 0, compact))]


def initial_text(question: str, options: Sequence[str], num_images: int, compact: bool) -> str:
    """The texts of `initial_blocks`, a line each.

    Args:
        question: As for `initial_blocks`.
        options: As for `initial_blocks`.
        num_images: As for `initial_blocks`.
        compact: As for `initial_blocks`.
    """
    question = escape_control_marks(encodable_text(question))
    if compact:
        return question
    lines = [f"image {handle}:" for handle in range(num_images)]
    choices = escape_control_marks(encodable_text(f"Options: {'; '.join(options)}"))
    return "\n".join([*lines, question, *([choices] if options else [])])


def result_blocks(result: ToolResult, max_chars: int, compact: bool) -> list[Block]:
    """What a policy reads of a result: its images by handle, then its text; of an error, its sentence.

    Args:
        result: The result.
        max_chars: Characters of its text that are shown; what is longer is cut, with a note.
        compact: Whether images go without their number, and errors as their code alone.
    """
    if not result.handles:
        return [_text(_text_alone(result, max_chars, compact))]
    blocks = [block for handle in result.handles for block in _image_blocks(handle, compact=compact)]
    if result.text:
        blocks.append(_text(escape_control_marks(truncate(result.text, max_chars))))
    return blocks


def result_lines(result: ToolResult, max_chars: int, compact: bool) -> list[str]:
    """The texts of `result_blocks`, in order.

    Args:
        result: The result.
        max_chars: As for `result_blocks`.
        compact: As for `result_blocks`.
    """
    if not result.handles:
        return [_text_alone(result, max_chars, compact)]
    return [block["text"] for block in result_blocks(result, max_chars, compact) if block["type"] == "text"]


def _text_alone(result: ToolResult, max_chars: int, compact: bool) -> str:
    """What a policy reads of a result without images."""
    error = result.error
    if error is not None and compact:
        return error.code
    text = truncate(result.text if error is None else str(error), max_chars)
    own = error is not None and error.code in _PROJECT_ERRORS
    return escape_control_marks(text, keep_protocol_tags=own) or "The tool returned nothing."


def initial_messages(prompt: str | None, blocks: Sequence[Block]) -> list[Message]:
    """The messages before the policy's first turn.

    Args:
        prompt: The system prompt; no system message when None or empty.
        blocks: The first observation, of `initial_blocks`.
    """
    system = [{"role": "system", "content": [_text(prompt)]}] if prompt else []
    return [*system, {"role": "user", "content": list(blocks)}]


def assistant_message(turn: Turn, style: ToolMessageStyle) -> Message:
    """A turn as the assistant's message.

    Args:
        turn: The turn; control marks in its text are escaped here.
        style: "tools" for chat templates that know tools: calls stand in `tool_calls`. "text" for others: the text as it
            is.
    """
    text = escape_policy_text(turn.text)
    if style == "text" or not turn.calls:
        return {"role": "assistant", "content": [_text(text)] if text else []}
    begin = text.find(TOOL_CALL_TAGS[0], max(text.find(THINK[1]), 0))
    content = text[:begin].strip() if begin >= 0 else ""
    calls = [_function_call(escape_control_marks(c.name), escape_json(c.arguments)) for c in turn.calls]
    return {"role": "assistant", "content": [_text(content)] if content else [], "tool_calls": calls}


def tool_messages(
    turn: Turn, results: Sequence[Sequence[Block]], feedback: Sequence[Block], style: ToolMessageStyle
) -> list[Message]:
    """The messages that answer a turn: one a call, or for a turn that could not be read, its feedback.

    Args:
        turn: The turn that is answered.
        results: Blocks of each call's result, in the order of `turn.calls`.
        feedback: Blocks for a turn without calls.
        style: "tools" for a message of role "tool" for each call, "text" for one message of the user.
    """
    if not turn.calls:
        return [{"role": "user", "content": list(feedback)}] if feedback else []
    if style == "text":
        return [{"role": "user", "content": separate_texts([block for blocks in results for block in blocks])}]
    return [
        {"role": "tool", "name": escape_control_marks(call.name), "content": list(blocks)}
        for call, blocks in zip(turn.calls, results, strict=True)
    ]


def separate_texts(blocks: Sequence[Block]) -> list[Block]:
    """The blocks, with a backslash between two texts that are no mark apart and would be one together.

    Many chat templates write the blocks of a message one behind the other with nothing between.
    """
    separated = list(blocks)
    for k in range(len(separated) - 1):
        before, after = separated[k], separated[k + 1]
        if before["type"] == after["type"] == "text":
            joint = before["text"][-_MAX_MARK_CHARS:] + after["text"][:_MAX_MARK_CHARS]
            if escape_control_marks(joint, keep_protocol_tags=True) != joint:
                separated[k] = _text(before["text"] + "\\")
    return separated


def with_images(messages: Sequence[Message], images: Mapping[int, Any] | Sequence[Any]) -> list[Message]:
    """The messages with the handles in image blocks replaced by `images`; every message and block is new.

    Args:
        messages: Messages whose image blocks hold handles.
        images: What stands in place of each handle.
    """
    return [{**message, "content": blocks_with_images(message["content"], images)} for message in messages]


def blocks_with_images(blocks: Sequence[Block], images: Mapping[int, Any] | Sequence[Any]) -> list[Block]:
    """The blocks with handles replaced by images.

    Args:
        blocks: Blocks of which those of images hold handles.
        images: What stands in place of each handle.
    """
    return [{"type": "image", "image": images[b["image"]]} if b["type"] == "image" else dict(b) for b in blocks]


def message_text(messages: Sequence[Message]) -> str:
    """The text blocks of some messages, a line each."""
    return "\n".join(b["text"] for message in messages for b in message["content"] if b["type"] == "text")


def _function_call(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _image_blocks(handle: int, *, compact: bool) -> list[Block]:
    image: Block = {"type": "image", "image": handle}
    return [image] if compact else [_text(f"image {handle}:"), image]
