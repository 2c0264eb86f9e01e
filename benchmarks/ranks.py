"""A step of GRPO in two processes beside one: how much of two cores the second process is worth.

`python benchmarks/ranks.py` trains a small policy with TRL's `GRPOTrainer` as this project uses it, in processes that torchrun
starts (gloo, one thread each), and writes medians and the median of the paired ratios into benchmarks/results.json.

- `trainer.ranks`: milliseconds of a step of 64 rollouts, a turn that looks and one that answers, 48 tokens a turn, with the
  parity certificate of every step. The model is twice as wide as that of the default recipe, so that a step is computation.
  "ours" is two processes; beside it one process with one thread, and one process with two.

What the policy writes is sampled and then set, so that every rollout takes as many turns. The batch is the same however many
processes share it. Both cores have to be free: run nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
from rows import RESULTS, compare, merge
from trainer import SIDE, Looking

from medvistagym_core import Image, Toolbox, tool
from medvistagym_core.plugins import Registry
from medvistagym_trl._libraries import configure_libraries
from medvistagym_trl._ranks import join_ranks, leave_ranks, rank
from medvistagym_trl._recipe import Recipe
from medvistagym_trl.rollout import make_rollout_context
from medvistagym_trl.stages import BatchedToolGRPOTrainer, build_untrained_model, train_grpo

ROLLOUTS, TOKENS, STEPS = 64, 48, 4  # the first step is not counted


@tool(light=True)
def look(image: Image, at: int) -> Image:
    """Look at an image.

    Args:
        image: The image.
        at: Where to look.
    """
    return image


class Scripted(BatchedToolGRPOTrainer):
    """Sets what the policy writes, after it was sampled."""

    def _write_turns(self: Any, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        self.generation_config.max_new_tokens = self.generation_config.min_new_tokens = TOKENS
        _, logprobs = super()._write_turns(prompt_ids, *args, **kwargs)
        answers = self._completions is not None
        turns = [
            f"<answer>{'yes' if row % 2 else 'no'}</answer>"
            if answers
            else f'<tool_call>{{"name": "look", "arguments": {{"image": 0, "at": {row}}}}}</tool_call>'
            for row in range(len(prompt_ids))
        ]
        return [self.processing_class.tokenizer(text + "<|im_end|>")["input_ids"] for text in turns], logprobs


def train(threads: int) -> list[float]:
    """Seconds of the steps of a training, in this process and those that were started with it."""
    torch.set_num_threads(threads)
    configure_libraries()
    join_ranks()
    recipe = Recipe(name="bench").with_overrides(
        {
            "grpo.steps": STEPS, "grpo.completions": ROLLOUTS, "grpo.parts": 2, "episode.max_calls": 1,
            "model.width": 256, "grpo.parity.logprobs_every": 0,
        }
    )  # fmt: skip
    context = make_rollout_context(recipe, Looking(), Toolbox({"look": look}), Registry())
    context = dataclasses.replace(context, config=dataclasses.replace(context.config, view_side=SIDE))
    model = build_untrained_model(recipe.model, context, 0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = train_grpo(
            model, context, recipe, cases=range(STEPS * ROLLOUTS // recipe.grpo.group), completion=256, folder=Path(folder),
            record=lambda episodes: {}, trainer_class=Scripted,
        )  # fmt: skip
        leave_ranks()
    steps = [line for line in trainer.state.log_history if "seconds/generation" in line]
    if len(steps) != STEPS or trainer.unbatched_calls:
        raise RuntimeError("TRL's tool loop has changed: its steps could not be timed")
    return [line["step_time"] for line in steps]


def step_ms(processes: int, threads: int) -> float:
    """Milliseconds of a step of a training that is started anew."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), __file__]
    done = subprocess.run(
        [sys.executable, *command, "--threads", str(threads)], check=True, stdout=subprocess.PIPE, text=True
    )
    return statistics.median(json.loads(done.stdout.splitlines()[-1])[1:]) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)  # of a process that trains
    options = parser.parse_args()
    if options.threads is not None:
        steps = train(options.threads)
        if rank() == 0:
            print(json.dumps(steps), flush=True)
        return
    peers = {"one process": lambda: step_ms(1, 1), "one process, two threads": lambda: step_ms(1, 2)}
    merge(compare("trainer.ranks", ROLLOUTS, "ms", lambda: step_ms(2, 1), peers, options.rounds), RESULTS)


if __name__ == "__main__":
    main()
