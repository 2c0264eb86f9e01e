"""All tool calls of a turn, over all rollouts, in one run of the executor.

TRL's loop calls the tools of one rollout after another. But the loop appends every message to the `completions` list
that it was given, so at any moment a rollout waits for its tools if and only if its last message is an assistant
message with calls that was not served yet. The first tool called in a turn therefore runs the calls of *every*
waiting rollout through the executor at once; the others find their results ready. Nothing in TRL is replaced, and a
training is the same to the bit with or without it. A turn of nothing but unknown tools calls no method: TRL answers it,
and `flush_unserved` makes up for it. Should a new TRL stop appending in place, calls are not found among the waiting
rollouts and are run one by one; `unbatched_calls` counts them, and tests hold it at zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medvistagym_core.execution import CallRequest
from medvistagym_core.tools import ToolResult

if TYPE_CHECKING:
    from medvistagym_trl.rollout._trl_environment import EpisodeAdapter

Blocks = list[dict[str, Any]]
ExecutorRun = Callable[[Sequence[CallRequest]], list[list[ToolResult]]]


class BatchedToolCalls:
    """One run of TRL's tool loop over a batch.

    Args:
        adapters: The episodes of the batch, one a row.
        completions: The very lists that the loop mutates.
        run: Runs jobs together, such as `LocalExecutor.run`.

    Attributes:
        unbatched_calls: Calls that did not find their result ready.
        batches: Runs of the executor for a turn so far.
    """

    def __init__(
        self, adapters: Sequence[EpisodeAdapter], completions: Sequence[Sequence[Mapping[str, Any]]], run: ExecutorRun
    ) -> None:
        self._adapters = adapters
        self._completions = completions
        self._run = run
        self._row = {id(adapter): row for row, adapter in enumerate(adapters)}
        self._served: list[Any] = [None] * len(adapters)
        self._flushed = False
        self.unbatched_calls = 0
        self.batches = 0

    def result(self, adapter: EpisodeAdapter, name: str, arguments: Mapping[str, Any]) -> Blocks:
        """What a call of an episode returned, as content blocks.

        Args:
            adapter: The episode, one of `adapters`.
            name: The tool's name.
            arguments: As JSON values.
        """
        row = self._row[id(adapter)]
        if self._waits(row):
            self._execute_waiting()
        blocks = adapter.blocks(name, arguments)
        if blocks is None and self._completions[row] and self._completions[row][-1] is self._served[row]:
            return list(adapter.feedback())  # the turn as a whole was refused, or this call of it
        if blocks is None:
            self.unbatched_calls += 1
            call = {"function": {"name": name, "arguments": dict(arguments)}}
            self._execute([(adapter, {"role": "assistant", "content": "", "tool_calls": [call]})])
            blocks = adapter.blocks(name, arguments)
        return list(adapter.feedback()) if blocks is None else blocks

    def flush_unserved(self) -> None:
        """Serve the rollouts whose calls of this turn reached no environment, once all calls of the turn are answered."""
        if self._flushed:
            return
        self._flushed = True
        unserved = []
        for row, chat in enumerate(self._completions):
            message: Mapping[str, Any] = next((m for m in reversed(chat) if m.get("role") != "tool"), {})
            if message is not self._served[row] and message.get("tool_calls"):
                self._served[row] = message
                unserved.append((self._adapters[row], message))
        self._execute(unserved)

    def adapter_of(self, result: Mapping[str, Any]) -> EpisodeAdapter | None:
        """The episode whose last message is this result; None when it is none's."""
        rows = zip(self._adapters, self._completions, strict=True)
        return next((adapter for adapter, chat in rows if chat and chat[-1] is result), None)

    def begin_turn(self) -> None:
        """The policy writes its next turn."""
        self._flushed = False

    def _waits(self, row: int) -> bool:
        chat = self._completions[row]
        return bool(chat) and chat[-1] is not self._served[row] and bool(chat[-1].get("tool_calls"))

    def _execute_waiting(self) -> None:
        rows = [row for row in range(len(self._adapters)) if self._waits(row)]
        self.batches += 1
        for row in rows:
            self._served[row] = self._completions[row][-1]
        self._execute([(self._adapters[row], self._served[row]) for row in rows])

    def _execute(self, turns: Sequence[tuple[EpisodeAdapter, Mapping[str, Any]]]) -> None:
        jobs = [adapter.submit_message(message) for adapter, message in turns]
        due = [job for job in jobs if job is not None]
        results = iter(self._run(due) if due else ())
        for (adapter, _), job in zip(turns, jobs, strict=True):
            adapter.submit_results(None if job is None else next(results))
