"""A step of an episode: a turn of the policy and what came back."""

from __future__ import annotations

import dataclasses
import time

from medvistagym_core import conversation
from medvistagym_core.conversation import Block, Message, Style
from medvistagym_core.execution import named_handles
from medvistagym_core.protocol import Turn
from medvistagym_core.record import TurnRecord, block_records, call_record, error_record
from medvistagym_core.registry import Toolbox
from medvistagym_core.tool import ErrorCode, ToolCall, ToolResult


@dataclasses.dataclass(eq=False, slots=True)
class Step:
    """A turn and what came back.

    Attributes:
        turn: The turn.
        policy_seconds: Wall time of the policy.
        results: What each call gave; None while it is to come.
        given: The results, once all are there and were shown.
        error: Code of what went wrong: with the last call that failed, or with the turn itself.
        began: When the calls were handed out, on the clock of `time.perf_counter`.
        tool_seconds: Wall time until all results were there.
        shown: What the policy is shown of each result; image blocks hold handles.
        feedback: What it is told of a turn that could not be read.
    """

    turn: Turn
    policy_seconds: float = 0.0
    results: list[ToolResult | None] = dataclasses.field(default_factory=list)
    given: tuple[ToolResult, ...] = ()
    error: ErrorCode | None = None
    began: float = dataclasses.field(default_factory=time.perf_counter)
    tool_seconds: float = 0.0
    shown: list[list[Block]] = dataclasses.field(default_factory=list)
    feedback: list[Block] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.results = [None] * len(self.turn.calls)

    @property
    def succeeded(self) -> list[ToolCall]:
        """The calls that gave a result."""
        return [c for c, r in zip(self.turn.calls, self.results, strict=True) if r is not None and r.ok]

    def settle(self) -> None:
        """Note that all results are there."""
        self.tool_seconds = time.perf_counter() - self.began

    def show(self, *, most: int, terse: bool) -> None:
        """Write what the policy is shown of each result, or of a turn that could not be read; at most `most` characters."""
        self.given = tuple([result for result in self.results if result is not None])
        self.shown = [conversation.result_blocks(result, most=most, terse=terse) for result in self.given]
        for result in self.given:
            if result.error is not None:
                self.error = result.error.code
        if self.turn.error is not None:
            self.error = self.turn.error.code
            self.feedback = conversation.result_blocks(ToolResult(error=self.turn.error), most=most, terse=terse)

    @property
    def blocks(self) -> list[Block]:
        """All that the policy is shown, once it was written; image blocks hold handles."""
        return [block for blocks in (*self.shown, self.feedback) for block in blocks]

    def messages(self, style: Style) -> list[Message]:
        """The turn and what answers it, as chat messages whose image blocks hold handles."""
        answers = conversation.replies(self.turn, self.shown, self.feedback, style)
        return [conversation.assistant(self.turn, style), *answers]

    def record(self, toolbox: Toolbox) -> TurnRecord:
        """The record of the step, once it was shown."""
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
