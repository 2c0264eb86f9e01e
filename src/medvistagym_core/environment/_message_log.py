"""The transcript of an episode: its turns as chat messages."""

from __future__ import annotations

from collections.abc import Sequence

from medvistagym_core.environment._step import Step
from medvistagym_core.protocol import Block, Message, ToolMessageStyle, initial_messages


class MessageLog:
    """Chat messages whose image blocks hold handles, written as far as they are asked for.

    Args:
        prompt: The system prompt, or None.
        opening: The blocks of the first observation.
        style: How calls and results stand in messages.

    Attributes:
        messages: The messages so far.
        first_new: Position of the first message since the policy's last turn.
    """

    def __init__(self, prompt: str | None, opening: Sequence[Block], style: ToolMessageStyle) -> None:
        self._style = style
        self._written = 0
        self.messages: list[Message] = initial_messages(prompt, opening)
        self.first_new = 0

    def extend(self, steps: Sequence[Step]) -> None:
        """Write the steps that were not written yet; each has its results."""
        for step in steps[self._written :]:
            turn, *answers = step.messages(self._style)
            self.messages.append(turn)
            self.first_new = len(self.messages)
            self.messages += answers
            self._written += 1
