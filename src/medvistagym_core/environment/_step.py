"""A step of an episode: a turn of the policy and what came back."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Final

from medvistagym_core.environment._config import EpisodeConfig
from medvistagym_core.execution import referenced_handles
from medvistagym_core.protocol import (
    Block,
    Message,
    ToolMessageStyle,
    Turn,
    assistant_message,
    result_blocks,
    result_text,
    tool_messages,
)
from medvistagym_core.tools import ErrorCode, Toolbox, ToolCall, ToolError, ToolResult
from medvistagym_core.trajectories import SECONDS_DIGITS, TurnRecord, block_records, call_record, error_record

_new: Final = tuple.__new__  # that of a named tuple takes twice as long


class Step:
    """A turn and what came back.

    Steps are what an episode keeps, so they hold little: the parts of a turn rather than the turn, and a call or a result that
    is alone without a tuple around it. For an object that lives on costs the garbage collector more than it cost to make.
    What a policy is shown is written when somebody asks for it: messages, blocks and records are views of the results.

    Attributes:
        answer: The policy's answer; None when it gave none.
        policy_seconds: Wall time of the policy.
        error: Code of what went wrong: with the last call that failed, or with the turn itself.
        tool_seconds: Wall time until all results were there.
    """

    __slots__ = (
        "_began", "_calls", "_conforms", "_fault", "_given", "_refused", "_settings", "_text", "_think", "answer", "error",
        "policy_seconds", "tool_seconds",
    )  # fmt: skip

    answer: str | None
    error: ErrorCode | None
    policy_seconds: float
    tool_seconds: float
    _text: str
    _think: str | None
    _calls: tuple[ToolCall, ...] | ToolCall
    _fault: ToolError | None
    _conforms: bool
    _given: tuple[ToolResult, ...] | ToolResult
    _refused: tuple[ToolResult, ...]
    _settings: EpisodeConfig
    _began: float

    @classmethod
    def of(cls, turn: Turn, seconds: float, settings: EpisodeConfig, refused: tuple[ToolResult, ...] = ()) -> Step:
        """A step whose calls are still to be run. (An `__init__` with arguments takes twice as long.)

        Args:
            turn: The turn.
            seconds: Wall time of the policy.
            settings: How results are shown.
            refused: Results of the last calls of the turn, which the budget does not allow to run.
        """
        step = cls()
        step._text, step._think, calls, step.answer, fault, step._conforms = turn
        step._calls = calls[0] if len(calls) == 1 else calls
        step._fault = fault
        step.error = None if fault is None else fault.code
        step.policy_seconds = seconds
        step.tool_seconds = 0.0
        step._given = ()
        step._refused = refused
        step._settings = settings
        step._began = perf_counter() if calls else 0.0
        return step

    @property
    def turn(self) -> Turn:
        """The turn."""
        return _new(Turn, (self._text, self._think, self.calls, self.answer, self._fault, self._conforms))

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls of the turn."""
        calls = self._calls
        return calls if isinstance(calls, tuple) else (calls,)

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """What each call gave, once all results are there."""
        given = self._given
        return given if isinstance(given, tuple) else (given,)

    @property
    def succeeded(self) -> list[ToolCall]:
        """The calls that gave a result."""
        return [call for call, result in zip(self.calls, self.results, strict=False) if result.ok]

    def set_results(self, results: Sequence[ToolResult]) -> None:
        """Take the results of the calls that were run, which are the first of the turn."""
        if results:
            self.tool_seconds = perf_counter() - self._began
        given = (*results, *self._refused) if self._refused else results
        self._given = given[0] if len(given) == 1 else tuple(given)
        for result in given:
            if result.error is not None:
                self.error = result.error.code

    @property
    def result_blocks(self) -> list[list[Block]]:
        """What the policy is shown of each result; image blocks hold handles."""
        return [self._blocks(result) for result in self.results]

    @property
    def feedback(self) -> list[Block]:
        """What it is told of a turn that could not be read."""
        return [] if self._fault is None else self._blocks(ToolResult(error=self._fault))

    @property
    def text(self) -> str | None:
        """All that the policy is shown, where it is the text of one call, or nothing; else None."""
        given, settings = self._given, self._settings
        if isinstance(given, tuple):
            return "" if not given and self._fault is None else None
        if given.handles:
            return None
        return result_text(given, settings.limits.max_observation, settings.compact)

    @property
    def blocks(self) -> list[Block]:
        """All that the policy is shown; image blocks hold handles."""
        return [block for blocks in self.result_blocks for block in blocks] or self.feedback

    def _blocks(self, result: ToolResult) -> list[Block]:
        settings = self._settings
        return result_blocks(result, settings.limits.max_observation, settings.compact)

    def messages(self, style: ToolMessageStyle) -> list[Message]:
        """The turn and what answers it, as chat messages whose image blocks hold handles."""
        turn = self.turn
        return [assistant_message(turn, style), *tool_messages(turn, self.result_blocks, self.feedback, style)]

    def record(self, toolbox: Toolbox) -> TurnRecord:
        """The record of the step, once the results are there."""
        turn = self.turn
        named = [referenced_handles(toolbox, call) for call in turn.calls]
        return TurnRecord(
            text=turn.text,
            think=turn.reasoning,
            answer=turn.answer,
            calls=tuple(
                call_record(*parts) for parts in zip(turn.calls, self.results, self.result_blocks, named, strict=True)
            ),
            error=error_record(turn.error),
            feedback=block_records(self.feedback),
            conforms=turn.well_formed,
            policy_seconds=round(self.policy_seconds, SECONDS_DIGITS),
            tool_seconds=round(self.tool_seconds, SECONDS_DIGITS),
        )
