"""A step of an episode: a turn of the policy and what came back."""

from __future__ import annotations

import time
from collections.abc import Sequence

from medvistagym_core import conversation
from medvistagym_core.conversation import Block, Message, Style
from medvistagym_core.execution import named_handles
from medvistagym_core.protocol import Turn
from medvistagym_core.record import TurnRecord, block_records, call_record, error_record
from medvistagym_core.registry import Toolbox
from medvistagym_core.settings import Settings
from medvistagym_core.tool import ErrorCode, ToolCall, ToolResult


class Step:
    """A turn and what came back.

    What a policy is shown is written when somebody asks for it: messages, blocks and records are views of the results.

    Args:
        turn: The turn.
        seconds: Wall time of the policy.
        settings: How results are shown.
        refused: Results of the last calls of the turn, which the budget does not allow to run.

    Attributes:
        turn: The turn.
        policy_seconds: Wall time of the policy.
        given: What each call gave, once all results are there.
        error: Code of what went wrong: with the last call that failed, or with the turn itself.
        tool_seconds: Wall time until all results were there.
    """

    __slots__ = (
        "_began", "_refused", "_settings", "error", "given", "policy_seconds", "tool_seconds", "turn",
    )  # fmt: skip

    def __init__(self, turn: Turn, seconds: float, settings: Settings, refused: tuple[ToolResult, ...] = ()) -> None:
        self.turn = turn
        self.policy_seconds = seconds
        self.given: tuple[ToolResult, ...] = ()
        self.error: ErrorCode | None = None if turn.error is None else turn.error.code
        self.tool_seconds = 0.0
        self._refused = refused
        self._settings = settings
        self._began = time.perf_counter()

    @property
    def succeeded(self) -> list[ToolCall]:
        """The calls that gave a result."""
        return [call for call, result in zip(self.turn.calls, self.given, strict=False) if result.ok]

    def settle(self, results: Sequence[ToolResult]) -> None:
        """Take the results of the calls that were run, which are the first of the turn."""
        self.given = given = (*results, *self._refused) if self._refused else tuple(results)
        if results:
            self.tool_seconds = time.perf_counter() - self._began
        for result in given:
            error = result.error
            if error is not None:
                self.error = error.code

    @property
    def shown(self) -> list[list[Block]]:
        """What the policy is shown of each result; image blocks hold handles."""
        return [self._blocks(result) for result in self.given]

    @property
    def feedback(self) -> list[Block]:
        """What it is told of a turn that could not be read."""
        if self.turn.error is None:
            return []
        return self._blocks(ToolResult(error=self.turn.error))

    @property
    def text(self) -> str | None:
        """All that the policy is shown, where it is the text of one call, or nothing; else None."""
        given = self.given
        if len(given) != 1 or given[0].handles:
            return "" if not given and self.turn.error is None else None
        settings = self._settings
        return conversation.result_text(given[0], most=settings.limits.max_observation, terse=settings.terse)

    @property
    def blocks(self) -> list[Block]:
        """All that the policy is shown; image blocks hold handles."""
        return [block for blocks in self.shown for block in blocks] or self.feedback

    def _blocks(self, result: ToolResult) -> list[Block]:
        settings = self._settings
        return conversation.result_blocks(result, most=settings.limits.max_observation, terse=settings.terse)

    def messages(self, style: Style) -> list[Message]:
        """The turn and what answers it, as chat messages whose image blocks hold handles."""
        answers = conversation.replies(self.turn, self.shown, self.feedback, style)
        return [conversation.assistant(self.turn, style), *answers]

    def record(self, toolbox: Toolbox) -> TurnRecord:
        """The record of the step, once the results are there."""
        turn = self.turn
        named = [named_handles(toolbox, call) for call in turn.calls]
        return TurnRecord(
            text=turn.text,
            think=turn.think,
            answer=turn.answer,
            calls=tuple(call_record(*parts) for parts in zip(turn.calls, self.given, self.shown, named, strict=True)),
            error=error_record(turn.error),
            feedback=block_records(self.feedback),
            conforms=turn.conforms,
            policy_seconds=self.policy_seconds,
            tool_seconds=self.tool_seconds,
        )
