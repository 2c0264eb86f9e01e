"""The table and the training curves as one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from medvistagym_core.scoring import new_figure, save_figure
from medvistagym_core.trajectories import OVERALL, Results
from medvistagym_trl._figures import smooth

_SHORT_NAME: Final = 18
"""Characters of a name of which four fit into a row of a legend."""
_MOST_LEVEL: Final = 5
"""Most policies whose names fit beside each other."""


def plot_results(results: Results, metrics: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw a run: accuracy of every policy and decoding, and what reinforcement learning, if any, changed step by step.

    Args:
        results: The table.
        metrics: Lines of `metrics.jsonl`.
        path: File to write, `.png` or `.svg`.
    """
    steps = {int(line["step"]): line for line in metrics if line.get("phase") == "grpo" and "step" in line}
    lines = 2 if steps else 1
    figure = new_figure(12, 3.75 * lines)
    axes = figure.subplots(lines, 2, squeeze=False)
    _bars(axes[0][0], results)
    _families(axes[0][1], results)
    if steps:
        _curves(axes[1][0], steps, "accuracy", "Accuracy while learning (GRPO, sampled)")
        _curves(axes[1][1], steps, "calls", "Calls a question while learning (GRPO)")
    save_figure(figure, path, dpi=110)


def _bars(axes: Any, results: Results) -> None:
    whole = [row for row in results.rows if row.family == OVERALL]
    policies = list(dict.fromkeys(row.policy for row in whole))
    decodings = list(dict.fromkeys(row.decoding for row in whole))
    width = 0.8 / max(1, len(decodings))
    for place, decoding in enumerate(decodings):
        rows = [
            next((row for row in whole if (row.policy, row.decoding) == (policy, decoding)), None)
            for policy in policies
        ]
        bars = [(at + place * width, row) for at, row in enumerate(rows) if row is not None]
        heights = [row.accuracy for _, row in bars]
        errors = [[row.accuracy - row.low for _, row in bars], [row.high - row.accuracy for _, row in bars]]
        axes.bar([at for at, _ in bars], heights, width, yerr=errors, capsize=3, label=decoding)
    many = len(policies) > _MOST_LEVEL
    axes.set_xticks(
        [at + width * (len(decodings) - 1) / 2 for at in range(len(policies))],
        [policy.replace(", without", ",\nwithout") for policy in policies],
        **({"rotation": 30, "ha": "right", "fontsize": 8} if many else {}),
    )
    axes.set(title=f"{results.task}, {results.split} split, 95 % intervals")
    _scale_accuracy(axes, decodings)


def _families(axes: Any, results: Results) -> None:
    first = results.rows[0].decoding if results.rows else ""
    rows = [row for row in results.rows if row.decoding == first and row.family != OVERALL]
    policies = list(dict.fromkeys(row.policy for row in rows))
    families = list(dict.fromkeys(row.family for row in rows))
    width = 0.8 / max(1, len(policies))
    for place, policy in enumerate(policies):
        mine = [
            next((row for row in rows if (row.policy, row.family) == (policy, family)), None) for family in families
        ]
        bars = [(at + place * width, row.accuracy) for at, row in enumerate(mine) if row is not None]
        axes.bar([at for at, _ in bars], [accuracy for _, accuracy in bars], width, label=policy)
    axes.set_xticks([at + width * (len(policies) - 1) / 2 for at in range(len(families))], families)
    axes.set(title=f"by family, {first}")
    _scale_accuracy(axes, policies)


def _scale_accuracy(axes: Any, names: Sequence[str]) -> None:
    """Accuracy from 0 to 1, with the legend of some names in rows above the highest bar."""
    columns = min(max(1, len(names)), 4 if max(map(len, names), default=0) <= _SHORT_NAME else 2)
    rows = -(-len(names) // columns)
    axes.set(ylim=(0, 1.04 + 0.1 * rows), yticks=[0, 0.2, 0.4, 0.6, 0.8, 1], ylabel="accuracy")
    if names:
        axes.legend(fontsize=8, ncols=columns, loc="upper left")


def _curves(axes: Any, steps: Mapping[int, Mapping[str, Any]], what: str, title: str) -> None:
    names = sorted({key for line in steps.values() for key in line if key.endswith(f"/{what}")})
    for name in names:
        order = [step for step in sorted(steps) if name in steps[step]]  # a step may have no question of a family
        axes.plot(order, smooth([float(steps[step][name]) for step in order]), label=name.removesuffix(f"/{what}"))
    axes.set(xlabel="step", ylabel=what, title=title)
    if names:
        axes.legend(fontsize=8)
