"""Validation while training: the policy as it is plays held-out cases; the best weights are kept, and training may stop."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from transformers import TrainerCallback

from medvistagym_trl._recipe import ValidationRecipe
from medvistagym_trl.model import LoadedModel
from medvistagym_trl.run._folder import atomic_write_text
from medvistagym_trl.run._setup import RunSetup
from medvistagym_trl.stages import decoding_label, evaluate

_RECORD: Final = "validation.json"


class ValidationCallback(TrainerCallback):
    """Validates every so many steps.

    Args:
        recipe: When, and what is done about it.
        play: Plays the validation cases; accuracy and calls a question.
        keep: Keeps the weights as they are.
        log: Is handed the step and the metrics.
        before: Accuracies of the validations of an earlier part of the run, in order.
    """

    def __init__(
        self,
        recipe: ValidationRecipe,
        play: Callable[[], dict[str, float]],
        keep: Callable[[int, float], None],
        log: Callable[[int, dict[str, float]], None],
        before: Sequence[float] = (),
    ) -> None:
        self._recipe, self._play, self._keep, self._log = recipe, play, keep, log
        self._best: float | None = None
        self._worse = 0
        for accuracy in before:
            self._note(accuracy)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Validate the policy that training starts from, where the recipe wants it and training does not go on."""
        if self._recipe.start and state.global_step == 0:
            self._validate(state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Validate when it is time; stop the training when it has not become better for long enough."""
        if state.global_step % self._recipe.every == 0:
            self._validate(state, control)

    def _validate(self, state: Any, control: Any) -> None:
        metrics = self._play()
        accuracy = metrics["accuracy"]
        self._log(state.global_step, metrics)
        if self._note(accuracy):
            if self._recipe.keep_best:
                self._keep(state.global_step, accuracy)
            return
        if self._recipe.patience and self._worse >= self._recipe.patience:
            control.should_training_stop = True

    def _note(self, accuracy: float) -> bool:
        """Count a validation; whether it is the best so far."""
        if self._best is None or accuracy > self._best:
            self._best, self._worse = accuracy, 0
            return True
        self._worse += 1
        return False


def validation_callbacks(
    setup: RunSetup, phase: str, model: LoadedModel, recipe: ValidationRecipe
) -> list[TrainerCallback]:
    """The callback of a stage, or none where its recipe has no validation."""
    if not recipe.every:
        return []
    rules = setup.recipe
    temperatures = dict(zip(("trained", "t1", "greedy"), (rules.grpo.temperature, 1.0, None), strict=True))
    temperature = temperatures[recipe.decoding]
    path = setup.trajectories(f"validation-{phase}.jsonl")

    def play() -> dict[str, float]:
        context = setup.context.as_measured(recipe.split)
        settings = rules.evaluation.model_copy(update={"n": recipe.n})
        was_training = model.model.training
        try:
            with torch.random.fork_rng(devices=list(range(torch.cuda.device_count()))):
                rows = evaluate(
                    context, model, phase, settings, temperature, seed=rules.seed, keep=path, engine=setup.engine
                )
        finally:
            context.close()
            model.model.train(was_training)
        whole = rows[-1]
        return {"accuracy": whole.accuracy, "calls": whole.calls_per_question, "abstained": whole.abstained}

    def keep(step: int, accuracy: float) -> None:
        if not setup.folder.writes:
            return
        setup.folder.save(_best(phase), model)
        record = json.dumps({"step": step, "accuracy": accuracy})
        atomic_write_text(setup.folder.checkpoint(_best(phase)) / _RECORD, record + "\n")

    def log(step: int, metrics: dict[str, float]) -> None:
        setup.folder.log(f"{phase}-validation", {"step": step, **metrics})
        setup.folder.print_progress(
            f"{phase} {step}: {100 * metrics['accuracy']:.1f} % right of {recipe.n} {recipe.split} cases "
            f"({decoding_label(temperature)}), {metrics['calls']:.2f} calls"
        )

    # Those before the checkpoint that is gone on from; what came after it is validated again.
    before = [line["accuracy"] for line in setup.folder.metrics() if line["phase"] == f"{phase}-validation"]
    return [ValidationCallback(recipe, play, keep, log, before)]


def keep_best(setup: RunSetup, phase: str, recipe: ValidationRecipe) -> None:
    """Put the weights of the best validation in the place of the last ones."""
    best = setup.folder.checkpoint(_best(phase))
    if not (setup.folder.writes and recipe.every and recipe.keep_best and (best / _RECORD).is_file()):
        return
    record = json.loads((best / _RECORD).read_text("utf-8"))
    setup.folder.print_progress(f"{phase} ends with the weights of step {record['step']}, the best validation")
    target: Path = setup.folder.checkpoint(phase)
    part = target.with_name(f".{phase}.part")
    shutil.rmtree(part, ignore_errors=True)
    # The best stays until the stage is done: one that is killed here saves its last weights again before it comes here.
    shutil.copytree(best, part, copy_function=_link)
    shutil.rmtree(target, ignore_errors=True)
    part.replace(target)


def restore_best(setup: RunSetup, phase: str, model: LoadedModel) -> int | None:
    """Put the weights of the best validation so far into a model in training; the step that they are of, None without any."""
    best = setup.folder.checkpoint(_best(phase))
    if not (best / _RECORD).is_file():
        return None
    weights = dict(setup.load_to_train(_best(phase)).model.named_parameters())
    with torch.no_grad():
        for name, weight in model.model.named_parameters():
            if weight.requires_grad:
                weight.copy_(weights[name].to(weight.device))
    return int(json.loads((best / _RECORD).read_text("utf-8"))["step"])


def forget_best(setup: RunSetup, phase: str) -> None:
    """Delete the weights of the best validation of a stage that is done."""
    shutil.rmtree(setup.folder.checkpoint(_best(phase)), ignore_errors=True)


def _link(source: str, target: str) -> None:
    """Let a file stand in a second place; a copy of it where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _best(phase: str) -> str:
    return f"{phase}_best"
