"""A turn: what a policy wrote, read as reasoning, tool calls or an answer."""

from __future__ import annotations

import dataclasses
from typing import Literal

from medvistagym_core.tools import ToolCall, ToolError

ReasoningMode = Literal["required", "optional", "off"]


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """What a policy did in one turn.

    Attributes:
        text: What it wrote, in the wire format.
        reasoning: Its reasoning, without the tags; None when it gave none.
        calls: The tool calls, in order.
        answer: Its final answer; None when it called tools.
        error: Why the turn cannot be used; then there are no calls and no answer.
        well_formed: Whether the turn is exactly in the wire format, with nothing beside it.
    """

    text: str
    reasoning: str | None = None
    calls: tuple[ToolCall, ...] = ()
    answer: str | None = None
    error: ToolError | None = None
    well_formed: bool = False
