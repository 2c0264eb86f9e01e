"""Figures are written whole, and curves are means."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from medvistagym_core.scoring import new_figure, save_figure
from medvistagym_core.trajectories import ResultRow, Results
from medvistagym_trl._figures import smooth
from medvistagym_trl.run import plot_results
from medvistagym_trl.science import plot_tool_use


def test_a_figure_that_cannot_be_drawn_leaves_the_earlier_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "curve.png"
    figure = new_figure(2, 1)
    save_figure(figure, path, dpi=20)
    earlier = path.read_bytes()
    assert earlier.startswith(b"\x89PNG")
    figure.text(0.5, 0.5, "$\\frac{1}$")
    with pytest.raises(ValueError, match="frac"):
        save_figure(figure, path, dpi=20)
    assert path.read_bytes() == earlier
    assert list(tmp_path.iterdir()) == [path]


def test_a_curve_is_the_mean_of_the_last_values() -> None:
    assert smooth([1, 3, 5, 7], 2) == [1, 2, 4, 6]
    assert smooth([1, 3, 5]) == [1, 2, 3]
    assert smooth([]) == []


def curves(path: Path) -> list[list[float]]:
    """The heights of the points of each curve in an SVG, those in legends left out."""
    drawn = re.findall(r'<path d="(M[^"]*)" clip-path="[^"]*" style="fill: none; stroke: #(?!b0b0b0)', path.read_text())
    return [[float(line.split()[2]) for line in each.splitlines() if line.strip()] for each in drawn]


@pytest.fixture
def rare() -> list[dict[str, Any]]:
    """Steps of which every other one asks a family that is always answered right."""
    return [
        {"phase": "grpo", "step": step, "often/accuracy": step / 12, **({"rare/accuracy": 1.0} if step % 2 else {})}
        for step in range(1, 13)
    ]


def test_a_family_that_a_step_did_not_ask_is_drawn_where_it_was_asked(
    tmp_path: Path, rare: list[dict[str, Any]]
) -> None:
    rows = (ResultRow.from_counts("SFT", "overall", "greedy", n=10, correct=9, calls=7, abstained=0),)
    plot_results(Results(task="toy", split="test", seed=0, rows=rows), rare, tmp_path / "results.svg")
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rare))
    plot_tool_use(tmp_path, tmp_path / "tools.svg")
    for name in ("results.svg", "tools.svg"):
        often, seldom = (each for each in curves(tmp_path / name) if len(each) > 2)
        assert (len(often), len(seldom)) == (12, 6)
        assert len(set(seldom)) == 1


def test_a_run_without_reinforcement_learning_has_no_empty_curves(tmp_path: Path, rare: list[dict[str, Any]]) -> None:
    rows = (ResultRow.from_counts("SFT", "overall", "greedy", n=10, correct=9, calls=7, abstained=0),)
    results = Results(task="toy", split="test", seed=0, rows=rows)
    for name, metrics in (("without.svg", []), ("with.svg", rare)):
        plot_results(results, metrics, tmp_path / name)
    assert "while learning" in (tmp_path / "with.svg").read_text()
    assert "while learning" not in (tmp_path / "without.svg").read_text()
