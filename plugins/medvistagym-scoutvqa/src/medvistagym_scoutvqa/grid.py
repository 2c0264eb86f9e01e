"""The argument grid: the round numbers that demonstrations use.

The tools take any number, and whether a call is informative is judged by what it shows; the grid only helps a small policy.
"""

from __future__ import annotations

from typing import Final

from medvistagym_core.imaging import BOX_GRID_SIZE, Box
from medvistagym_scoutvqa.studies import SIDE

STEP: Final = 125
"""Distance of box corners on the grid, in thousandths of the image."""
ZOOM: Final = 250
"""Side of a demonstrated zoom box, in thousandths: 64 canvas pixels."""
MEASURE: Final = 125
"""Side of a demonstrated measure box, in thousandths: 32 canvas pixels."""
CENTERS: Final = (-700, -300, 40, 300, 700, 1200)
"""Window centres in HU."""
WIDTHS: Final = (20, 40, 400, 1500)
"""Window widths in HU."""
NARROW: Final = (20, 40)
"""The widths that show a contrast of 13 HU well."""

Place = tuple[float, float, float, float]
"""`(y0, x0, y1, x1)` in pixels of the canvas, pixel-edge coordinates."""


def pixels(box: Box, side: int = SIDE) -> Place:
    """Where a box lies on an image of `side` x `side` pixels."""
    return (
        box.y0 * side / BOX_GRID_SIZE,
        box.x0 * side / BOX_GRID_SIZE,
        box.y1 * side / BOX_GRID_SIZE,
        box.x1 * side / BOX_GRID_SIZE,
    )


def box(place: Place, side: int = SIDE) -> Box:
    """The box nearest to a place on an image of `side` x `side` pixels, cut at the image's edge; never empty."""
    y0, x0, y1, x1 = (min(BOX_GRID_SIZE, max(0, round(v * BOX_GRID_SIZE / side))) for v in place)
    return Box(min(x0, BOX_GRID_SIZE - 1), min(y0, BOX_GRID_SIZE - 1), max(x1, x0 + 1), max(y1, y0 + 1))


def nearest(place: Place, size: int) -> Box:
    """The box of `size` on the grid whose centre is nearest to the centre of `place`."""
    y0, x0, y1, x1 = place
    top, left = (_corner((a + b) / 2 * BOX_GRID_SIZE / SIDE - size / 2, size) for a, b in ((y0, y1), (x0, x1)))
    return Box(left, top, left + size, top + size)


def shifted(around: Box, right: int, down: int) -> Box:
    """A box moved by so many steps of the grid, kept within the image."""
    width, height = around.x1 - around.x0, around.y1 - around.y0
    left = min(BOX_GRID_SIZE - width, max(0, around.x0 + right * STEP))
    top = min(BOX_GRID_SIZE - height, max(0, around.y0 + down * STEP))
    return Box(left, top, left + width, top + height)


def overlap(one: Place, other: Place) -> Place | None:
    """What two places have in common; None when nothing."""
    y0, x0, y1, x1 = max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])
    return (y0, x0, y1, x1) if y0 < y1 and x0 < x1 else None


def area(place: Place) -> float:
    """Area in square pixels."""
    return (place[2] - place[0]) * (place[3] - place[1])


def _corner(value: float, size: int) -> int:
    return min(BOX_GRID_SIZE - size, max(0, round(value / STEP) * STEP))
