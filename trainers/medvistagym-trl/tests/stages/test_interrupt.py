"""A signal in the middle of a step: the step is saved, and a resumed training ends with the weights of an uninterrupted one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from medvistagym_trl.rollout import DemonstrationSource
from medvistagym_trl.stages import ConversationCollator, train_grpo, train_sft, whole_checkpoints

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
STEPS = 3


class Signalled(TrainerCallback):
    """Sends this process a signal at the beginning of a step."""

    def __init__(self, number: int, step: int) -> None:
        self._number, self._step = number, step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step + 1 == self._step:
            os.kill(os.getpid(), self._number)


Train = Callable[[Any, Path, list[TrainerCallback]], None]


@pytest.fixture
def sft(context: Any, task: Any, recipe: Any) -> Train:
    def train(model: Any, folder: Path, callbacks: list[TrainerCallback]) -> None:
        source = DemonstrationSource(context, lambda case, rng: task.demonstrate(case, rng, 1.0), 0, 0)
        collator = ConversationCollator(source, model.processor, context.rendered_schemas, model.end_of_turn)
        train_sft(model, collator, recipe, steps=STEPS, folder=folder, callbacks=callbacks)

    return train


@pytest.fixture
def grpo(context: Any, recipe: Any) -> Train:
    def train(model: Any, folder: Path, callbacks: list[TrainerCallback]) -> None:
        cases = range(STEPS * recipe.grpo.completions // recipe.grpo.group)
        train_grpo(
            model, context, recipe, cases=cases, completion=48, folder=folder, record=lambda _: {}, callbacks=callbacks
        )

    return train


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "number"), [("sft", signal.SIGINT), ("grpo", signal.SIGTERM)])
def test_the_step_is_saved_and_the_end_is_the_same(
    stage: str, number: int, make_model: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    train: Train = request.getfixturevalue(stage)
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]

    def seeded() -> Any:
        torch.manual_seed(0)
        return make_model()

    whole = seeded()
    train(whole, tmp_path / "whole", [])
    stopped = seeded()
    with pytest.raises(KeyboardInterrupt):
        train(stopped, tmp_path / "stopped", [Signalled(number, 2)])
    assert [folder.name for folder in whole_checkpoints(tmp_path / "stopped")] == ["checkpoint-2"]
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    resumed = seeded()
    train(resumed, tmp_path / "stopped", [])
    expected = dict(whole.model.named_parameters())
    for name, weight in resumed.model.named_parameters():
        assert torch.equal(weight, expected[name]), name
