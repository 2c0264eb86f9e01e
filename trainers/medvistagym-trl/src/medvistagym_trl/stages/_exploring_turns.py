"""First turns that begin with a tool drawn at random, so that a policy tries tools that it would never call itself.

A large model that meets a new tool calls it now and then, since it reads what the tool says of itself. A tiny one does not
read: without a call there is no reward to learn from. So in a share of the episodes of a step the first turn begins as a call,
of a tool that is drawn from the toolbox: its name, the picture, and the key of what its schema requires next. The values and
all else are the policy's. It says nothing of what a tool is for, and is no demonstration. The key stands there because a policy
that is sure of its calls writes the arguments of a tool that it knows under any name, and then no call of a new tool succeeds.
Of what was drawn is learnt only where its episode was rewarded more than the mean of its group, as in self-imitation (J. Oh et
al., "Self-Imitation Learning", ICML 2018): a policy need not be taught to leave out what it does not write anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from medvistagym_core.tools import ToolSpec
from medvistagym_trl._recipe import GrpoRecipe
from medvistagym_trl.model import LoadedModel, call_opening


class ExploringTurns:
    """Draws how first turns begin.

    Args:
        specs: The tools.
        schemas: Their schemas in the Hugging Face dialect.
        model: Its tokens; a model whose chat template writes calls as the tiny model's does.
        recipe: The share of the episodes, and over how many steps it falls to 0.
        seed: Of what is drawn, the same for the same step.
    """

    def __init__(
        self,
        specs: Sequence[ToolSpec],
        schemas: Sequence[Mapping[str, Any]],
        model: LoadedModel,
        recipe: GrpoRecipe,
        seed: int,
    ) -> None:
        texts = [call_opening(schema, spec.images) for schema, spec in zip(schemas, specs, strict=True)]
        self._openings: list[list[int]] = [model.tokenizer(text)["input_ids"] for text in texts]
        self._share, self._steps, self._seed = recipe.exploration, recipe.exploration_steps, seed

    def draw(self, step: int, first: int, rows: int) -> dict[int, list[int]]:
        """Openings of some rows, as tokens.

        Args:
            step: Of the training, from 0.
            first: Number of the first row among those of all processes.
            rows: Number of rows.
        """
        share = self._share * (max(0.0, 1 - step / self._steps) if self._steps else 1)
        openings = {}
        for row in range(rows):
            rng = np.random.default_rng([self._seed, step, first + row])
            if rng.random() < share:
                openings[row] = self._openings[int(rng.integers(len(self._openings)))]
        return openings


class ExploringTrainer:
    """Mixed into TRL's `GRPOTrainer`, above the class that writes turns.

    Attributes:
        exploring: Draws how first turns begin; None leaves them to the policy.
    """

    exploring: ExploringTurns | None = None
    _openings: Mapping[int, list[int]] = {}

    def _write_turns(self: Any, prompt_ids: Any, images: Any, fields: Any, *args: Any, **kwargs: Any) -> Any:
        if self.exploring is None or self._completions is not None:  # of the tool loop: not the first turn
            return super()._write_turns(prompt_ids, images, fields, *args, **kwargs)  # type: ignore[misc]
        first = self.accelerator.process_index * len(prompt_ids)
        openings = self._openings = self.exploring.draw(self.state.global_step, first, len(prompt_ids))
        for row in openings:
            self.environments[row].adapter.explored = True
        begun = [[*ids, *openings.get(row, ())] for row, ids in enumerate(prompt_ids)]
        longer = {name: _lengthen(value, prompt_ids, openings) for name, value in fields.items()}
        written = super()._write_turns(begun, images, longer, *args, **kwargs)  # type: ignore[misc]
        room = self.max_completion_length  # the policy's own part alone may fill it
        return ([[*openings.get(row, ()), *turn][:room] for row, turn in enumerate(written[0])], *written[1:])

    def _generate_and_score_completions(self: Any, inputs: Any) -> Any:
        self._openings = {}
        output = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        if self.exploring is not None:  # of a process without openings too: the others wait for its tokens
            lengths = {row: len(opening) for row, opening in self._openings.items()}
            forget_worse_openings(output, lengths, self.accelerator.gather)
        return output


def forget_worse_openings(
    output: dict[str, Any], lengths: Mapping[int, int], gather: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """Take drawn openings of episodes that did no better than the mean of their group out of the loss.

    Args:
        output: The batch of this process; changed.
        lengths: Tokens of the drawn opening, by row.
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


def _lengthen(value: Any, prompts: Sequence[Sequence[int]], openings: Mapping[int, list[int]]) -> Any:
    """A field with a value for each token of a prompt (its type: 0 for text), for prompts that go on with openings."""
    lists = isinstance(value, list) and all(isinstance(row, list) for row in value)
    if not lists or [len(row) for row in value] != [len(ids) for ids in prompts]:
        return value
    return [[*row, *[0] * len(openings.get(number, ()))] for number, row in enumerate(value)]
