"""Figures of matplotlib, which is loaded only here, and only when a picture is asked for: made, and saved whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from medvistagym_core.storage import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOT_FORMATS: Final = (".svg", ".png")
"""Endings of the files that figures are saved as."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, drawn without a screen.

    Args:
        width: In inches.
        height: In inches.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError("a plot needs matplotlib: pip install 'medvistagym-core[plots]'") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path, dpi: int) -> None:
    """Write a figure as its file's ending says; the file is whole, or as it was.

    Args:
        figure: The figure.
        path: The file; its ending names a format that matplotlib writes.
        dpi: Pixels an inch.

    Raises:
        OSError: It cannot be written.
    """
    with write_atomically(path) as part:
        figure.savefig(part, format=path.suffix[1:].lower(), dpi=dpi)
