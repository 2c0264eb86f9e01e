"""Validation while training: the policy as it is plays held-out cases; the best weights are kept, and training may stop."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
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
        best: Accuracy of the best validation of an earlier part of the run.
    """

    def __init__(
        self,
        recipe: ValidationRecipe,
        play: Callable[[], dict[str, float]],
        keep: Callable[[int, float], None],
        log: Callable[[int, dict[str, float]], None],
        best: float | None = None,
    ) -> None:
        self._recipe, self._play, self._keep, self._log = recipe, play, keep, log
        self._best = best
        self._worse = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Validate when it is time; stop the training when it has not become better for long enough."""
        if state.global_step % self._recipe.every:
            return
        metrics = self._play()
        accuracy = metrics["accuracy"]
        self._log(state.global_step, metrics)
        if self._best is None or accuracy > self._best:
            self._best, self._worse = accuracy, 0
            if self._recipe.keep_best:
                self._keep(state.global_step, accuracy)
            return
        self._worse += 1
        if self._recipe.patience and self._worse >= self._recipe.patience:
            control.should_training_stop = True


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
                rows = evaluate(context, model, phase, settings, temperature, seed=rules.seed, keep=path)
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

    record = setup.folder.checkpoint(_best(phase)) / _RECORD
    best = float(json.loads(record.read_text("utf-8"))["accuracy"]) if record.is_file() else None
    return [ValidationCallback(recipe, play, keep, log, best)]


def keep_best(setup: RunSetup, phase: str, recipe: ValidationRecipe) -> None:
    """Put the weights of the best validation in the place of the last ones."""
    best = setup.folder.checkpoint(_best(phase))
    if not (setup.folder.writes and recipe.every and recipe.keep_best and (best / _RECORD).is_file()):
        return
    record = json.loads((best / _RECORD).read_text("utf-8"))
    setup.folder.print_progress(f"{phase} ends with the weights of step {record['step']}, the best validation")
    target: Path = setup.folder.checkpoint(phase)
    shutil.rmtree(target, ignore_errors=True)
    best.replace(target)


def _best(phase: str) -> str:
    return f"{phase}_best"
