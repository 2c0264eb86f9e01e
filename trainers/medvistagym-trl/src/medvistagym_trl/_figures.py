"""What every figure of a training needs: an empty one, curves made smooth, and a file that is whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def new_figure(size: tuple[float, float]) -> Any:
    """An empty figure of matplotlib, drawn without a display.

    Args:
        size: Width and height, inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: Path, dpi: int) -> None:
    """Write a figure as PNG, in a file beside it first: `path` is whole, or as it was.

    Raises:
        OSError: It cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        figure.savefig(part, format="png", dpi=dpi)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def smooth(values: Sequence[float], window: int = 5) -> list[float]:
    """The mean of each value and those before it, `window` of them at most."""
    parts = [values[max(0, end - window) : end] for end in range(1, len(values) + 1)]
    return [sum(part) / len(part) for part in parts]
