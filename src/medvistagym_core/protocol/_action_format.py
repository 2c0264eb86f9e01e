"""The `ActionFormat` contract: how a policy writes a turn, and how the turn is parsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from medvistagym_core.protocol._turn import ReasoningMode, Turn
from medvistagym_core.tools import ToolCall


@runtime_checkable
class ActionFormat(Protocol):
    """How turns are written and read; `TextProtocol` is one, and a plugin offers others by `medvistagym_action_formats`.

    What a policy writes is untrusted: `parse` and `parse_message` never raise, and what is wrong with a turn is in its `error`.
    """

    @property
    def think(self) -> ReasoningMode:
        """Whether a turn must, may or must not hold reasoning."""
        ...

    @property
    def max_calls_per_turn(self) -> int:
        """Calls allowed in one turn; a turn with more is malformed."""
        ...

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """Texts that end a turn, for decoding; they belong to the turn."""
        ...

    @property
    def instructions(self) -> str:
        """How to write a turn, for the system prompt."""
        ...

    def parse(self, text: str) -> Turn:
        """The turn that a text is."""
        ...

    def parse_message(self, message: Mapping[str, Any]) -> Turn:
        """The turn in an assistant's chat message, whose calls may already be parsed."""
        ...

    def format_turn(self, think: str | None = None, calls: Sequence[ToolCall] = (), answer: str | None = None) -> str:
        """The text of a turn; `parse` reads it back.

        Args:
            think: The reasoning; None for none.
            calls: The calls of the turn; none where it answers.
            answer: The answer; None where it calls.

        Raises:
            ValueError: The parts are not a turn.
        """
        ...
