"""Validation while training: the policy as it is plays held-out cases; the best weights are kept, and training may stop."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from transformers import TrainerCallback

from medvistagym_core.storage import write_folder_atomically
from medvistagym_core.trajectories import OVERALL, ResultRow
from medvistagym_trl._ranks import wait_for_ranks
from medvistagym_trl._recipe import Recipe, ValidationRecipe
from medvistagym_trl.model import LoadedModel
from medvistagym_trl.run._folder import VALIDATION, write_text_atomically
from medvistagym_trl.run._setup import RunSetup
from medvistagym_trl.stages import decoding_label, evaluate

_RECORD: Final = "validation.json"
_ACCURACIES: Final = ("accuracy", "greedy/accuracy")
"""The metrics that validations are ranked by; the second where they are played greedily as well."""
_STAGES: Final = {"sft": "SFT", "grpo": "GRPO", "grpo_tail": "GRPO's tail"}
"""What notes call the stages that validate."""


def sorted_gains(metrics: Mapping[str, float], first: Mapping[str, float]) -> tuple[float, ...]:
    """What validations are ranked by: how much more is right than in the first one, in each decoding, the least first."""
    gains = (metrics[name] - first[name] for name in _ACCURACIES if name in metrics and name in first)
    # As `metrics.jsonl` keeps accuracies, so that a run that goes on ranks them alike.
    return tuple(sorted(round(gain, 6) for gain in gains))


class ValidationCallback(TrainerCallback):
    """Validates every so many steps.

    Args:
        recipe: When, and what is done about it.
        play: Plays the validation cases; `accuracy`, `greedy/accuracy` where they are played greedily too, and other metrics.
        keep: Keeps the weights as they are; is handed the step and the metrics.
        log: Is handed the step and the metrics, `gain` (the least of `sorted_gains`) and `best` (1 or 0: none before had more)
            among them.
        before: Metrics of the validations of an earlier part of the run, in order.
    """

    def __init__(
        self,
        recipe: ValidationRecipe,
        play: Callable[[], dict[str, float]],
        keep: Callable[[int, dict[str, float]], None],
        log: Callable[[int, dict[str, float]], None],
        before: Sequence[Mapping[str, float]] = (),
    ) -> None:
        self._recipe, self._play, self._keep, self._log = recipe, play, keep, log
        self._first: Mapping[str, float] | None = None
        self._best: tuple[float, ...] | None = None
        self._worse = 0
        for metrics in before:
            self._note(metrics)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Validate the policy that training starts from, where the recipe wants it and training does not go on.

        See `transformers.TrainerCallback.on_train_begin`.
        """
        if self._recipe.start and state.global_step == 0:
            self._validate(state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Validate when it is time; stop the training when it has not become better for long enough.

        See `transformers.TrainerCallback.on_step_end`.
        """
        if state.global_step % self._recipe.every == 0:
            self._validate(state, control)

    def _validate(self, state: Any, control: Any) -> None:
        metrics = {name: round(value, 6) for name, value in self._play().items()}
        gain, best = self._note(metrics)
        metrics |= {"gain": gain, "best": float(best)}
        self._log(state.global_step, metrics)
        if best:
            if self._recipe.keep_best:
                self._keep(state.global_step, metrics)
            return
        if self._recipe.patience and self._worse >= self._recipe.patience:
            control.should_training_stop = True

    def _note(self, metrics: Mapping[str, float]) -> tuple[float, bool]:
        """Count a validation; its least gain, and whether it is the best so far."""
        self._first = self._first or metrics
        gains = sorted_gains(metrics, self._first)
        best = self._best is None or gains > self._best
        self._best, self._worse = (gains, 0) if best else (self._best, self._worse + 1)
        return gains[0], best


def validation_callbacks(
    setup: RunSetup, phase: str, model: LoadedModel, recipe: ValidationRecipe
) -> list[TrainerCallback]:
    """The callback of a stage, or none where its recipe has no validation."""
    if not recipe.every:
        return []
    rules = setup.recipe
    temperatures = {"trained": rules.grpo.temperature, "t1": 1.0, "greedy": None}
    names = ("trained", "greedy") if recipe.decoding == "both" else (recipe.decoding,)

    def play() -> dict[str, float]:
        metrics: dict[str, float] = {}
        requests = [
            ValidationRequest(phase, recipe, temperatures[name], "" if name == names[0] else f"{name}/")
            for name in names
        ]
        for request, rows in zip(requests, _play_all(setup, model, requests), strict=True):
            prefix = request.prefix
            for row in rows:
                kind = prefix if row.family == OVERALL else f"{prefix}{row.family}/"
                metrics[f"{kind}accuracy"] = row.accuracy
                metrics[f"{kind}calls"] = row.calls_per_question
                metrics[f"{kind}abstained"] = row.abstained
        return metrics

    def keep(step: int, metrics: dict[str, float]) -> None:
        if not setup.folder.writes:
            return
        setup.folder.save(_best(phase), model)
        record = json.dumps({"step": step, "accuracy": metrics["accuracy"], "gain": metrics["gain"]})
        write_text_atomically(setup.folder.checkpoint(_best(phase)) / _RECORD, record + "\n")

    def log(step: int, metrics: dict[str, float]) -> None:
        setup.folder.log(f"{phase}{VALIDATION}", {"step": step, **metrics})
        shown = []
        for name in names:
            prefix = "" if name == names[0] else f"{name}/"
            accuracy, calls = metrics[f"{prefix}accuracy"], metrics[f"{prefix}calls"]
            shown.append(f"{100 * accuracy:.1f} % right ({decoding_label(temperatures[name])}), {calls:.2f} calls")
        setup.folder.print_progress(f"{phase} {step}: of {recipe.n} {recipe.split} cases {'; '.join(shown)}")

    # Those before the checkpoint that is gone on from; what came after it is validated again.
    before = [line for line in setup.folder.metrics() if line["phase"] == f"{phase}{VALIDATION}"]
    return [ValidationCallback(recipe, play, keep, log, before)]


@dataclasses.dataclass(frozen=True)
class ValidationRequest:
    """A validation under one decoding.

    Attributes:
        phase: The stage that is validated.
        recipe: Which cases are played.
        temperature: Of sampling; None is greedy.
        prefix: What the names of its metrics begin with.
    """

    phase: str
    recipe: ValidationRecipe
    temperature: float | None
    prefix: str


def answer_validation(setup: RunSetup, request: ValidationRequest) -> list[ResultRow]:
    """Rows of the policy that the first process of a run has saved to be validated; what the second one answers.

    Args:
        setup: The run, as the second process has it.
        request: What it was asked.
    """
    return _play(setup, setup.load_to_train(_validated(setup, request.phase)), request)


def _play_all(setup: RunSetup, model: LoadedModel, requests: Sequence[ValidationRequest]) -> list[list[ResultRow]]:
    """Rows of the policy as it is, for each request; the second process plays the last of several where it is free."""
    *own, last = requests
    second = setup.second if own and _computes_alike(setup, model) else None
    if second is None or not second.is_free:
        return [_play(setup, model, request) for request in requests]
    saved = _validated(setup, last.phase)
    setup.folder.save(saved, model)
    asked = second.ask(last)
    rows = [_play(setup, model, request) for request in own]
    answer = second.answer() if asked else None
    shutil.rmtree(setup.folder.checkpoint(saved))
    return [*rows, _play(setup, model, last) if answer is None else answer]


def _computes_alike(setup: RunSetup, model: LoadedModel) -> bool:
    """Whether a second process gives the rows that this one would, to the digit: both with transformers, on a CPU, in float32.

    Elsewhere the model in training computes in another precision than one that is loaded again.
    """
    fields = setup.recipe.trl
    half = any(each.get(name) for each in (fields.sft, fields.grpo) for name in ("bf16", "fp16"))
    return setup.engine is None and not half and model.model.device.type == "cpu"


def _play(setup: RunSetup, model: LoadedModel, request: ValidationRequest) -> list[ResultRow]:
    """Rows of a policy under one decoding; random numbers of the training are left as they are."""
    phase, recipe, prefix = request.phase, request.recipe, request.prefix
    path = setup.trajectories(f"validation-{phase}{f'-{prefix[:-1]}' if prefix else ''}.jsonl")
    context = setup.context.as_measured(recipe.split)
    settings = setup.recipe.evaluation.model_copy(update={"n": recipe.n})
    was_training = model.model.training
    try:
        with torch.random.fork_rng(devices=list(range(torch.cuda.device_count()))):
            return evaluate(
                context,
                model,
                phase,
                settings,
                request.temperature,
                seed=setup.recipe.seed,
                keep=path,
                engine=setup.engine,
            )
    finally:
        context.close()
        model.model.train(was_training)


def validation_notes(recipe: Recipe, metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each stage that validated ended with, a sentence each.

    Args:
        recipe: The recipe.
        metrics: Lines of `metrics.jsonl`.
    """
    notes = []
    for phase, stage in _STAGES.items():
        rules = recipe.sft.validation if phase == "sft" else recipe.grpo.validation
        lines = [line for line in metrics if line["phase"] == f"{phase}{VALIDATION}"]
        kept = next((line for line in reversed(lines) if line.get("best")), None)
        if kept is None or not rules.keep_best:
            continue
        if kept["step"] == 0:
            notes.append(
                f"{stage}: no step validated better than the policy that it began with, whose weights are kept "
                f"(validations on {rules.n} {rules.split} cases: {len(lines)})."
            )
            continue
        gains = [
            f"{100 * (kept[name] - lines[0][name]):+.1f} points{where}"
            for name, where in zip(_ACCURACIES, ("", " greedy"), strict=True)
            if name in kept and lines[0]["step"] == 0
        ]
        over = f", {' and '.join(gains)} over the policy that it began with" if gains else ""
        notes.append(
            f"{stage}: the weights of step {kept['step']:.0f} are kept, the best of {len(lines)} validations on {rules.n} "
            f"{rules.split} cases{over}."
        )
    return notes


def keep_best(setup: RunSetup, phase: str, recipe: ValidationRecipe) -> None:
    """Put the weights of the best validation in the place of the last ones."""
    best = setup.folder.checkpoint(_best(phase))
    if not (setup.folder.writes and recipe.every and recipe.keep_best and (best / _RECORD).is_file()):
        return
    record = json.loads((best / _RECORD).read_text("utf-8"))
    if record["step"] == 0:
        setup.folder.print_progress(f"{phase} ends with the policy that it began with: no step validated better")
    else:
        setup.folder.print_progress(f"{phase} ends with the weights of step {record['step']}, the best validation")
    target: Path = setup.folder.checkpoint(phase)
    # The best stays until the stage is done: one that is killed here saves its last weights again before it comes here.
    with write_folder_atomically(target) as part:
        shutil.copytree(best, part, copy_function=_link, dirs_exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)


def restore_best(setup: RunSetup, phase: str, model: LoadedModel) -> int | None:
    """Put the weights of the best validation so far into a model in training; the step that they are of, None without any."""
    wait_for_ranks()  # until the first has saved a validation of this step
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


def _validated(setup: RunSetup, phase: str) -> str:
    """The checkpoint of a policy that the second process validates: with what the stage needs to go on, and gone with it."""
    return f"{setup.steps_folder(phase).name}/validated"
