"""The tool `area`: area, perimeter and statistics of a polygon or an ellipse drawn on an image."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from medvistagym_core.imaging import Box, Image
from medvistagym_core.tools import tool
from medvistagym_dicom.tools._grid_points import PixelPoint, Point, grid_to_pixels
from medvistagym_dicom.tools._roi import (
    format_left_out,
    format_statistics,
    format_unit,
    full_resolution,
    physical_unit,
    roi_statistics,
)
from medvistagym_dicom.tools._scale import scale_at

if TYPE_CHECKING:
    import numpy as np

Polygon = Annotated[list[Point], Field(min_length=3, max_length=64)]


@tool
def area(image: Image, points: Polygon | None = None, ellipse: Box | None = None) -> tuple[str, dict[str, Any]]:
    """Measure an outline: its area in mm2, its perimeter in mm, and the mean, SD, least and greatest value inside.

    Use it for a structure that no box fits. Give the corners of a polygon, or the box around an ellipse. For a box use measure.

    Args:
        image: The image to measure in; of a stack, the slice that it shows.
        points: Corners of the polygon in order, each [x, y] on a grid from 0 to 1000 over this image.
        ellipse: Box around the ellipse, [left, top, right, bottom] on the same grid.
    """
    if (points is None) == (ellipse is None):
        raise ValueError(
            "give the points of a polygon, or the box around an ellipse" + (", not both" if points else "")
        )
    source = full_resolution(image)
    if ellipse is not None:
        (x0, y0), (x1, y1) = grid_to_pixels(source, [[ellipse.x0, ellipse.y0], [ellipse.x1, ellipse.y1]])
        scale = scale_at(source, [(x0, y0), (x1, y1)])
        a, b = (x1 - x0) / 2, (y1 - y0) / 2
        inside, corner = _ellipse_mask(source.shape, ((x0 + x1) / 2, (y0 + y1) / 2), (a, b))
        size = math.pi * a * scale.across * b * scale.down
        perimeter = _ellipse_perimeter(a * scale.across, b * scale.down)
    else:
        assert points is not None
        vertices = grid_to_pixels(source, points)
        if _self_intersects(vertices):
            raise ValueError(
                "the polygon crosses itself or touches a corner twice; give its corners in order, each once"
            )
        scale = scale_at(source, vertices)
        inside, corner = _polygon_mask(source.shape, vertices)
        scaled = [(x * scale.across, y * scale.down) for x, y in vertices]
        size, perimeter = _shoelace_area(scaled), sum(itertools.starmap(math.dist, _edges(scaled)))
    pixel_area = scale.across * scale.down
    if size < 1e-9 * pixel_area:
        raise ValueError("the polygon has no area: all its corners lie on a line")
    is_mm = scale.unit == "mm"
    data: dict[str, Any] = {
        "area_mm2": size if is_mm else None,
        "perimeter_mm": perimeter if is_mm else None,
        "area_px": size / pixel_area,
        "pixels": int(inside.sum()),
        "unit": physical_unit(source),
    }
    if is_mm:
        text = f"area {size:.{2 * scale.decimals - 1}f} mm2{scale.note}, perimeter {perimeter:.{scale.decimals}f} mm"
    else:
        text = f"area {data['area_px']:.1f} pixels{scale.note}"
    if not data["pixels"]:
        return f"{text}; no pixel has its centre inside, so no values", data
    (top, left), (h, w) = corner, inside.shape
    data |= roi_statistics(source.pixels[top : top + h, left : left + w][inside], "outline", source)
    text += f"; {format_statistics(source, data)}"
    text += "" if data["unit"] else f"; the values are {format_unit(source)}"
    return text + format_left_out(data), data


def _edges(vertices: list[PixelPoint]) -> list[tuple[PixelPoint, PixelPoint]]:
    return list(zip(vertices, [*vertices[1:], vertices[0]], strict=True))


def _shoelace_area(vertices: list[PixelPoint]) -> float:
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in _edges(vertices))) / 2


def _ellipse_perimeter(a: float, b: float) -> float:
    """Of an ellipse, by Ramanujan's second formula (Quart. J. Math. 45, 1914); within 0.05 %."""
    h = ((a - b) / (a + b)) ** 2
    return math.pi * (a + b) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h)))


def _self_intersects(vertices: list[PixelPoint]) -> bool:
    """Whether two edges that are no neighbours meet, or two corners are the same."""
    if len(set(vertices)) < len(vertices):
        return True
    edges = _edges(vertices)
    n = len(edges)

    def turn_of(a: PixelPoint, b: PixelPoint, c: PixelPoint) -> float:
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    for i, (a, b) in enumerate(edges):
        for j in range(i + 2, n - (i == 0)):
            c, d = edges[j]
            if turn_of(a, b, c) * turn_of(a, b, d) < 0 and turn_of(c, d, a) * turn_of(c, d, b) < 0:
                return True
    return False


def _polygon_mask(shape: tuple[int, int], vertices: list[PixelPoint]) -> tuple[np.ndarray, tuple[int, int]]:
    """Pixels whose centre lies inside, as booleans over the least rectangle that holds them, and its `(top, left)`."""
    import numpy as np

    (h, w), xs, ys = shape, [x for x, _ in vertices], [y for _, y in vertices]
    left, top = min(w - 1, math.floor(min(xs))), min(h - 1, math.floor(min(ys)))
    width, height = max(1, min(w, math.ceil(max(xs))) - left), max(1, min(h, math.ceil(max(ys))) - top)
    # Even-odd rule: each edge toggles inside and outside at the first pixel centre to its right.
    toggles = np.zeros((height, width + 1), np.uint8)
    for (x0, y0), (x1, y1) in _edges(vertices):
        if y0 == y1:
            continue
        (xa, ya), (xb, yb) = ((x0, y0), (x1, y1)) if y0 < y1 else ((x1, y1), (x0, y0))
        rows = np.arange(max(0, math.ceil(ya - top - 0.5)), min(height, math.ceil(yb - top - 0.5)))
        x = xa + (rows + top + 0.5 - ya) * (xb - xa) / (yb - ya)
        toggles[rows, np.clip(np.ceil(x - left - 0.5), 0, width).astype(np.intp)] ^= 1
    inside: np.ndarray = np.bitwise_xor.accumulate(toggles, 1)[:, :-1].astype(bool)
    return inside, (top, left)


def _ellipse_mask(shape: tuple[int, int], centre: PixelPoint, radii: PixelPoint) -> tuple[np.ndarray, tuple[int, int]]:
    """Pixels whose centre lies inside, as booleans over the least rectangle that holds them, and its `(top, left)`."""
    import numpy as np

    (h, w), (x, y), (a, b) = shape, centre, radii
    left, top = min(w - 1, math.floor(x - a)), min(h - 1, math.floor(y - b))
    width, height = max(1, min(w, math.ceil(x + a)) - left), max(1, min(h, math.ceil(y + b)) - top)
    across = (np.arange(width) + left + 0.5 - x) / a
    down = (np.arange(height) + top + 0.5 - y) / b
    inside: np.ndarray = across**2 + down[:, None] ** 2 <= 1
    return inside, (top, left)
