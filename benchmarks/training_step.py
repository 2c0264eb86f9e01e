"""A real step of GRPO whose tool runs in Ray workers, beside what `simulate_cluster.py` predicts of it.

`python benchmarks/training_step.py` trains the tiny policy of the default recipe with TRL's `GRPOTrainer` as this project uses
it: 32 rollouts of two turns that each call a tool of 50 ms, and a turn that answers; one thread. The simulation predicts the
step with the tool in 1, 2 and 4 workers, and trainings with that many measure it. What generation and learning take is measured
in trainings before and after, whose tool runs in this process.

The model samples; what it wrote is then replaced by set calls and answers, since an untrained one calls nothing. That
changes nothing of what generation takes, and little of what learning takes.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
import workers
from simulate_cluster import Costs, Load, measure, simulate, tool_seconds
from trainer import ROLLOUTS, SIDE, TURNS, Looking

from medvistagym_core.execution import Executor, LocalExecutor
from medvistagym_core.plugins import Registry
from medvistagym_core.tools import Toolbox
from medvistagym_ray.cluster import Connection
from medvistagym_trl._libraries import configure_libraries
from medvistagym_trl._recipe import Recipe
from medvistagym_trl.rollout import make_rollout_context
from medvistagym_trl.stages import BatchedToolGRPOTrainer, build_untrained_model, train_grpo

STEPS = 6  # the first is not counted
TOKENS = 32  # that a rollout writes in a turn
TOOLBOX = Toolbox({"nap": workers.Nap})


class Napping(Looking):
    """Is it bright, after some naps?"""

    tools = ("nap",)


class Scripted(BatchedToolGRPOTrainer):
    """Sets what the policy writes, after it was sampled."""

    def _write_turns(self: Any, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        self.generation_config.max_new_tokens = self.generation_config.min_new_tokens = TOKENS
        _, logprobs = super()._write_turns(prompt_ids, *args, **kwargs)
        self.turn = (self.__dict__.get("turn", -1) + 1) % (TURNS + 1)
        call = '<tool_call>{{"name": "nap", "arguments": {{"number": {}}}}}</tool_call>'
        turns = [
            call.format(row) if self.turn < TURNS else f"<answer>{'yes' if row % 2 else 'no'}</answer>"
            for row in range(len(prompt_ids))
        ]
        return [self.processing_class.tokenizer(text + "<|im_end|>")["input_ids"] for text in turns], logprobs


@dataclasses.dataclass(frozen=True)
class Measured:
    """Medians of the steps of a training.

    Attributes:
        step_s: A step.
        generation_s: A turn's generation.
        tokens_per_s: Tokens generated in a second of it.
        tools_s: The tools of a step.
    """

    step_s: float
    generation_s: float
    tokens_per_s: float
    tools_s: float

    @property
    def learning_s(self) -> float:
        """What is neither generation nor tools."""
        return self.step_s - (TURNS + 1) * self.generation_s - self.tools_s


def train(make_executor: Callable[..., Executor]) -> Measured:
    """Some steps of training, whose tool an executor runs."""
    torch.set_num_threads(1)
    recipe = Recipe(name="bench").with_overrides(
        {
            "grpo.steps": STEPS, "grpo.completions": ROLLOUTS, "grpo.parts": 1,
            "episode.max_calls": TURNS, "grpo.parity.logprobs_every": 0,
        }
    )  # fmt: skip
    context = make_rollout_context(recipe, Napping(), TOOLBOX, Registry())
    config = dataclasses.replace(context.config, view_side=SIDE)
    context = dataclasses.replace(context, config=config, make_executor=make_executor)
    model = build_untrained_model(recipe.model, context, 0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = train_grpo(
            model, context, recipe, cases=range(STEPS * ROLLOUTS // recipe.grpo.group), completion=256, folder=Path(folder),
            record=lambda episodes: {}, trainer_class=Scripted,
        )  # fmt: skip
    steps = [line for line in trainer.state.log_history if "seconds/generation" in line][1:]
    if len(steps) != STEPS - 1 or trainer.unbatched_calls:
        raise RuntimeError("TRL's tool loop has changed: its steps could not be timed")

    def median(name: str) -> float:
        return statistics.median(line[name] for line in steps)

    generation = median("seconds/generation")
    return Measured(
        median("step_time"), generation / (TURNS + 1), median("tokens/written") / generation, median("seconds/tools")
    )


def train_alone() -> Measured:
    """A training whose tool runs in this process."""
    return train(lambda toolbox: LocalExecutor(toolbox, cache_bytes=0))


def check(costs: Costs) -> None:
    """Predict and measure the step with 1, 2 and 4 workers."""
    titles = ("workers", "tokens/s", "turn s", "learning s", "predicted step s", "measured s", "difference")
    print("  ".join(titles))
    for count in (1, 2, 4):
        before = train_alone()
        with workers.executor(f"nap: {{replicas: {count}}}") as runs:
            workers.naps(runs, 2 * count)
            measured = train(lambda toolbox, runs=runs: runs)  # type: ignore[misc]
            tool_s = tool_seconds(runs)
        around = [before, train_alone()]
        rate, generation_s, learning_s = (
            statistics.fmean(getattr(one, name) for one in around)
            for name in ("tokens_per_s", "generation_s", "learning_s")
        )
        load = Load(
            1, count, ROLLOUTS, ROLLOUTS, TURNS, 0, tool_s, generation_s=generation_s, spread=0.0, learning_s=learning_s,
            shared_results=False,
        )  # fmt: skip
        predicted = simulate(costs, load).seconds
        figures = (
            f"{count}", f"{rate:.0f}", f"{generation_s:.2f}", f"{learning_s:.2f}", f"{predicted:.2f}", f"{measured.step_s:.2f}",
            f"{predicted / measured.step_s - 1:.1%}",
        )  # fmt: skip
        print("  ".join(figure.rjust(len(title)) for title, figure in zip(titles, figures, strict=True)), flush=True)


def main() -> None:
    configure_libraries()
    connection = Connection(object_store_mib=workers.STORE_MIB)
    try:
        workers.touch_store()
        check(measure())
    finally:
        connection.close()


if __name__ == "__main__":
    main()
