"""The tools `distance` and `area`: lengths and outlines drawn on an image, in millimetres."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from medvistagym_core.imaging import BOX_GRID_SIZE, Box, Image
from medvistagym_core.tools import tool
from medvistagym_dicom.region import (
    at_detector,
    luma,
    physical_unit,
    source_of,
    statistics,
    statistics_in_words,
    unit_in_words,
)

if TYPE_CHECKING:
    import numpy as np

Point = Annotated[list[Annotated[int, Field(ge=0, le=BOX_GRID_SIZE)]], Field(min_length=2, max_length=2)]
Outline = Annotated[list[Point], Field(min_length=3, max_length=64)]
Place = tuple[float, float]


@tool
def distance(image: Image, from_point: Point, to_point: Point) -> tuple[str, dict[str, Any]]:
    """Measure the distance between two points of an image in mm, and the angle of the line.

    Use it for diameters, widths and gaps, one line for each. What a part consists of is for measure or area.

    Args:
        image: The image to measure in; of a stack, the slice that it shows.
        from_point: [x, y] on a grid from 0 to 1000 over this image.
        to_point: [x, y] of the other end.
    """
    if from_point == to_point:
        raise ValueError(f"from_point and to_point are both {from_point}; give two different points")
    source = source_of(image)
    (x0, y0), (x1, y1) = _places(source, [from_point, to_point])
    pixels = math.hypot(x1 - x0, y1 - y0)
    data: dict[str, Any] = {"distance_mm": None, "distance_px": pixels, "angle_deg": None}
    if source.spacing is None:
        data["angle_deg"] = _angle(x1 - x0, y1 - y0)
        return f"{pixels:.1f} pixels (no size in mm known), {data['angle_deg']:.0f} degrees to the rows", data
    across, down = (x1 - x0) * source.spacing[-1], (y1 - y0) * source.spacing[-2]
    data["distance_mm"], data["angle_deg"] = math.hypot(across, down), _angle(across, down)
    step = max(source.spacing[-2:])
    text = f"{data['distance_mm']:.1f} mm{at_detector(source)}, {data['angle_deg']:.0f} degrees to the rows"
    return f"{text}; a pixel is {step:.2g} mm", data


@tool
def area(image: Image, points: Outline | None = None, ellipse: Box | None = None) -> tuple[str, dict[str, Any]]:
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
    source = source_of(image)
    down, across = (1.0, 1.0) if source.spacing is None else source.spacing[-2:]
    if ellipse is not None:
        (x0, y0), (x1, y1) = _places(source, [[ellipse.x0, ellipse.y0], [ellipse.x1, ellipse.y1]])
        a, b = (x1 - x0) / 2, (y1 - y0) / 2
        inside, corner = _in_ellipse(source.shape, ((x0 + x1) / 2, (y0 + y1) / 2), (a, b))
        size, round_ = math.pi * a * across * b * down, _perimeter(a * across, b * down)
    else:
        assert points is not None
        places = _places(source, points)
        if _crosses(places):
            raise ValueError(
                "the polygon crosses itself or touches a corner twice; give its corners in order, each once"
            )
        inside, corner = _in_polygon(source.shape, places)
        physical = [(x * across, y * down) for x, y in places]
        size, round_ = _shoelace(physical), sum(itertools.starmap(math.dist, _edges(physical)))
    if size < 1e-9 * across * down:
        raise ValueError("the polygon has no area: all its corners lie on a line")
    known = source.spacing is not None
    data: dict[str, Any] = {
        "area_mm2": size if known else None,
        "perimeter_mm": round_ if known else None,
        "area_px": size / (across * down),
        "pixels": int(inside.sum()),
        "unit": physical_unit(source),
    }
    if known:
        text = f"area {size:.1f} mm2{at_detector(source)}, perimeter {round_:.1f} mm"
    else:
        text = f"area {size:.1f} pixels (no size in mm known)"
    if not data["pixels"]:
        return f"{text}; no pixel has its centre inside, so no values", data
    (top, left), (h, w) = corner, inside.shape
    values = source.pixels[top : top + h, left : left + w][inside]
    data |= statistics(luma(values) if source.photometric == "RGB" else values, "outline")
    text += f"; {statistics_in_words(source, data)}"
    text += "" if data["unit"] else f"; the values are {unit_in_words(source)}"
    return text + (f"; {data['ignored']} pixels without a value left out" if data["ignored"] else ""), data


def _places(image: Image, points: list[list[int]]) -> list[Place]:
    """Points of the grid in pixels of the image, counted from its corner."""
    h, w = image.shape
    return [(x * w / BOX_GRID_SIZE, y * h / BOX_GRID_SIZE) for x, y in points]


def _angle(across: float, down: float) -> float:
    """Between a line and the rows: 0 to 180 degrees, turning to the top from the right."""
    return (math.degrees(math.atan2(-down, across)) + 360) % 180


def _edges(places: list[Place]) -> list[tuple[Place, Place]]:
    return list(zip(places, [*places[1:], places[0]], strict=True))


def _shoelace(places: list[Place]) -> float:
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in _edges(places))) / 2


def _perimeter(a: float, b: float) -> float:
    """Of an ellipse, by Ramanujan's second formula (Quart. J. Math. 45, 1914); within 0.05 %."""
    h = ((a - b) / (a + b)) ** 2
    return math.pi * (a + b) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h)))


