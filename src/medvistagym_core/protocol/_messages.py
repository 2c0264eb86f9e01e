"""The conversation as chat messages with content blocks, and the pictures in them.

Messages are those of Hugging Face chat templates: `{"role", "content": [block, ...]}` with blocks `{"type": "text", "text"}`
and `{"type": "image", "image"}`. In style "tools" a call is in `tool_calls` and its result in a message of role "tool", for
chat templates that know tools; in style "text" both are plain text and content, for templates that do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from medvistagym_core.protocol._call_parser import TOOL_CALL_TAGS
from medvistagym_core.protocol._text_protocol import THINK
from medvistagym_core.protocol._turn import Turn
from medvistagym_core.tools import ToolResult

if TYPE_CHECKING:
    pass


ToolMessageStyle = Literal["tools", "text"]
Block = dict[str, Any]
Message = dict[str, Any]


def truncate(text: str, most: int) -> str:
    """The text, cut with a note when it is longer than `most` characters; always encodable."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= most else f"{text[:most]} [cut: {len(text)} characters in all]"


def initial_blocks(question: str, options: Sequence[str], pictures: int, terse: bool) -> list[Block]:
    """The first observation: images by handle, then the question. Image blocks hold handles."""
    blocks = [part for handle in range(pictures) for part in _image_blocks(handle, terse=terse)]
    return [*blocks, _text(initial_text(question, options, 0, terse))]


def initial_text(question: str, options: Sequence[str], pictures: int, terse: bool) -> str:
    """The texts of `opening_blocks`, a line each."""
    if terse:
        return question
    named = ""
    for handle in range(pictures):
        named += f"image {handle}:\n"
    return f"{named}{question}\nOptions: {'; '.join(options)}" if options else named + question


def result_blocks(result: ToolResult, most: int, terse: bool) -> list[Block]:
    """What a policy reads of a result: its images by handle, then its text; for an error, its sentence or, terse, its code."""
    if not result.handles:
        return [_text(result_text(result, most, terse))]
    blocks = [part for handle in result.handles for part in _image_blocks(handle, terse=terse)]
    if result.text:
        blocks.append(_text(truncate(result.text, most)))
    return blocks


def result_text(result: ToolResult, most: int, terse: bool) -> str:
    """What a policy reads of a result without images."""
    text = result.text
    if text and result.error is None and len(text) <= most and text.isascii():  # so it is, mostly: nothing is to be cut
        return text
    if result.error is not None:
        return result.error.code if terse else truncate(str(result.error), most)
    return truncate(result.text, most) or "The tool returned nothing."


def initial_messages(prompt: str | None, blocks: Sequence[Block]) -> list[Message]:
    """The messages before the policy's first turn."""
    system = [{"role": "system", "content": [_text(prompt)]}] if prompt else []
    return [*system, {"role": "user", "content": list(blocks)}]


def assistant_message(turn: Turn, style: ToolMessageStyle) -> Message:
    """A turn as the assistant's message."""
    if style == "text" or not turn.calls:
        return {"role": "assistant", "content": [_text(turn.text)] if turn.text else []}
    begin = turn.text.find(TOOL_CALL_TAGS[0], max(turn.text.find(THINK[1]), 0))
    said = turn.text[:begin].strip() if begin >= 0 else ""
    calls = [{"type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in turn.calls]
    return {"role": "assistant", "content": [_text(said)] if said else [], "tool_calls": calls}


def tool_messages(
    turn: Turn, results: Sequence[Sequence[Block]], feedback: Sequence[Block], style: ToolMessageStyle
) -> list[Message]:
    """The messages that answer a turn: one a call, or for a turn that could not be read, its feedback."""
    if not turn.calls:
        return [{"role": "user", "content": list(feedback)}] if feedback else []
    if style == "text":
        return [{"role": "user", "content": [block for blocks in results for block in blocks]}]
    return [
        {"role": "tool", "name": call.name, "content": list(blocks)}
        for call, blocks in zip(turn.calls, results, strict=True)
    ]


def with_images(messages: Sequence[Message], images: Mapping[int, Any] | Sequence[Any]) -> list[Message]:
    """The messages with the handles in image blocks replaced by `images`; every message and block is new."""
    return [{**message, "content": blocks_with_images(message["content"], images)} for message in messages]


def blocks_with_images(blocks: Sequence[Block], images: Mapping[int, Any] | Sequence[Any]) -> list[Block]:
    """The blocks with handles replaced by images."""
    return [{"type": "image", "image": images[b["image"]]} if b["type"] == "image" else dict(b) for b in blocks]


def message_text(messages: Sequence[Message]) -> str:
    """The text blocks of some messages, a line each."""
    return "\n".join(b["text"] for message in messages for b in message["content"] if b["type"] == "text")


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _image_blocks(handle: int, *, terse: bool) -> list[Block]:
    image: Block = {"type": "image", "image": handle}
    return [image] if terse else [_text(f"image {handle}:"), image]
