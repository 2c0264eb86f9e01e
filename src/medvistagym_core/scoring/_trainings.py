"""Training runs beside each other: what each reached, how long it took, and where its metrics stood at the end.

A run folder holds `metrics.jsonl` (a line a step, with the name of its phase), and once it got so far `phases/NAME.json` and
`results.json`: a run that was stopped can be compared too.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from medvistagym_core.tools import first_fault
from medvistagym_core.trajectories import OVERALL, ResultRow, Results

_LAST_SHARE: Final = 0.1
"""Share of a phase's steps, the last ones, that its final figures are a mean of."""
_METRICS: Final = ("loss", "reward", "accuracy", "calls", "entropy", "parity/engine_difference", "step_time")
"""Metrics of a phase that the table shows, where they were logged."""


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """What a training left behind.

    Attributes:
        name: What tables and curves call it.
        recipe: Name of its recipe, where it is on record.
        rows: Accuracy of each policy, over all families.
        curves: Of each phase and metric, steps and values.
        seconds: Wall time of each finished phase.
    """

    name: str
    recipe: str | None
    rows: tuple[ResultRow, ...]
    curves: Mapping[tuple[str, str], tuple[tuple[int, ...], tuple[float, ...]]]
    seconds: Mapping[str, float]

    @property
    def phases(self) -> tuple[str, ...]:
        """Phases that logged metrics, in order."""
        return tuple(dict.fromkeys(phase for phase, _ in self.curves))

    def final(self, phase: str, metric: str) -> float | None:
        """Mean of a metric over the last tenth of a phase; None where it was not logged.

        Args:
            phase: Name of the phase, such as "grpo".
            metric: Name of the metric in `metrics.jsonl`.
        """
        _, values = self.curves.get((phase, metric), ((), ()))
        last = values[-max(1, round(len(values) * _LAST_SHARE)) :]
        return sum(last) / len(last) if last else None


def is_training(folder: str | Path) -> bool:
    """Whether a folder is that of a training run."""
    return (Path(folder) / "metrics.jsonl").is_file()


def read_training(folder: str | Path, name: str | None = None) -> TrainingRun:
    """Read a run folder; a line of metrics that an interrupt cut short is left out, and a value that is no finite number.

    Args:
        folder: The run folder.
        name: What it is called; its path when None.

    Raises:
        ValueError: It holds no metrics, or a file that is damaged.
    """
    folder = Path(folder)
    if not is_training(folder):
        raise ValueError(f"{folder} is no run folder of a training: it holds no metrics.jsonl")
    recipe = folder / "recipe.yaml"
    named = re.search(r"(?m)^name:\s*(\S+)\s*$", recipe.read_text("utf-8")) if recipe.is_file() else None
    rows: tuple[ResultRow, ...] = ()
    if (results := folder / "results.json").is_file():
        with _named(results):
            rows = Results.load(results).rows
    files = sorted((folder / "phases").glob("*.json"), key=lambda file: (file.stat().st_mtime_ns, file.name))
    return TrainingRun(
        name=name or str(folder),
        recipe=named[1].strip("'\"") if named else None,
        rows=tuple(row for row in rows if row.family == OVERALL),
        curves=_read_curves(folder / "metrics.jsonl"),
        seconds={file.stem: _read_seconds(file) for file in files},
    )


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """Name the file that is damaged."""
    try:
        yield
    except (ValueError, LookupError, TypeError) as error:
        fault = str(error)
        if isinstance(error, ValidationError):
            fault = ": ".join(filter(None, first_fault(error)))
        elif isinstance(error, KeyError):
            fault = f"it holds no {fault}"
        raise ValueError(f"{file} is damaged ({fault}); restore it, or leave the run out") from error


def _read_seconds(file: Path) -> float:
    with _named(file):
        return float(json.loads(file.read_text("utf-8"))["seconds"])


def _read_curves(path: Path) -> dict[tuple[str, str], tuple[tuple[int, ...], tuple[float, ...]]]:
    points: dict[tuple[str, str], dict[int, float]] = {}
    for text in path.read_text("utf-8", "replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if not isinstance(line, dict) or not isinstance(line.get("phase"), str) or not _is_number(line.get("step")):
            continue
        for key, value in line.items():
            if key not in ("phase", "step") and _is_number(value):
                points.setdefault((line["phase"], key), {})[int(line["step"])] = float(value)
    return {key: (tuple(sorted(steps)), tuple(steps[step] for step in sorted(steps))) for key, steps in points.items()}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def training_table(runs: Sequence[TrainingRun]) -> list[dict[str, Any]]:
    """Rows of a table: what is compared, and its value for each run by name; None where a run lacks it."""
    rows: list[dict[str, Any]] = []
    policies = dict.fromkeys((row.policy, row.decoding) for run in runs for row in run.rows)
    for policy, decoding in policies:
        found = {
            run.name: next((row for row in run.rows if (row.policy, row.decoding) == (policy, decoding)), None)
            for run in runs
        }
        for what, of in (("accuracy", "accuracy"), ("calls a question", "calls_per_question")):
            values = {name: None if row is None else getattr(row, of) for name, row in found.items()}
            rows.append({"of": f"{policy}, {decoding}", "what": what, "values": values})
    for phase in dict.fromkeys(phase for run in runs for phase in run.phases):
        steps = {
            run.name: max((max(each[0]) for key, each in run.curves.items() if key[0] == phase), default=None)
            for run in runs
        }
        rows.append({"of": phase, "what": "steps", "values": steps})
        for metric in _METRICS:
            values = {run.name: run.final(phase, metric) for run in runs}
            if any(value is not None for value in values.values()):
                rows.append({"of": phase, "what": metric, "values": values})
    rows.extend(
        {"of": phase, "what": "seconds", "values": {run.name: run.seconds.get(phase) for run in runs}}
        for phase in dict.fromkeys(phase for run in runs for phase in run.seconds)
    )
    return rows


def format_trainings(runs: Sequence[TrainingRun]) -> str:
    """The table of some runs, for a terminal; metrics are means over the last tenth of a phase."""
    rows = training_table(runs)
    head = ("", "", *(run.name for run in runs))
    cells = [head, *((row["of"], row["what"], *(_text(row["values"][run.name]) for run in runs)) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    lines, before = [], ""
    for line in cells:
        first, before = ("" if line[0] == before else line[0]), line[0]
        named = f"{first:<{widths[0]}}  {line[1]:<{widths[1]}}"
        numbers = (f"{cell:>{width}}" for cell, width in zip(line[2:], widths[2:], strict=True))
        lines.append("  ".join([named, *numbers]).rstrip())
    return "\n".join(lines)


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4g}"
