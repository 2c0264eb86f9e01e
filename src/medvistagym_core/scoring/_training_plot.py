"""Curves of training runs laid over each other, as SVG or PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from medvistagym_core.scoring._figures import PLOT_FORMATS, new_figure, save_figure
from medvistagym_core.scoring._trainings import TrainingRun

_METRICS: Final = ("accuracy", "reward", "calls", "loss", "entropy", "completions/mean_length", "step_time")
"""Metrics that are drawn, in order, as far as a phase logged them."""
_WINDOW: Final = 5
_COLUMNS: Final = 3
_MAX_AXES: Final = 12


def plot_trainings(runs: Sequence[TrainingRun], references: Sequence[TrainingRun], path: Path) -> None:
    """Draw the metrics of each phase: a line a run, references dashed and in grey, each a mean over five steps.

    What is measured less often, such as validations, is drawn as it was measured.

    Args:
        runs: The runs.
        references: Curves to hold them against.
        path: File to write, `.svg` or `.png`; whole or not there.

    Raises:
        ValueError: Another ending, matplotlib is not installed, or there is nothing to draw.
        OSError: The file cannot be written.
    """
    if path.suffix.lower() not in PLOT_FORMATS:
        raise ValueError(f"curves are drawn as {' or '.join(PLOT_FORMATS)}, not as {path.name!r}")
    drawn = [
        (phase, metric)
        for phase in dict.fromkeys(phase for run in runs for phase in run.phases)
        for metric in _METRICS
        if any(len(run.curves.get((phase, metric), ((),))[0]) > 1 for run in runs)
    ]
    # What is reinforced is what runs are compared for; the phases before it come as far as there is room.
    drawn = sorted(drawn, key=lambda each: "grpo" not in each[0])[:_MAX_AXES]
    if not drawn:
        raise ValueError("none of the runs has two steps of a metric, so there is no curve to draw")
    columns = min(_COLUMNS, len(drawn))
    lines = -(-len(drawn) // columns)
    figure = new_figure(4.4 * columns, 3 * lines + 0.5)
    every = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes, (phase, metric) in zip(every, drawn, strict=False):
        for run in references:
            _draw(axes, run, phase, metric, color="0.55", linestyle="--", linewidth=1.2, zorder=1)
        for run in runs:
            _draw(axes, run, phase, metric, linewidth=1.5)
        axes.set(title=f"{phase}: {metric}", xlabel="step")
        axes.grid(alpha=0.25)
    for axes in every[len(drawn) :]:
        axes.remove()
    first = figure.axes[0].get_legend_handles_labels()
    figure.legend(*first, loc="outside upper center", ncols=min(4, len(runs) + len(references)), fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, path, 110)


def _draw(axes: Any, run: TrainingRun, phase: str, metric: str, **style: Any) -> None:
    steps, values = run.curves.get((phase, metric), ((), ()))
    smooth = []
    for at, step in enumerate(steps):
        begin = max(0, at - _WINDOW + 1)
        window = [
            value for when, value in zip(steps[begin:], values[begin : at + 1], strict=False) if when > step - _WINDOW
        ]
        smooth.append(sum(window) / len(window))
    axes.plot(steps, smooth, label=run.name, **style)  # drawn where it is empty too, so that colours stay those of runs
