"""A GRPO trainer that plays groups again whose episodes all earned the same, with other cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch

from medvistagym_trl._ranks import gather_from_ranks

REWARD_ROUNDING: Final = 1e-6
"""Rewards that differ by no more are equal: sums of the same terms in another order, in float32."""
_METRICS: Final = ("completions/", "tools/")
"""How the names of metrics begin that TRL's `_generate` logs of the rollouts that it is given."""


class RedrawnGroupsTrainer:
    """Mixed into TRL's `GRPOTrainer`, next to it: what is played again takes the rows of what it replaces.

    From a group whose episodes all earned the same nothing is learnt. Its case is replaced by another one and played by the
    same policy, before anything of the batch is padded, scored or learnt from; so a batch is as if it had been dealt so, and
    TRL's metrics of completions and calls are of the episodes that are learnt from. Several ranks choose the same groups and
    cases as one would: they tell each other the rewards, and each plays those rows of a group again that are its own.

    Attributes:
        redraws: How often a group is replaced at most; 0 for never.
        redraw_cases: Cases to replace with: of each step, for each group, one for each time.
        batch_rows: While some rows are played again, their places in the batch.
    """

    redraws: int = 0
    redraw_cases: Sequence[int] = ()
    batch_rows: Sequence[int] | None = None

    def _generate(self: Any, prompts: Any) -> Any:
        rollouts = super()._generate(prompts)  # type: ignore[misc]
        size, first = self.num_generations, self.accelerator.process_index * len(prompts)
        replaced: set[int] = set()
        for attempt in range(self.redraws):
            groups = self._equal_groups(rollouts[3])
            if not groups:
                break
            replaced |= set(groups)
            counted = self.state.num_input_tokens_seen
            mine = [row - first for group in groups for row in range(group * size, (group + 1) * size)]
            rows = [row for row in mine if 0 <= row < len(prompts)]
            if rows:
                rollouts = _replace_rows(rollouts, rows, self._play_again(prompts, rows, attempt))
            else:
                self._wait_for_writers()
            played = sum(gather_from_ranks([self.state.num_input_tokens_seen - counted]))
            self.state.num_input_tokens_seen = counted + played
            self._metrics["train"]["num_tokens"] = [counted + played]
        if replaced:
            for name, value in self._completion_metrics(rollouts).items():
                self._metrics["train"][name][-1] = value
        if self.redraws:
            share = len(replaced) * size / (len(prompts) * self.accelerator.num_processes)
            self._metrics["train"]["groups/redrawn"].append(share)
        return rollouts

    def _equal_groups(self: Any, completions: Sequence[Any]) -> list[int]:
        """The groups of all ranks' batch whose episodes all earned the same."""
        rewards = gather_from_ranks(self.reward_funcs[0].values(completions, self.environments))
        size = self.num_generations
        equal = []
        for group in range(len(rewards) // size):
            counted = [value for value in rewards[group * size : (group + 1) * size] if value is not None]
            if not counted or max(counted) - min(counted) <= REWARD_ROUNDING:
                equal.append(group)
        return equal

    def _completion_metrics(self: Any, rollouts: tuple[Any, ...]) -> dict[str, float]:
        """The metrics that TRL's `_generate` logs of a batch, by the same names."""
        _, ids, masks, chats = rollouts[:4]
        ends = {*self.eos_token_ids, self._tokenizer.pad_token_id}
        facts = gather_from_ranks(
            [
                (
                    len(row) if masks is None else sum(masks[place]),
                    row[-1] in ends,
                    _count_calls(chat, self.max_tool_calling_iterations),
                    # A toolbox's methods return content blocks; a text is TRL's own, of a tool that there is not.
                    sum(each["role"] == "tool" and isinstance(each["content"], str) for each in chat),
                )
                for place, (row, chat) in enumerate(zip(ids, chats, strict=True))
            ]
        )
        lengths = [length for length, *_ in facts]
        ended = [length for length, end, *_ in facts if end]
        metrics = {"completions/clipped_ratio": 1 - len(ended) / len(lengths)}
        for name, values in (("length", lengths), ("terminated_length", ended or [0])):
            metrics[f"completions/mean_{name}"] = sum(values) / len(values)
            metrics[f"completions/min_{name}"] = float(min(values))
            metrics[f"completions/max_{name}"] = float(max(values))
        if self.tools:
            calls, failures = (sum(fact[place] for fact in facts) for place in (2, 3))
            metrics["tools/call_frequency"] = calls / len(facts)
            metrics["tools/failure_frequency"] = failures / calls if calls else 0.0
        return metrics

    def _play_again(self: Any, prompts: Any, rows: Sequence[int], attempt: int) -> Any:
        """Other cases in the place of some rows; what TRL's `_generate` gives for them, without its metrics."""
        size, first = self.num_generations, self.accelerator.process_index * len(prompts)
        groups = len(prompts) * self.accelerator.num_processes // size
        replacements = []
        for row in rows:
            place = (self.state.global_step * groups + (first + row) // size) * self.redraws + attempt
            observation = self.environments[row].reset(index=self.redraw_cases[place % len(self.redraw_cases)])
            *before, question = prompts[row]
            replacements.append([*before, {**question, "content": [{"type": "text", "text": ""}, *observation]}])
        names = ("environments", "_batch_environments", "_sync_tool_dicts", "_async_tool_dicts", "accelerator")
        whole, seconds = {name: getattr(self, name) for name in names}, self._generation_seconds
        logged = {name: len(values) for name, values in self._metrics["train"].items() if name.startswith(_METRICS)}
        self._generation_seconds = []
        self.batch_rows = rows
        try:
            for name in names[:-1]:
                setattr(self, name, [whole[name][row] for row in rows])
            self.accelerator = _AloneAccelerator(whole["accelerator"])  # other ranks may have no rows to play again
            for environment in self.environments:
                environment.adapter.generation_seconds = self._generation_seconds
            return super()._generate(replacements)  # type: ignore[misc]
        finally:
            for name, count in logged.items():
                del self._metrics["train"][name][count:]
            for name, values in whole.items():
                setattr(self, name, values)
            self.batch_rows = None
            self._generation_seconds = [*seconds, *self._generation_seconds]


class _AloneAccelerator:
    """accelerate's `Accelerator`, but for a batch that this rank alone has: nothing is gathered."""

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._accelerator, name)

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor


def _count_calls(chat: Sequence[Any], turns: int) -> int:
    """Calls of a completion that TRL's tool loop has made: those of its first turns."""
    written = [message for message in chat if message["role"] == "assistant"]
    return sum(len(message.get("tool_calls") or ()) for message in written[:turns])


def _replace_rows(rollouts: tuple[Any, ...], rows: Sequence[int], replacements: tuple[Any, ...]) -> tuple[Any, ...]:
    """What TRL's `_generate` gave, with some rows of what it gave later; its parts are lists of rows, None or a dict."""
    count = len(rollouts[0])
    spliced: list[Any] = []
    for first, second in zip(rollouts, replacements, strict=True):
        if isinstance(first, dict) or (first is None and second is None):
            spliced.append(first)
            continue
        values = [None] * count if first is None else list(first)
        for place, row in enumerate(rows):
            values[row] = None if second is None else second[place]
        spliced.append(values)
    return tuple(spliced)