def _crosses(places: list[Place]) -> bool:
    """Whether two edges that are no neighbours meet, or two corners are the same."""
    if len(set(places)) < len(places):
        return True
    edges = _edges(places)
    n = len(edges)

    def side(a: Place, b: Place, c: Place) -> float:
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    for i, (a, b) in enumerate(edges):
        for j in range(i + 2, n - (i == 0)):
            c, d = edges[j]
            if side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0:
                return True
    return False


def _in_polygon(shape: tuple[int, int], places: list[Place]) -> tuple[np.ndarray, tuple[int, int]]:
    """Pixels whose centre lies inside, as booleans over the least rectangle that holds them, and its `(top, left)`."""
    import numpy as np

    (h, w), xs, ys = shape, [x for x, _ in places], [y for _, y in places]
    left, top = min(w - 1, math.floor(min(xs))), min(h - 1, math.floor(min(ys)))
    width, height = max(1, min(w, math.ceil(max(xs))) - left), max(1, min(h, math.ceil(max(ys))) - top)
    # Each edge turns inside to outside, and back, at the first centre to its right.
    turns = np.zeros((height, width + 1), np.uint8)
    for (x0, y0), (x1, y1) in _edges(places):
        if y0 == y1:
            continue
        (xa, ya), (xb, yb) = ((x0, y0), (x1, y1)) if y0 < y1 else ((x1, y1), (x0, y0))
        rows = np.arange(max(0, math.ceil(ya - top - 0.5)), min(height, math.ceil(yb - top - 0.5)))
        x = xa + (rows + top + 0.5 - ya) * (xb - xa) / (yb - ya)
        turns[rows, np.clip(np.ceil(x - left - 0.5), 0, width).astype(np.intp)] ^= 1
    inside: np.ndarray = np.bitwise_xor.accumulate(turns, 1)[:, :-1].astype(bool)
    return inside, (top, left)


def _in_ellipse(shape: tuple[int, int], centre: Place, radii: Place) -> tuple[np.ndarray, tuple[int, int]]:
    import numpy as np

    (h, w), (x, y), (a, b) = shape, centre, radii
    left, top = min(w - 1, math.floor(x - a)), min(h - 1, math.floor(y - b))
    width, height = max(1, min(w, math.ceil(x + a)) - left), max(1, min(h, math.ceil(y + b)) - top)
    across = (np.arange(width) + left + 0.5 - x) / a
    down = (np.arange(height) + top + 0.5 - y) / b
    inside: np.ndarray = across**2 + down[:, None] ** 2 <= 1
    return inside, (top, left)
