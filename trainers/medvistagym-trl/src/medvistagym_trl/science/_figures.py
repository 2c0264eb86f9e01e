"""Figures, each of what run folders hold: policies, the number of trajectories, a tool that came later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from medvistagym_core.scoring import PLOT_FORMATS, new_figure, save_figure
from medvistagym_trl._figures import smooth
from medvistagym_trl.run import read_metrics
from medvistagym_trl.science._report import FINAL, StudyReport
from medvistagym_trl.science._statistics import PooledAccuracy, families_of
from medvistagym_trl.science._study import StudyError

_DPI: Final = 150
_BLUE, _ORANGE, _GREY = "#1f5fa8", "#d9742b", "#8a8f98"


def plot_policies(study: StudyReport, path: Path) -> None:
    """Accuracy of every policy with its interval, seeds as dots; and of the trained one by family.

    Args:
        study: The study.
        path: PNG to write.

    Raises:
        StudyError: The trained policy was not played.
        ValueError: matplotlib is not installed.
    """
    import matplotlib as mpl

    played = study.policies.get((FINAL, study.decodings[0]))
    if played is None:
        raise StudyError(f"no finished training of the study has played {FINAL}, so no policies are drawn")
    with mpl.rc_context({"font.size": 13}):
        titles = [title for title in study.titles if study.share(title) is not None]
        families = families_of([played])
        figure = new_figure(9, 0.46 * (len(titles) + len(families)) + 2.4)
        top, bottom = figure.subplots(2, 1, height_ratios=[len(titles), len(families) + 1], sharex=True)
        _bars(top, {title: _some(study.share(title)) for title in titles}, strong=FINAL)
        top.set_title(f"{study.recipe.task}, held-out studies, {study.decodings[0]}")
        _bars(bottom, {family: _some(study.share(FINAL, family)) for family in families}, strong=None)
        bottom.set_title(f"{FINAL}, by family")
        bottom.set_xlabel(f"right answers, %; lines: 95 %{'; dots: seeds' if len(study.seeds) > 1 else ''}")
        save_figure(figure, path, _DPI)


def plot_trajectory_counts(study: StudyReport, path: Path) -> None:
    """Accuracy over the number of trajectories that SFT learns from, with and without GRPO after it.

    Args:
        study: The study.
        path: PNG to write.

    Raises:
        StudyError: There are fewer than two points.
    """
    import matplotlib as mpl

    points = [point for point in study.curve if point.trajectories > 0]
    if len(points) < 2:
        raise StudyError("the curve needs two finished trainings with different numbers of trajectories (--curve)")
    with mpl.rc_context({"font.size": 13}):
        figure = new_figure(8, 5)
        axes = figure.subplots()
        sizes = [point.trajectories for point in points]
        for label, colour, shares in (
            ("SFT + GRPO", _BLUE, [point.grpo for point in points]),
            ("SFT", _ORANGE, [point.sft for point in points]),
        ):
            drawn = [(size, share) for size, share in zip(sizes, shares, strict=True) if share is not None]
            places, reached = [size for size, _ in drawn], [share for _, share in drawn]
            middle = [100 * share.accuracy for share in reached]
            down = [100 * (share.accuracy - share.low) for share in reached]
            up = [100 * (share.high - share.accuracy) for share in reached]
            axes.errorbar(places, middle, yerr=[down, up], marker="o", capsize=4, color=colour, label=label)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
        axes.minorticks_off()
        axes.set(ylim=(0, 100), xlabel="trajectories that SFT learns from", ylabel="right answers, %")
        axes.set_title(f"{study.recipe.task}, held-out studies, {study.decodings[0]}")
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
        save_figure(figure, path, _DPI)


def plot_tool_use(runs: Path | Sequence[Path], path: Path, *, phase: str = "grpo") -> None:
    """What GRPO made of each tool: accuracy by family and calls by tool, over the steps.

    Args:
        runs: The run folder, or those of a policy that was trained on, in order: their steps follow each other.
        path: File to write, `.svg` or `.png`; its folder is made.
        phase: The stage.

    Raises:
        StudyError: Another ending, or a run has no such steps.
    """
    import matplotlib as mpl

    if path.suffix.lower() not in PLOT_FORMATS:
        raise StudyError(f"the use of tools is drawn as {' or '.join(PLOT_FORMATS)}, not as {path.name!r}")
    steps: dict[int, Any] = {}
    for run in [runs] if isinstance(runs, Path) else runs:
        first = max(steps, default=0)
        more = {first + int(line["step"]): line for line in read_metrics(run) if line["phase"] == phase}
        if not more:
            raise StudyError(f"{run} has no steps of {phase} in its metrics.jsonl")
        steps |= more
    with mpl.rc_context({"font.size": 13}):
        figure = new_figure(8, 8)
        top, bottom = figure.subplots(2, 1, sharex=True)
        _curves(top, steps, lambda name: name.removesuffix("/accuracy") if name.endswith("/accuracy") else None, 100)
        top.set(ylim=(0, 102), ylabel="right answers, %", title="by family, sampled while learning")
        _curves(bottom, steps, lambda name: name.removeprefix("tool/") if name.startswith("tool/") else None, 1)
        bottom.set(ylim=(0, None), xlabel=f"step of {phase}", ylabel="calls a question", title="by tool")
        path.parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, path, _DPI)


def _curves(axes: Any, steps: Mapping[int, Mapping[str, Any]], label: Any, factor: float) -> None:
    names = sorted({name for line in steps.values() for name in line if label(name)})
    for name in names:
        order = [step for step in sorted(steps) if name in steps[step]]  # a step may have no question of a family
        axes.plot(order, smooth([factor * float(steps[step][name]) for step in order]), label=label(name), linewidth=2)
    axes.grid(alpha=0.3)
    if names:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _bars(axes: Any, shares: Mapping[str, PooledAccuracy], *, strong: str | None) -> None:
    for at, (title, share) in enumerate(shares.items()):
        colour = _BLUE if strong in (None, title) else _GREY
        middle = 100 * share.accuracy
        axes.barh(at, middle, color=colour, height=0.7)
        axes.plot([100 * share.low, 100 * share.high], [at, at], color="black", linewidth=1.5)
        seeds = [100 * value for value in share.seeds.values()]
        if len(seeds) > 1:
            axes.plot(seeds, [at] * len(seeds), "o", color="white", markeredgecolor="black", markersize=5)
        axes.text(max(100 * share.high, max(seeds)) + 1.5, at, f"{middle:.1f}", va="center")
    axes.set_yticks(range(len(shares)), list(shares))
    axes.invert_yaxis()
    axes.set(xlim=(0, 116), xticks=range(0, 101, 20))
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def _some(share: PooledAccuracy | None) -> PooledAccuracy:
    if share is None:
        raise StudyError("a policy of the table was not played")
    return share
