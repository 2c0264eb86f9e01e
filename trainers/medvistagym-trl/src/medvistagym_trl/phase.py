"""The tool phase: all calls of a turn, over all rollouts, in one grouped run.

TRL's loop calls the tools of one rollout after another. But the loop appends every message to the `completions` list
that it was given, so at any moment a rollout waits for its tools if and only if its last message is an assistant
message with calls that was not served yet. The first tool called in a turn therefore runs the calls of *every*
waiting rollout through the executor at once; the others find their results ready. Nothing in TRL is replaced, and a
run is the same to the bit with or without it. A turn of nothing but unknown tools calls no method: TRL answers it, and
`settle` makes up for it. Should a new TRL stop working in place, calls miss the phase and are run one by one; `missed`
counts them, and tests hold it at zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medvistagym_core.execution import CallRequest
from medvistagym_core.tools import ToolResult

Blocks = list[dict[str, Any]]
Run = Callable[[Sequence[CallRequest]], list[list[ToolResult]]]


class ToolPhase:
    """One run of TRL's tool loop over a batch.

    Args:
        rollouts: The rollouts of the batch (`environment.Rollout`), one a row.
        completions: The very lists that the loop mutates.
        run: Runs jobs together, such as `LocalExecutor.run`.

    Attributes:
        missed: Calls that did not find their result ready.
        turns: Grouped runs so far.
    """

    def __init__(self, rollouts: Sequence[Any], completions: Sequence[Sequence[Mapping[str, Any]]], run: Run) -> None:
        self._rollouts = rollouts
        self._completions = completions
        self._run = run
        self._row = {id(rollout): row for row, rollout in enumerate(rollouts)}
        self._served: list[Any] = [None] * len(rollouts)
        self._settled = False
        self.missed = 0
        self.turns = 0

    def result(self, rollout: Any, name: str, arguments: Mapping[str, Any]) -> Blocks:
        """What the call `name(**arguments)` of this rollout returned, as content blocks."""
        row = self._row[id(rollout)]
        if self._waits(row):
            self._turn()
        blocks: Blocks | None = rollout.blocks(name, arguments)
        if blocks is None and self._completions[row] and self._completions[row][-1] is self._served[row]:
            return list(rollout.feedback())  # the turn as a whole was refused, or this call of it
        if blocks is None:
            self.missed += 1
            call = {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"function": {"name": name, "arguments": dict(arguments)}}],
            }
            self._serve([(rollout, call)])
            blocks = rollout.blocks(name, arguments)
        return list(rollout.feedback()) if blocks is None else blocks

    def settle(self) -> None:
        """Serve the rollouts whose calls of this turn reached no environment, once all calls of the turn are answered."""
        if self._settled:
            return
        self._settled = True
        unheard = []
        for row, chat in enumerate(self._completions):
            said: Mapping[str, Any] = next((message for message in reversed(chat) if message.get("role") != "tool"), {})
            if said is not self._served[row] and said.get("tool_calls"):
                self._served[row] = said
                unheard.append((self._rollouts[row], said))
        self._serve(unheard)

    def begin_turn(self) -> None:
        """The policy writes its next turn."""
        self._settled = False

    def _waits(self, row: int) -> bool:
        chat = self._completions[row]
        return bool(chat) and chat[-1] is not self._served[row] and bool(chat[-1].get("tool_calls"))

    def _turn(self) -> None:
        rows = [row for row in range(len(self._rollouts)) if self._waits(row)]
        self.turns += 1
        for row in rows:
            self._served[row] = self._completions[row][-1]
        self._serve([(self._rollouts[row], self._served[row]) for row in rows])

    def _serve(self, turns: Sequence[tuple[Any, Mapping[str, Any]]]) -> None:
        jobs = [rollout.begin(message) for rollout, message in turns]
        due = [job for job in jobs if job is not None]
        results = iter(self._run(due) if due else ())
        for (rollout, _), job in zip(turns, jobs, strict=True):
            rollout.end(None if job is None else next(results))
