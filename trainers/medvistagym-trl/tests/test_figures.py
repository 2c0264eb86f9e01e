"""Figures are written whole, and curves are means."""

from __future__ import annotations

from pathlib import Path

import pytest

from medvistagym_core.scoring import new_figure, save_figure
from medvistagym_trl._figures import smooth


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
