"""First turns that begin with a tool drawn at random, so that a policy tries tools that it would never call itself.

A large model that meets a new tool calls it now and then, since it reads what the tool says of itself. A tiny one does not
read: without a call there is no reward to learn from. So in a share of the episodes of a step the first turn begins with the
stem of a call, of a tool that is drawn from the toolbox; its arguments and all else are the policy's. It says nothing of what a
tool is for, and is no demonstration. Of a drawn stem is learnt only where its episode was rewarded more than the mean of its
group, as in self-imitation (J. Oh et al., "Self-Imitation Learning", ICML 2018): a policy need not be taught to leave out what
it does not write anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from medvistagym_trl.model import LoadedModel, call_stem


class ExploringTurns:
    """Draws how first turns begin.

    Args:
        schemas: The toolbox in the Hugging Face dialect.
        model: Its tokens; a model whose chat template writes calls as the tiny model's does.
        share: Of the episodes.
        seed: Of what is drawn, the same for the same step.
    """

    def __init__(self, schemas: Sequence[Mapping[str, Any]], model: LoadedModel, share: float, seed: int) -> None:
        self._stems: list[list[int]] = [model.tokenizer(call_stem(schema))["input_ids"] for schema in schemas]
        self._share, self._seed = share, seed

    def draw(self, step: int, first: int, rows: int) -> dict[int, list[int]]:
        """Stems of some rows, as tokens.

        Args:
            step: Of the training.
            first: Number of the first row among those of all processes.
            rows: Number of rows.
        """
        stems = {}
        for row in range(rows):
            rng = np.random.default_rng([self._seed, step, first + row])
            if rng.random() < self._share:
                stems[row] = self._stems[int(rng.integers(len(self._stems)))]
        return stems


class ExploringTrainer:
    """Mixed into TRL's `GRPOTrainer`, above the class that writes turns.

    Attributes:
        exploring: Draws how first turns begin; None leaves them to the policy.
    """

    exploring: ExploringTurns | None = None
    _stems: Mapping[int, list[int]] = {}

    def _write_turns(self: Any, prompt_ids: Any, images: Any, fields: Any, *args: Any, **kwargs: Any) -> Any:
        if self.exploring is None or self._completions is not None:  # of the tool loop: not the first turn
            return super()._write_turns(prompt_ids, images, fields, *args, **kwargs)  # type: ignore[misc]
        first = self.accelerator.process_index * len(prompt_ids)
        stems = self._stems = self.exploring.draw(self.state.global_step, first, len(prompt_ids))
        for row in stems:
            self.environments[row].adapter.explored = True
        begun = [[*ids, *stems.get(row, ())] for row, ids in enumerate(prompt_ids)]
        longer = {name: _lengthen(value, prompt_ids, stems) for name, value in fields.items()}
        written = super()._write_turns(begun, images, longer, *args, **kwargs)  # type: ignore[misc]
        return ([[*stems.get(row, ()), *turn] for row, turn in enumerate(written[0])], *written[1:])

    def _generate_and_score_completions(self: Any, inputs: Any) -> Any:
        self._stems = {}
        output = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        if self._stems:
            lengths = {row: len(stem) for row, stem in self._stems.items()}
            forget_worse_stems(output, lengths, self.accelerator.gather)
        return output


def forget_worse_stems(
    output: dict[str, Any], lengths: Mapping[int, int], gather: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """Take drawn stems of episodes that did no better than the mean of their group out of the loss.

    Args:
        output: The batch of this process; changed.
        lengths: Tokens of the drawn stem, by row.
        gather: Gathers a tensor of all processes.
    """
    name = "tool_mask" if output.get("tool_mask") is not None else "completion_mask"
    mask = output[name].clone()
    for row, length in lengths.items():
        if float(output["advantages"][row]) <= 0:
            mask[row, :length] = 0
    output[name] = mask
    counted = output["completion_mask"] * output.get("tool_mask", torch.ones_like(output["completion_mask"]))
    output["num_items_in_batch"] = gather(counted.sum()).sum()


def _lengthen(value: Any, prompts: Sequence[Sequence[int]], stems: Mapping[int, list[int]]) -> Any:
    """A field with a value for each token of a prompt (its type: 0 for text), for prompts that go on with stems."""
    lists = isinstance(value, list) and all(isinstance(row, list) for row in value)
    if not lists or [len(row) for row in value] != [len(ids) for ids in prompts]:
        return value
    return [[*row, *[0] * len(stems.get(number, ()))] for number, row in enumerate(value)]
