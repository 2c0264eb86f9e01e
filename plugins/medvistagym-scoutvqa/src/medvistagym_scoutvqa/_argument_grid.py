"""The argument grid: the round numbers that demonstrations use, and rectangles of the canvas as boxes.

The tools take any number, and whether a call is informative is judged by what it shows; the grid only helps a small policy.
"""

from __future__ import annotations

from typing import Final

from medvistagym_core.imaging import BOX_GRID_SIZE, Box
from medvistagym_scoutvqa._studies import CANVAS_SIDE

GRID_STEP: Final = 125
"""Distance of box corners on the grid, in thousandths of the image."""
ZOOM_SIZE: Final = 250
"""Side of a demonstrated zoom box, in thousandths: 64 canvas pixels."""
MEASURE_SIZE: Final = 125
"""Side of a demonstrated measure box, in thousandths: 32 canvas pixels."""
CENTERS_HU: Final = (-700, -300, 40, 300, 700, 1200)
"""Window centres."""
WIDTHS_HU: Final = (20, 40, 400, 1500)
"""Window widths."""
NARROW_WIDTHS_HU: Final = (20, 40)
"""The widths that show a contrast of 13 HU well."""

CanvasBox = tuple[float, float, float, float]
"""`(y0, x0, y1, x1)` in pixels of the canvas, pixel-edge coordinates."""


def to_canvas(box: Box, side: int = CANVAS_SIDE) -> CanvasBox:
    """Where a box lies on an image of `side` x `side` pixels."""
    grid = BOX_GRID_SIZE
    return box.y0 * side / grid, box.x0 * side / grid, box.y1 * side / grid, box.x1 * side / grid


def to_box(rectangle: CanvasBox, side: int = CANVAS_SIDE) -> Box:
    """The box nearest to a rectangle of an image of `side` x `side` pixels, cut at the image's edge; never empty."""
    y0, x0, y1, x1 = (min(BOX_GRID_SIZE, max(0, round(v * BOX_GRID_SIZE / side))) for v in rectangle)
    return Box(min(x0, BOX_GRID_SIZE - 1), min(y0, BOX_GRID_SIZE - 1), max(x1, x0 + 1), max(y1, y0 + 1))


def nearest_box(rectangle: CanvasBox, size: int) -> Box:
    """The box of `size` on the grid whose centre is nearest to the centre of a rectangle."""
    y0, x0, y1, x1 = rectangle
    top, left = (
        _round_corner((a + b) / 2 * BOX_GRID_SIZE / CANVAS_SIDE - size / 2, size) for a, b in ((y0, y1), (x0, x1))
    )
    return Box(left, top, left + size, top + size)


def shift_box(box: Box, right: int, down: int) -> Box:
    """A box moved by so many steps of the grid, kept within the image."""
    width, height = box.x1 - box.x0, box.y1 - box.y0
    left = min(BOX_GRID_SIZE - width, max(0, box.x0 + right * GRID_STEP))
    top = min(BOX_GRID_SIZE - height, max(0, box.y0 + down * GRID_STEP))
    return Box(left, top, left + width, top + height)


def intersect(one: CanvasBox, other: CanvasBox) -> CanvasBox | None:
    """What two rectangles have in common; None when nothing."""
    y0, x0, y1, x1 = max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])
    return (y0, x0, y1, x1) if y0 < y1 and x0 < x1 else None


def area(rectangle: CanvasBox) -> float:
    """Area in square pixels."""
    return (rectangle[2] - rectangle[0]) * (rectangle[3] - rectangle[1])


def _round_corner(value: float, size: int) -> int:
    return min(BOX_GRID_SIZE - size, max(0, round(value / GRID_STEP) * GRID_STEP))
