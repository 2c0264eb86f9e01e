"""Scores as a picture, SVG or PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from medvistagym_core.scoring._document import ConditionReport, EvaluationReport, Number
from medvistagym_core.scoring._figures import PLOT_FORMATS, new_figure, save_figure

_BAR: Final = 0.34  # inches
_SHORT: Final = 60  # characters


def plot_report(report: EvaluationReport, path: Path) -> None:
    """Draw the mean score of each task and condition under each protocol, with its 95 % interval; whole or not there.

    Args:
        report: The scores.
        path: File to write, `.svg` or `.png`.

    Raises:
        ValueError: Another ending, matplotlib is not installed, or there is no score to draw.
        OSError: The file cannot be written.
    """
    if path.suffix.lower() not in PLOT_FORMATS:
        raise ValueError(f"scores are drawn as {' or '.join(PLOT_FORMATS)}, not as {path.name!r}")
    drawn = _drawn(report)
    if not drawn:
        raise ValueError("no number of this evaluation has a value, so there is nothing to draw")
    rows = sum(map(len, drawn.values()))
    figure = new_figure(8.5, 1.0 + 0.5 * len(drawn) + _BAR * rows)
    axes = list(
        figure.subplots(len(drawn), 1, squeeze=False, height_ratios=[len(each) + 1 for each in drawn.values()]).flat
    )
    for each, (task, bars) in zip(axes, drawn.items(), strict=True):
        for place, (_, number) in enumerate(bars):
            value = number.value or 0.0
            low, high = (
                number.low if number.low is not None else value,
                number.high if number.high is not None else value,
            )
            errors = [[max(0.0, value - low)], [max(0.0, high - value)]]
            each.barh(place, value, xerr=errors, color="#2a6f97", error_kw={"ecolor": "0.35", "capsize": 3}, height=0.7)
            each.text(1.02, place, f"{100 * value:.1f} % of {number.scored}", va="center", fontsize=8)
        each.set_yticks(range(len(bars)), [label for label, _ in bars], fontsize=8)
        each.set(xlim=(0, 1), title=task)
        each.invert_yaxis()
        each.grid(axis="x", alpha=0.25)
    axes[-1].set_xlabel("mean score, with its 95 % interval")
    save_figure(figure, path, 120)


def _drawn(report: EvaluationReport) -> dict[str, list[tuple[str, Number]]]:
    """The bars of each task and split: a label, and the number."""
    bars: dict[str, list[tuple[str, Number]]] = {}
    many = len({condition.policy for condition in report.conditions}) > 1
    for condition in report.conditions:
        for protocol in condition.protocols:
            if protocol.mean.value is not None:
                label = _label(condition, protocol.protocol, many)
                bars.setdefault(f"{condition.task} {condition.split}", []).append((label, protocol.mean))
    return bars


def _label(condition: ConditionReport, protocol: str, many: bool) -> str:
    parts = [*([condition.policy] if many else []), condition.condition, protocol]
    return ", ".join(parts)[:_SHORT]
