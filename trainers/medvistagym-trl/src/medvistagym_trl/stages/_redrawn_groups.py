"""A GRPO trainer that plays groups again whose episodes all earned the same, with other cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

REWARD_ROUNDING: Final = 1e-6
"""Rewards that differ by no more are equal: sums of the same terms in another order, in float32."""


class RedrawnGroupsTrainer:
    """Mixed into TRL's `GRPOTrainer`, next to it: what is played again takes the rows of what it replaces.

    From a group whose episodes all earned the same nothing is learnt. Its case is replaced by another one and played by the
    same policy, before anything of the batch is padded, scored or learnt from; so a batch is as if it had been dealt so. For
    one process, which has whole groups.

    Attributes:
        redraws: How often a group is replaced at most; 0 for never.
        redraw_cases: Cases to replace with: of each step, for each group, one for each time.
        batch_rows: While some rows are played again, their places in the batch.
    """

    redraws: int = 0
    redraw_cases: Sequence[int] = ()
    batch_rows: Sequence[int] | None = None

    def _generate(self: Any, prompts: Any) -> Any:
        made = super()._generate(prompts)  # type: ignore[misc]
        replaced: set[int] = set()
        for time in range(self.redraws):
            groups = self._equal_groups(made[3])
            if not groups:
                break
            replaced |= set(groups)
            rows = [group * self.num_generations + k for group in groups for k in range(self.num_generations)]
            made = _with_rows(made, rows, self._play_again(prompts, rows, time))
        if self.redraws:
            share = len(replaced) * self.num_generations / len(prompts)
            self._metrics["train"]["groups/redrawn"].append(share)
        return made

    def _equal_groups(self: Any, completions: Sequence[Any]) -> list[int]:
        """The groups of the batch whose episodes all earned the same."""
        rewards, size = self.reward_funcs[0].values(completions, self.environments), self.num_generations
        equal = []
        for group in range(len(rewards) // size):
            counted = [value for value in rewards[group * size : (group + 1) * size] if value is not None]
            if not counted or max(counted) - min(counted) <= REWARD_ROUNDING:
                equal.append(group)
        return equal

    def _play_again(self: Any, prompts: Any, rows: Sequence[int], time: int) -> Any:
        """Other cases in the place of some rows; what TRL makes of them."""
        size, groups = self.num_generations, len(prompts) // self.num_generations
        again = []
        for row in rows:
            place = (self.state.global_step * groups + row // size) * self.redraws + time
            shown = self.environments[row].reset(index=self.redraw_cases[place % len(self.redraw_cases)])
            *before, question = prompts[row]
            again.append([*before, {**question, "content": [{"type": "text", "text": ""}, *shown]}])
        names = ("environments", "_batch_environments", "_sync_tool_dicts", "_async_tool_dicts")
        whole, seconds = {name: getattr(self, name) for name in names}, self._generation_seconds
        self._generation_seconds = []
        self.batch_rows = rows
        try:
            for name, values in whole.items():
                setattr(self, name, [values[row] for row in rows])
            for environment in self.environments:
                environment.adapter.generation_seconds = self._generation_seconds
            return super()._generate(again)  # type: ignore[misc]
        finally:
            for name, values in whole.items():
                setattr(self, name, values)
            self.batch_rows = None
            self._generation_seconds = [*seconds, *self._generation_seconds]


def _with_rows(made: tuple[Any, ...], rows: Sequence[int], again: tuple[Any, ...]) -> tuple[Any, ...]:
    """What TRL's `_generate` made, with some rows of what it made later; its parts are lists of rows, None or a dict."""
    count = len(made[0])
    spliced: list[Any] = []
    for first, second in zip(made, again, strict=True):
        if isinstance(first, dict) or (first is None and second is None):
            spliced.append(first)
            continue
        values = [None] * count if first is None else list(first)
        for place, row in enumerate(rows):
            values[row] = None if second is None else second[place]
        spliced.append(values)
    return tuple(spliced)
