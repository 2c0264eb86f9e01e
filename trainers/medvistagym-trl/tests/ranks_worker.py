"""GRPO on the toy task with set turns, in as many processes as it is started in: `torchrun ranks_worker.py FOLDER STEPS STOP`.

With a fourth argument, `redraw`, groups whose episodes all earned the same are played again.

What a row writes depends on nothing but its place in the whole batch and what it has read, so that any number of processes
plays the same episodes. Rank 0 leaves the weights and the log in the folder.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))

from conftest import ToyTask, mirror, shade, toy_recipe
from transformers import TrainerCallback

from medvistagym_core.plugins import Registry
from medvistagym_core.tools import Toolbox
from medvistagym_trl._ranks import join_ranks, leave_ranks, rank, rank_count
from medvistagym_trl.rollout import make_rollout_context
from medvistagym_trl.run import episode_metrics
from medvistagym_trl.stages import BatchedToolGRPOTrainer, build_untrained_model, train_grpo

TURNS = (
    '<tool_call>{"name": "mirror", "arguments": {"image": 0}}</tool_call>',
    "<answer>bright</answer>",
    '<tool_call>{"name": "shade", "arguments": {"image": 0, "box": [250, 250, 500, 500]}}</tool_call>',
    '<tool_call>{"name": "nothing", "arguments": {}}</tool_call>',
    "<answer>unclear</answer>",
    "<answer>dark</answer>",
)
BATCH, GROUP = 24, 8
"""Rows of a step and of a group where groups are played again."""


class Scripted(BatchedToolGRPOTrainer):
    """Writes set turns in place of sampled ones; rows make unequal numbers of turns, and so do ranks."""

    def _write_turns(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        settings: Any = self.generation_config
        settings.max_new_tokens = 2
        super()._write_turns(prompt_ids, *args, **kwargs)
        first = rank() * len(prompt_ids)
        turns = [
            TURNS[(first + row) % len(TURNS)] if self._completions is None else TURNS[len(ids) % 3]
            for row, ids in enumerate(prompt_ids)
        ]
        processor: Any = self.processing_class
        return [processor.tokenizer(f"{turn}<|im_end|>")["input_ids"] for turn in turns], None


GIVEN_UP = "<answer>unclear</answer>"
STUBBORN = {1: 1, 2: 2}
"""How often the groups of a batch are played again until their episodes differ. Of two ranks, both have rows of the group 1."""


class Stubborn(Scripted):
    """Gives up in whole groups until they have been played again; the second time is for rows of one rank alone."""

    again = 0

    def _write_turns(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        if self._completions is not None:
            return super()._write_turns(prompt_ids, *args, **kwargs)
        self.again = 0 if self.batch_rows is None else self.again + 1
        mine = BATCH // rank_count()
        rows = [rank() * mine + row for row in self.batch_rows or range(mine)]
        equal = [self.again < STUBBORN.get(row // GROUP, 0) for row in rows]
        turns = [GIVEN_UP if each else TURNS[row % len(TURNS)] for each, row in zip(equal, rows, strict=True)]
        processor: Any = self.processing_class
        return [processor.tokenizer(f"{turn}<|im_end|>")["input_ids"] for turn in turns], None


class Stop(TrainerCallback):
    """Sends SIGTERM to the last process alone after a step that is not the last; keeps the model and the log."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.model, self.state = kwargs["model"], state
        if state.global_step == self._step < state.max_steps and rank() == rank_count() - 1:
            os.kill(os.getpid(), signal.SIGTERM)


def train(
    folder: Path, steps: int, stop: int, redraw: str = ""
) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Weights and log of a training of `steps` steps that is stopped after step `stop`, or goes on with one that was."""
    changes: dict[str, Any] = {
        "grpo.completions": 16,
        "grpo.steps": steps,
        "grpo.save_every": 100,
        "grpo.parity.logprobs_every": 1,
    }
    if redraw:
        changes |= {"grpo.completions": BATCH, "grpo.group": GROUP, "grpo.zero_variance": redraw}
    recipe = toy_recipe().with_overrides(changes)
    context = make_rollout_context(recipe, ToyTask(), Toolbox({"mirror": mirror, "shade": shade}), Registry())
    model = build_untrained_model(recipe.model, context, 0)
    callback = Stop(stop)
    interrupted = False
    try:
        train_grpo(
            model, context, recipe, cases=range((3 if redraw else 4) * steps), completion=128, folder=folder / "steps",
            record=episode_metrics, callbacks=[callback], trainer_class=Stubborn if redraw else Scripted,
            redraw_cases=range(100, 160),
        )  # fmt: skip
    except KeyboardInterrupt:
        interrupted = True
    assert interrupted == (stop < steps)
    return {name: weight.detach() for name, weight in callback.model.named_parameters()}, callback.state.log_history


if __name__ == "__main__":
    join_ranks()
    place = Path(sys.argv[1])
    weights, log = train(place, int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
    if rank() == 0:
        torch.save(weights, place / "weights.pt")
        (place / "log.json").write_text(json.dumps(log))
    leave_ranks()
