"""A GRPO step: its tool phase beside TRL's own loop, and what of the step is neither the model's nor the tools' time.

`python benchmarks/trainer.py` takes real steps of TRL's `GRPOTrainer` with the tiny policy of the default recipe, and writes
medians and the median of the paired ratios into benchmarks/results.json. `python benchmarks/trainer.py own_share` measures one
of the two.

- `trainer.tool_phase`: milliseconds of wall time of a turn's tool phase, from TRL's first call of a tool to the first result
  that it puts into tokens. The tool takes 50 ms, for one image as for 32, as a network on a GPU or a remote server does. Ours
  is this project's trainer, theirs TRL's loop with a hand-written environment and nothing of ours around the tool; 32
  rollouts that each call the tool in two turns.
- `trainer.own_share`: the share of a step, in percent, that is neither generation (TRL's call of `generate`) nor a forward pass
  for log-probabilities nor the backward pass: dealing cases, prompts, tools, rewards, the parity certificate, metrics, and what
  TRL and transformers themselves do around those. 64 rollouts of the default recipe's task, two calls and an answer each, the
  mean of four steps; the limit is 8 %.

What the policy writes is set, since an untrained one calls nothing; it is sampled all the same. The tool is declared not
deterministic, so nothing comes from a cache. One thread.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import numpy as np
import PIL.Image
import torch
from accelerate import Accelerator
from rows import RESULTS, compare, merge
from transformers import TrainerCallback
from trl.trainer.grpo_trainer import GRPOTrainer

from medvistagym_core import Answer, Case, Image, Toolbox, tool
from medvistagym_core.plugins import Registry
from medvistagym_trl._libraries import configure_libraries
from medvistagym_trl._recipe import Recipe, load_recipe
from medvistagym_trl.rollout import EpisodeAdapter, RolloutContext, make_rollout_context
from medvistagym_trl.run import episode_metrics
from medvistagym_trl.stages import BatchedToolGRPOTrainer, build_untrained_model, train_grpo

ROLLOUTS = 32
SHARED_ROLLOUTS = 64
STEPS = 5  # the first warms up
MAX_SHARE = 8.0
LATENCY_S = 0.05
TURNS = 2
SIDE = 64


@tool(deterministic=False)
def look(image: Image, at: int) -> Image:
    """Look at an image with a network that takes its time; not deterministic, so that no result is kept.

    Args:
        image: The image.
        at: Where to look.
    """
    time.sleep(LATENCY_S)
    return image


@look.batch
def _looks(calls: Sequence[dict[str, Any]]) -> list[Image]:
    time.sleep(LATENCY_S)
    return [call["image"] for call in calls]


class Looking:
    """Is it bright?"""

    name = "looking"
    description = "Is it bright?"
    families = ("bright",)
    splits = ("train",)
    tools = ("look",)
    abstention = None

    def case(self, split: str, index: int, seed: int = 0) -> Case:
        return Case(
            id=f"{split}-{index}", task=self.name, split=split, index=index, family="bright", question="Is it bright?",
            images=(Image(pixels=pixels(index)),), answer=Answer("yes"),
        )  # fmt: skip

    def vocabulary(self) -> tuple[str, ...]:
        return ("yes", "no", *map(str, range(ROLLOUTS)))


def pixels(index: int) -> np.ndarray:
    return np.full((SIDE, SIDE), index % 256, np.uint8)


class Clock:
    """The time from the first `start` to `stop`, again and again."""

    def __init__(self) -> None:
        self.begun: float | None = None
        self.taken: list[float] = []

    def start(self) -> None:
        if self.begun is None:
            self.begun = time.perf_counter()

    def stop(self) -> None:
        if self.begun is not None:
            self.taken.append(time.perf_counter() - self.begun)
            self.begun = None


CLOCK = Clock()


class Plain:
    """The same as a user of TRL writes it."""

    def reset(self, index: int, **row: Any) -> list[dict[str, Any]]:
        self._picture = PIL.Image.fromarray(pixels(index)).convert("RGB")
        return [{"type": "image", "image": self._picture}, {"type": "text", "text": "Is it bright?"}]

    def look(self, image: int, at: int) -> list[dict[str, Any]]:
        """Look at an image with a network that takes its time.

        Args:
            image: The image.
            at: Where to look.
        """
        CLOCK.start()
        time.sleep(LATENCY_S)
        return [{"type": "image", "image": self._picture}]


def timed_call(self: EpisodeAdapter, name: str, arguments: Mapping[str, Any], call: Any = EpisodeAdapter.call) -> Any:
    CLOCK.start()
    return call(self, name, arguments)


def scripted(trainer: Any, prompt_ids: Any, logprobs: Any) -> tuple[list[Any], Any]:
    """What the policy writes in this turn of the rows, in place of what it sampled."""
    trainer.turn = trainer.__dict__.get("turn", -1) + 1
    turns = [
        f'<tool_call>{{"name": "look", "arguments": {{"image": 0, "at": {row}}}}}</tool_call>'
        if trainer.turn < TURNS
        else f"<answer>{'yes' if row % 2 else 'no'}</answer>"
        for row in range(len(prompt_ids))
    ]
    return [trainer.processing_class.tokenizer(text + "<|im_end|>")["input_ids"] for text in turns], logprobs


class PhaseTimed:
    """Ends a tool phase where TRL puts the first result into tokens."""

    def _get_tool_suffix_ids(self: Any, tool_messages: Any) -> Any:
        CLOCK.stop()
        return super()._get_tool_suffix_ids(tool_messages)  # type: ignore[misc]


class Timed(BatchedToolGRPOTrainer):
    """Sets what the policy writes: two calls of the task's own tools, and an answer."""

    WRITTEN = (
        '<tool_call>{"name": "measure", "arguments": {"image": 0, "box": [0, 0, 500, 500]}}</tool_call>',
        '<tool_call>{"name": "zoom", "arguments": {"image": 0, "box": [0, 0, 500, 500]}}</tool_call>',
        "<answer>upper left</answer>",
    )

    def _generate(self, prompts: Any) -> Any:
        self.turn = -1
        return super()._generate(prompts)

    def _write_turns(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        _, logprobs = super()._write_turns(prompt_ids, *args, **kwargs)
        self.turn += 1
        ids = self.processing_class.tokenizer(self.WRITTEN[self.turn] + "<|im_end|>")["input_ids"]
        return [ids for _ in prompt_ids], logprobs


class StepClock(TrainerCallback):
    """Seconds of each step, and of what is the model's in it."""

    def __init__(self) -> None:
        self.whole: list[float] = []
        self.model: list[float] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.model.append(0.0)
        self._begun = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.whole.append(time.perf_counter() - self._begun)

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.model[-1] += time.perf_counter() - begun

        return run


def own_share(folder: Path) -> float:
    """Percent of a step that is not the model's."""
    registry = Registry.discover()
    changes = {"grpo.completions": SHARED_ROLLOUTS, "grpo.steps": STEPS, "processes": 1}
    recipe = load_recipe("scoutvqa").with_overrides(changes)
    task = registry.task(recipe.task)
    context = make_rollout_context(recipe, task, registry.toolbox(",".join(task.tools)), registry)
    clock = StepClock()
    theirs = [
        (GRPOTrainer, "_generate_single_turn"),
        (GRPOTrainer, "_get_per_token_logps_and_entropies"),
        (Accelerator, "backward"),
    ]
    with contextlib.ExitStack() as stack:
        stack.callback(context.close)
        for owner, name in theirs:
            stack.enter_context(mock.patch.object(owner, name, clock.timed(getattr(owner, name))))
        train_grpo(
            build_untrained_model(recipe.model, context, 0), context, recipe,
            cases=range(STEPS * SHARED_ROLLOUTS // recipe.grpo.group), completion=recipe.grpo.max_completion,
            folder=folder, record=episode_metrics, callbacks=[clock], trainer_class=Timed,
        )  # fmt: skip
    whole, model = sum(clock.whole[1:]), sum(clock.model[1:])
    return 100 * (whole - model) / whole


class Ours(PhaseTimed, BatchedToolGRPOTrainer):
    """This project's trainer, whose certificate sees what was written."""

    def _write_turns(self: Any, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        return scripted(self, prompt_ids, super()._write_turns(prompt_ids, *args, **kwargs)[1])


class Theirs(PhaseTimed, GRPOTrainer):
    """TRL's."""

    def _generate_single_turn(self: Any, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        return scripted(self, prompt_ids, super()._generate_single_turn(prompt_ids, *args, **kwargs)[1])


def contestant(make: Callable[..., Any], context: RolloutContext, recipe: Recipe) -> Callable[[], float]:
    """A step of training; milliseconds of a tool phase."""

    def step() -> float:
        model = build_untrained_model(recipe.model, context, 0)
        CLOCK.taken.clear()
        with (
            mock.patch.object(EpisodeAdapter, "call", timed_call),
            tempfile.TemporaryDirectory() as folder,  # one that holds a checkpoint is gone on with
        ):
            trainer: Any = train_grpo(
                model, context, recipe, cases=range(ROLLOUTS // recipe.grpo.group), completion=64, folder=Path(folder),
                record=lambda episodes: {}, trainer_class=make,
            )  # fmt: skip
        if len(CLOCK.taken) != TURNS or getattr(trainer, "unbatched_calls", 0):
            raise RuntimeError("TRL's tool loop has changed: its turns could not be timed")
        return statistics.median(CLOCK.taken) * 1000

    return step


def plain(**settings: Any) -> GRPOTrainer:
    """TRL's trainer with the hand-written environment, everything else as ours has it."""

    def reward(completions: Sequence[Any], **_: Any) -> list[float]:
        return [float("yes" in str(chat[-1]["content"])) for chat in completions]

    return Theirs(**{**settings, "environment_factory": Plain, "reward_funcs": [reward]})


def share_rows(rounds: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        runs = itertools.count()
        return compare(
            "trainer.own_share", SHARED_ROLLOUTS, "%", lambda: own_share(Path(folder) / str(next(runs))),
            {"limit": lambda: MAX_SHARE}, rounds,
        )  # fmt: skip


def tool_phase_rows(rounds: int) -> list[dict[str, Any]]:
    recipe = Recipe(name="bench").with_overrides(
        {
            "grpo.steps": 1, "grpo.completions": ROLLOUTS, "grpo.parts": 1,
            "grpo.max_completion": 64, "episode.max_calls": TURNS,
        }
    )  # fmt: skip
    context = make_rollout_context(recipe, Looking(), Toolbox({"look": look}), Registry())
    context = dataclasses.replace(context, config=dataclasses.replace(context.config, view_side=SIDE))
    ours, theirs = (contestant(make, context, recipe) for make in (Ours, plain))
    rows = compare("trainer.tool_phase", ROLLOUTS, "ms", ours, {"trl": theirs}, rounds)
    print(f"one latency is {LATENCY_S * 1000:g} ms: ours takes {rows[0]['ours'] / LATENCY_S / 1000:.2f} of it a turn")
    return rows


BENCHES = {"tool_phase": tool_phase_rows, "own_share": share_rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("benches", nargs="*", default=list(BENCHES), help=f"{' or '.join(BENCHES)} (default: both)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    configure_libraries()
    for name in options.benches:
        merge(BENCHES[name](options.rounds), options.out)


if __name__ == "__main__":
    main()
