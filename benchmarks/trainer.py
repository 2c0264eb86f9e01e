"""The tool phase of a GRPO step: all calls of a turn in one run, beside TRL's own loop.

`python benchmarks/trainer.py` takes real steps of TRL's `GRPOTrainer` with the tiny policy of the default recipe, 32 rollouts
that each call a tool in two turns, and writes medians and the median of the paired ratios into benchmarks/results.json.

- `trainer.tool_phase`: milliseconds of wall time of a turn's tool phase, from TRL's first call of a tool to the first result
  that it puts into tokens. The tool takes 50 ms, for one image as for 32, as a network on a GPU or a remote server does. Ours
  is this project's trainer, theirs TRL's loop with a hand-written environment and nothing of ours around the tool.

What the policy writes is set, since an untrained one calls nothing; it is sampled all the same. The tool is declared not
deterministic, so nothing comes from a cache. One thread.
"""

from __future__ import annotations

import argparse
import dataclasses
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
from rows import RESULTS, compare, merge
from trl.trainer.grpo_trainer import GRPOTrainer

from medvistagym_core import Answer, Case, Image, Toolbox, tool
from medvistagym_core.plugins import Registry
from medvistagym_trl._libraries import configure_libraries
from medvistagym_trl._recipe import Recipe
from medvistagym_trl.rollout import EpisodeAdapter, RolloutContext, make_rollout_context
from medvistagym_trl.stages import BatchedToolGRPOTrainer, build_untrained_model, train_grpo

ROLLOUTS = 32
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


class Timed:
    """Ends a tool phase where TRL puts the first result into tokens."""

    def _get_tool_suffix_ids(self: Any, tool_messages: Any) -> Any:
        CLOCK.stop()
        return super()._get_tool_suffix_ids(tool_messages)  # type: ignore[misc]


class Ours(Timed, BatchedToolGRPOTrainer):
    """This project's trainer, whose certificate sees what was written."""

    def _write_turns(self: Any, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        return scripted(self, prompt_ids, super()._write_turns(prompt_ids, *args, **kwargs)[1])


class Theirs(Timed, GRPOTrainer):
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    configure_libraries()
    recipe = Recipe(name="bench").with_overrides(
        {
            "grpo.steps": 1, "grpo.completions": ROLLOUTS, "grpo.parts": 1,
            "grpo.max_completion": 64, "episode.max_calls": TURNS,
        }
    )  # fmt: skip
    context = make_rollout_context(recipe, Looking(), Toolbox({"look": look}), Registry())
    context = dataclasses.replace(context, config=dataclasses.replace(context.config, view_side=SIDE))
    ours, theirs = (contestant(make, context, recipe) for make in (Ours, plain))
    rows = compare("trainer.tool_phase", ROLLOUTS, "ms", ours, {"trl": theirs}, options.rounds)
    merge(rows, options.out)
    print(f"one latency is {LATENCY_S * 1000:g} ms: ours takes {rows[0]['ours'] / LATENCY_S / 1000:.2f} of it a turn")


if __name__ == "__main__":
    main()
