"""First turns that are drawn at random while a policy is reinforced, so that it tries tools that it would never call itself.

A large model that meets a new tool calls it now and then, since it reads what the tool says of itself. A tiny one does not
read: without a call there is no reward to learn from. So a share of the episodes of a step begins with a call of any tool, with
random valid arguments; all else of them is the policy's. It says nothing of what a tool is for, and is no demonstration. Of a
drawn turn is learnt only where its episode was rewarded more than the mean of its group, as in self-imitation (J. Oh et al.,
"Self-Imitation Learning", ICML 2018): a policy need not be taught to leave out what it does not write anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from medvistagym_core.rollouts import sample_arguments
from medvistagym_core.tools import ToolCall
from medvistagym_trl.model import LoadedModel
from medvistagym_trl.rollout import RolloutContext


class ExploringTurns:
    """Draws first turns.

    Args:
        context: The tools, and how a call is written.
        model: Its tokens; a model whose chat template writes calls as the protocol of records does.
        share: Of the episodes.
        seed: Of what is drawn, the same for the same step.
    """

    def __init__(self, context: RolloutContext, model: LoadedModel, share: float, seed: int) -> None:
        self._context, self._tokenizer, self._share, self._seed = context, model.tokenizer, share, seed

    def draw(self, step: int, first: int, images: list[int]) -> dict[int, list[int]]:
        """Turns of some rows, as tokens with the end of the turn.

        Args:
            step: Of the training.
            first: Number of the first row among those of all processes.
            images: Number of images that each row shows.
        """
        turns = {}
        for row, count in enumerate(images):
            rng = np.random.default_rng([self._seed, step, first + row])
            if rng.random() < self._share:
                turns[row] = self._turn(count, rng)
        return turns

    def _turn(self, images: int, rng: np.random.Generator) -> list[int]:
        specs = self._context.toolbox.specs
        spec = specs[int(rng.integers(len(specs)))]
        arguments = sample_arguments(spec.parameters, spec.images, images, rng)
        text = self._context.config.protocol.format_turn(calls=[ToolCall(name=spec.name, arguments=arguments)])
        ids: list[int] = self._tokenizer(text)["input_ids"]
        return [*ids, int(self._tokenizer.eos_token_id)]


class ExploringTrainer:
    """Mixed into TRL's `GRPOTrainer`, above the class that writes turns.

    Attributes:
        exploring: Draws first turns; None leaves them to the policy.
    """

    exploring: ExploringTurns | None = None
    _explored: Mapping[int, list[int]] = {}

    def _write_turns(self: Any, prompt_ids: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        written = super()._write_turns(prompt_ids, images, *args, **kwargs)  # type: ignore[misc]
        if self.exploring is None or self._completions is not None:  # of the tool loop
            return written
        counts = [len(row or ()) for row in images] if images else [0] * len(prompt_ids)
        first = self.accelerator.process_index * len(counts)
        self._explored = self.exploring.draw(self.state.global_step, first, counts)
        for row in self._explored:
            self.environments[row].adapter.explored = True
        ids = [self._explored.get(row, turn) for row, turn in enumerate(written[0])]
        return (ids, *written[1:])

    def _generate_and_score_completions(self: Any, inputs: Any) -> Any:
        self._explored = {}
        output = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        if self._explored:
            lengths = {row: len(turn) for row, turn in self._explored.items()}
            forget_worse_turns(output, lengths, self.accelerator.gather)
        return output


def forget_worse_turns(
    output: dict[str, Any], lengths: Mapping[int, int], gather: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """Take drawn turns of episodes that did no better than their group out of the loss.

    Args:
        output: The batch of this process; changed.
        lengths: Tokens of the drawn first turn, by row.
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
