"""Scores as a picture, SVG or PNG: means, breakdowns, what stays without the right images, and what tool results are worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from medvistagym_core.scoring._document import ConditionReport, EvaluationReport, Number, ToolReliance
from medvistagym_core.scoring._figures import PLOT_FORMATS, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BAR: Final = 0.34  # inches
_SHORT: Final = 60  # characters
_MAX_VALUES: Final = 12
"""Most values of a fact that are drawn; those of most questions come first."""
_COLOURS: Final = ("#2a6f97", "#e09f3e", "#6a994e", "#9e2a2b", "#7b6d8d", "#8d99ae")


class _Bar(NamedTuple):
    """A bar: its label, a share with the ends of its interval, and what stands beside it."""

    label: str
    value: float
    low: float
    high: float
    note: str
    series: int = 0


class _Panel(NamedTuple):
    """Bars under one title; series of them have a legend where there are several."""

    title: str
    xlabel: str
    bars: Sequence[_Bar]
    series: Sequence[str] = ()


def plot_report(report: EvaluationReport, path: Path) -> None:
    """Draw the scores, with their 95 % intervals; whole or not there.

    The mean score of each task and condition under each protocol; under the first protocol also by each fact that has several
    values (family, kind, modality, ...); the share of the score that stays with other images; and how often answers change when
    results of a tool are replaced.

    Args:
        report: The scores.
        path: File to write, `.svg` or `.png`.

    Raises:
        ValueError: Another ending, matplotlib is not installed, or there is no score to draw.
        OSError: The file cannot be written.
    """
    if path.suffix.lower() not in PLOT_FORMATS:
        raise ValueError(f"scores are drawn as {' or '.join(PLOT_FORMATS)}, not as {path.name!r}")
    panels = [*_means(report), *_breakdowns(report), *_retained(report), *_reliance(report)]
    if not panels:
        raise ValueError("no number of this evaluation has a value, so there is nothing to draw")
    heights = [len(panel.bars) + 1 for panel in panels]
    figure = new_figure(8.5, 0.7 + 0.8 * len(panels) + _BAR * sum(heights))
    every = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights).flat
    for axes, panel in zip(every, panels, strict=True):
        _draw(axes, panel)
    save_figure(figure, path, 120)


def _draw(axes: Axes, panel: _Panel) -> None:
    for place, bar in enumerate(panel.bars):
        errors = [[max(0.0, bar.value - bar.low)], [max(0.0, bar.high - bar.value)]]
        colour = _COLOURS[bar.series % len(_COLOURS)]
        axes.barh(place, bar.value, xerr=errors, color=colour, error_kw={"ecolor": "0.35", "capsize": 3}, height=0.7)
        axes.text(1.02, place, bar.note, va="center", fontsize=8, transform=axes.get_yaxis_transform())
    labels = [bar.label for bar in panel.bars]
    again = [k > 0 and label == labels[k - 1] for k, label in enumerate(labels)]
    axes.set_yticks(
        range(len(labels)), ["" if a else label for a, label in zip(again, labels, strict=True)], fontsize=8
    )
    # Scores are shares; a score that others exceed without the right images leaves the axis longer.
    axes.set(xlim=(0, max(1.0, *(bar.high for bar in panel.bars))), title=panel.title)
    axes.set_xlabel(panel.xlabel, fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.25)
    if len(panel.series) > 1:
        from matplotlib.patches import Patch

        patches = [Patch(color=_COLOURS[k % len(_COLOURS)], label=name) for k, name in enumerate(panel.series)]
        axes.legend(
            handles=patches, loc="upper center", bbox_to_anchor=(0.5, -0.9 / len(panel.bars)), ncols=3, fontsize=8
        )


def _means(report: EvaluationReport) -> Iterator[_Panel]:
    """The mean scores of each task and split."""
    bars: dict[str, list[_Bar]] = {}
    many = len({condition.policy for condition in report.conditions}) > 1
    for condition in report.conditions:
        for protocol in condition.protocols:
            if protocol.mean.value is not None:
                label = _label(condition, many, protocol.protocol)
                bars.setdefault(f"{condition.task} {condition.split}", []).append(_bar(label, protocol.mean))
    for title, each in bars.items():
        yield _Panel(title, "mean score, with its 95 % interval", each)


def _breakdowns(report: EvaluationReport) -> Iterator[_Panel]:
    """The mean score by each fact with several values, under the first protocol: a series for each condition."""
    many = len({condition.policy for condition in report.conditions}) > 1
    tasks = dict.fromkeys((condition.task, condition.split) for condition in report.conditions)
    for task, split in tasks:
        conditions = [each for each in report.conditions if (each.task, each.split) == (task, split)]
        name = next((protocol.protocol for each in conditions for protocol in each.protocols), "")
        numbers: dict[str, dict[str, list[tuple[int, Number]]]] = {}
        for series, condition in enumerate(conditions):
            for protocol in condition.protocols:
                for breakdown in protocol.breakdowns if protocol.protocol == name else ():
                    for number in breakdown.numbers:
                        if number.value is not None:
                            numbers.setdefault(breakdown.by, {}).setdefault(number.name, []).append((series, number))
        drawn: list[object] = []
        for by, values in numbers.items():
            if len(values) < 2 or values in drawn:
                continue
            drawn.append(values)
            largest = sorted(values, key=lambda value: -max(number.scored for _, number in values[value]))
            left = f", {_MAX_VALUES} of {len(values)} values" if len(values) > _MAX_VALUES else ""
            bars = [
                _bar(value[:_SHORT], number, series)
                for value in largest[:_MAX_VALUES]
                for series, number in values[value]
            ]
            labels = [_label(condition, many) for condition in conditions]
            yield _Panel(f"{task} {split} by {by}{left}", f"mean score under {name}", bars, labels)


def _retained(report: EvaluationReport) -> Iterator[_Panel]:
    """The shares that stay with other images."""
    bars = [
        _Bar(
            f"{each.task}, {each.condition}, {each.protocol}"[:_SHORT],
            each.share,
            each.share if each.low is None else each.low,
            each.share if each.high is None else each.high,
            f"{100 * each.share:.0f} % of {each.questions}",
        )
        for each in report.retained
        if each.share is not None
    ]
    if bars:
        yield _Panel("What stays of the score with other images", "share of the score with the right ones", bars)


def _reliance(report: EvaluationReport) -> Iterator[_Panel]:
    """How often answers change with replaced results: overall where a tool has that, and by family."""
    rows = [each for each in report.reliance if each.changed is not None]
    families = Counter((each.task, each.tool, each.results) for each in rows)
    # Of a tool that one family calls, its own row says what "overall" says.
    rows = [each for each in rows if each.family != "overall" or families[each.task, each.tool, each.results] > 2]
    kinds = list(dict.fromkeys(each.results for each in rows))
    ordered = sorted(rows, key=lambda each: (each.task, each.tool, each.family != "overall", each.family))
    bars = [_changed(each, kinds.index(each.results)) for each in ordered]
    if bars:
        yield _Panel("Answers that change when tool results are replaced", "share of answers", bars, kinds)


def _changed(each: ToolReliance, series: int) -> _Bar:
    value = each.changed or 0.0
    low, high = value if each.low is None else each.low, value if each.high is None else each.high
    label = f"{each.task}, {each.tool}, {each.family}"[:_SHORT]
    return _Bar(label, value, low, high, f"{100 * value:.0f} % of {each.episodes}", series)


def _bar(label: str, number: Number, series: int = 0) -> _Bar:
    value = number.value or 0.0
    low, high = value if number.low is None else number.low, value if number.high is None else number.high
    return _Bar(label, value, low, high, f"{100 * value:.1f} % of {number.scored}", series)


def _label(condition: ConditionReport, many: bool, protocol: str = "") -> str:
    name = ", ".join([*([condition.policy] if many else []), condition.condition])
    return f"{name[: _SHORT - len(protocol)]}, {protocol}" if protocol else name[:_SHORT]
