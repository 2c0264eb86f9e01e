"""The model card of a run: what was trained on what, what it reached, and what proves that it was trained on what it saw."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from medvistagym_core.scoring import EvaluationReport
from medvistagym_core.tools import Toolbox
from medvistagym_core.trajectories import OVERALL, Results
from medvistagym_trl._recipe import Recipe

_PACKAGES: Final = ("medvistagym-core", "medvistagym-trl", "torch", "transformers", "trl", "peft", "vllm")
_LIMITS: Final = (
    "It is no medical device. It was measured on the task above and on nothing else, its answers can be wrong with every "
    "appearance of care, and what its tools return is checked by nobody."
)


def model_card(
    recipe: Recipe,
    toolbox: Toolbox,
    results: Results,
    metrics: Sequence[Mapping[str, Any]],
    seconds: Mapping[str, float],
    scores: EvaluationReport | None = None,
) -> str:
    """The card of a finished run, as Markdown with the front matter of the Hub.

    Args:
        recipe: The recipe.
        toolbox: Its tools.
        results: What it reached.
        metrics: Lines of `metrics.jsonl`.
        seconds: Wall time of each phase.
        scores: Its answers under scoring protocols, where the recipe names any.
    """
    base = Path(recipe.model.path).name if recipe.model.path is not None else None
    tags = ["medvistagym", "medical-imaging", "tool-use", *(["lora"] if recipe.model.lora.rank else [])]
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: image-text-to-text",
        f"tags: {json.dumps(tags)}",
        "---",
        "",
        f"# {base or 'A tiny Qwen3-VL'}, trained with {recipe.name}",
        "",
        "For research only, not for clinical use. MedVistaGym taught it when and how to call tools on medical images.",
        "",
        "## What it reached",
        "",
        *_accuracies(results),
        *([] if scores is None else _scores(scores)),
        "## How it was trained",
        "",
        f"`recipe.yaml` is every setting, `metrics.jsonl` every step. {_stages(seconds)}",
        "",
        f"Tools, as `toolbox.lock.json` pins them: {', '.join(f'`{name}`' for name in toolbox) or 'none'}.",
        "",
        f"Versions: {', '.join(_versions())}.",
        "",
        "## The parity certificate",
        "",
        _certificate(metrics) + _describe_played(metrics),
        "",
        "## What it must not be used for",
        "",
        _LIMITS,
        "",
    ]
    return "\n".join(lines)


def _accuracies(results: Results) -> list[str]:
    """The accuracy of each policy and decoding, and the notes on it."""
    return [
        f"Task {results.task}, {results.split} split, seed {results.seed}; intervals are Wilson's, 95 %.",
        "",
        "| policy | decoding | accuracy | interval | questions | calls a question | abstained |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(
            f"| {row.policy} | {row.decoding} | {row.accuracy:.3f} | {row.low:.3f} to {row.high:.3f} | {row.n} | "
            f"{row.calls_per_question:.2f} | {row.abstained:.3f} |"
            for row in results.rows
            if row.family == OVERALL
        ),
        "",
        *(f"- {note}" for note in results.notes),
        "",
    ]


def _scores(scores: EvaluationReport) -> list[str]:
    """The mean score of each policy, decoding, task and protocol."""
    rows = []
    for condition in scores.conditions:
        for protocol in condition.protocols:
            mean = protocol.mean
            if not mean.questions:  # a protocol of other benchmarks
                continue
            value = "-" if mean.value is None else f"{mean.value:.3f}"
            interval = "" if mean.low is None or mean.high is None else f"{mean.low:.3f} to {mean.high:.3f}"
            rows.append(
                f"| {condition.task} | {condition.condition} | {protocol.protocol} | {value} | {interval} | {mean.scored} of "
                f"{mean.questions} |"
            )
    return [
        "The same answers under scoring protocols; `scores.json` holds the numbers that each publishes, and what it counts.",
        "",
        "| task | policy, decoding | protocol | mean score | interval | questions scored |",
        "| --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
    ]


def _stages(seconds: Mapping[str, float]) -> str:
    stages = [f"{phase} {value:.0f} s" for phase, value in seconds.items() if not phase.startswith("evaluation")]
    return f"Stages: {', '.join(stages)}." if stages else ""


def _versions() -> list[str]:
    versions = []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return versions


def _certificate(metrics: Sequence[Mapping[str, Any]]) -> str:
    """What was compared between rollout and training, in a paragraph."""
    steps = [line for line in metrics if "parity/rows" in line]
    full = [line for line in metrics if "parity/logprob_difference" in line]
    if not steps and not full:
        return "There is none: no stage of reinforcement learning was run, or it was switched off (`grpo.parity`)."
    rows, images = (sum(line.get(f"parity/{name}", 0) for line in steps) for name in ("rows", "images"))
    text = (
        f"In {len(steps)} steps, {rows:.0f} rollouts with {images:.0f} images were trained on with the tokens, the images and "
        "the order in which the policy had read them; a difference would have ended the training."
    )
    names = {
        "logprob_difference": "log-probabilities differed from an independent forward pass by at most {} nats a token",
        "engine_difference": "from those of the engine that sampled by at most {}",
        "canary_difference": "inverted images changed them by at least {}",
    }
    differences = []
    for name, sentence in names.items():
        values = [float(line[f"parity/{name}"]) for line in full if f"parity/{name}" in line]
        if values:
            differences.append(sentence.format(f"{(min if name.startswith('canary') else max)(values):.2g}"))
    if differences:
        text += f" In {len(full)} full checks, {', '.join(differences)}."
    return text


def _describe_played(metrics: Sequence[Mapping[str, Any]]) -> str:
    """What was compared before vLLM played for the table, in a sentence; empty where transformers did."""
    played = [
        float(line["parity/engine_difference"])
        for line in metrics
        if str(line.get("phase", "")).endswith("-engine") and "parity/engine_difference" in line
    ]
    if not played:
        return ""
    return (
        f" Evaluation, validation and self-sampling were played by vLLM; in {len(played)} checks, one whenever it was given "
        f"weights to play, its log-probabilities differed from those of the model by at most {max(played):.2g}."
    )
