"""A step of an episode: a turn of the policy and what came back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from medvistagym_core.environment._config import EpisodeConfig
from medvistagym_core.execution import referenced_handles
from medvistagym_core.protocol import (
    Block,
    Message,
    ToolMessageStyle,
    Turn,
    assistant_message,
    result_blocks,
    tool_messages,
)
from medvistagym_core.tools import ErrorCode, Toolbox, ToolCall, ToolError, ToolResult
from medvistagym_core.trajectories import SECONDS_DIGITS, TurnRecord, block_records, call_record, error_record


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Step:
    """A turn and what came back.

    Attributes:
        turn: What the policy did.
        config: How results are shown.
        policy_seconds: Wall time of the policy.
        results: What each call gave, in order; empty while the calls run, and for a turn without calls.
        tool_seconds: Wall time until all results were there.
    """

    turn: Turn
    config: EpisodeConfig
    policy_seconds: float
    results: tuple[ToolResult, ...] = ()
    tool_seconds: float = 0.0

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls of the turn."""
        return self.turn.calls

    @property
    def answer(self) -> str | None:
        """The policy's answer; None when it gave none."""
        return self.turn.answer

    @property
    def error(self) -> ErrorCode | None:
        """Code of what went wrong: with the last call that failed, or with the turn itself."""
        for result in reversed(self.results):
            if result.error is not None:
                return result.error.code
        return None if self.turn.error is None else self.turn.error.code

    @property
    def succeeded(self) -> list[ToolCall]:
        """The calls that gave a result."""
        return [call for call, result in zip(self.calls, self.results, strict=False) if result.ok]

    @property
    def result_blocks(self) -> list[list[Block]]:
        """What the policy is shown of each result; image blocks hold handles."""
        return [self._blocks(result) for result in self.results]

    @property
    def feedback(self) -> list[Block]:
        """What it is told of a turn that could not be read."""
        return [] if self.turn.error is None else self._blocks(ToolResult(error=self.turn.error))

    @property
    def blocks(self) -> list[Block]:
        """All that the policy is shown; image blocks hold handles."""
        return [block for result in self.shown_results for block in self._blocks(result)]

    @property
    def shown_results(self) -> tuple[ToolResult, ...]:
        """What the policy is shown: the results, or the error of a turn that could not be read as one."""
        if self.results or self.turn.error is None:
            return self.results
        return (ToolResult(error=self.turn.error),)

    def _blocks(self, result: ToolResult) -> list[Block]:
        return result_blocks(result, self.config.limits.max_observation, self.config.compact)

    def messages(self, style: ToolMessageStyle) -> list[Message]:
        """The turn and what answers it, as chat messages whose image blocks hold handles."""
        replies = tool_messages(self.turn, self.result_blocks, self.feedback, style)
        return [assistant_message(self.turn, style), *replies]

    def record(self, toolbox: Toolbox) -> TurnRecord:
        """The record of the step, once the results are there."""
        handles = [referenced_handles(toolbox, call) for call in self.calls]
        parts = zip(self.calls, self.results, self.result_blocks, handles, strict=True)
        return TurnRecord(
            text=self.turn.text,
            think=self.turn.reasoning,
            answer=self.turn.answer,
            calls=tuple(call_record(*part) for part in parts),
            error=error_record(self.turn.error),
            feedback=block_records(self.feedback),
            conforms=self.turn.well_formed,
            policy_seconds=round(self.policy_seconds, SECONDS_DIGITS),
            tool_seconds=round(self.tool_seconds, SECONDS_DIGITS),
        )


def read_turn(written: str | Mapping[str, Any] | Turn, config: EpisodeConfig) -> Turn:
    """The turn in text, in an assistant's chat message, or already read; one that is too long is malformed."""
    protocol, max_chars = config.protocol, config.limits.max_text
    if isinstance(written, str):
        turn = protocol.parse(written[: max_chars + 1])
    else:
        turn = written if isinstance(written, Turn) else protocol.parse_message(written)
    if len(turn.text) <= max_chars:
        return turn
    cut = ToolError("malformed_call", f"Your turn was cut at {max_chars} characters; write less.")
    return Turn(turn.text[:max_chars], error=cut)
