"""A turn: what a policy wrote, read as reasoning, tool calls or an answer."""

from __future__ import annotations

from typing import Literal, NamedTuple

from medvistagym_core.tools import ToolCall, ToolError

ReasoningMode = Literal["required", "optional", "off"]


class Turn(NamedTuple):
    """What a policy did in one turn.

    Attributes:
        text: What it wrote, in the wire format.
        think: Its reasoning, without the tags; None when it gave none.
        calls: The tool calls, in order.
        answer: Its final answer; None when it called tools.
        error: Why the turn cannot be used; then there are no calls and no answer.
        conforms: Whether the turn is exactly in the wire format, with nothing beside it.
    """

    text: str
    reasoning: str | None = None
    calls: tuple[ToolCall, ...] = ()
    answer: str | None = None
    error: ToolError | None = None
    well_formed: bool = False
