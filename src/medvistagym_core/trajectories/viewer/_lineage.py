"""Where the calls of an episode looked: boxes, lines and outlines on the image they name, and by the lineage on its source.

Places are fractions of an image's width and height, so they fit its picture at any size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from medvistagym_core.imaging import BOX_GRID_SIZE, Affine
from medvistagym_core.trajectories import CallRecord, ImageRecord, Trajectory

POINT_RADIUS: Final = 8
EDGE_TOLERANCE: Final = 1e-3  # of a pixel, that coordinates lose on the way
MAX_POINTS: Final = 256
Point = tuple[float, float]
UNIT: tuple[Point, ...] = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


def source_handle(images: Sequence[ImageRecord], handle: int) -> int:
    """The image of the case that an image was made from, over any number of steps."""
    for _ in images:
        parent = images[handle].parent
        if parent is None or not 0 <= parent < len(images):
            break
        handle = parent
    return handle


def project_to_source(images: Sequence[ImageRecord], handle: int, points: Sequence[Point] = UNIT) -> list[Point] | None:
    """Points of an image as points of its root; None where no way leads there, as from another plane of a volume."""
    image, root = images[handle], images[source_handle(images, handle)]
    back = _inverse(root.to_source)
    if back is None or image.source_shape != root.source_shape:
        return None
    h, w = image.shape
    height, width = root.shape
    projected = []
    for x, y in points:
        u, v = _apply(back, _apply(image.to_source, (x * w, y * h)))
        projected.append((round(u / width, 5), round(v / height, 5)))
    return projected


def box_annotations(trajectory: Trajectory) -> list[dict[str, Any]]:
    """The boxes, lines and outlines of all calls, in order.

    Returns:
        Of each: `turn`, `call`, `tool`; `handle`, the image it lies on, and its corners `on` that image; `root` and the corners
        `at` the root, or None. A call that cut a part out without naming a box is marked by what it cut out.
    """
    images = trajectory.images
    annotations = []
    for t, turn in enumerate(trajectory.turns):
        for c, call in enumerate(turn.calls):
            handle = referenced_images(call, images, t, c)
            if handle is None:
                continue
            boxes = [
                [(x / BOX_GRID_SIZE, y / BOX_GRID_SIZE) for x, y in corners] for corners in _shapes(call.arguments)
            ]
            if not boxes:
                boxes = [
                    cut for result_handle in call.handles if (cut := _cut(images, handle, result_handle)) is not None
                ]
            annotations += [
                {
                    "turn": t,
                    "call": c,
                    "tool": call.name,
                    "handle": handle,
                    "on": on,
                    "root": source_handle(images, handle),
                    "at": project_to_source(images, handle, on),
                }
                for on in boxes
            ]
    return annotations


def referenced_images(call: CallRecord, images: Sequence[ImageRecord], turn: int, position: int) -> int | None:
    """The image that a call works on: the parent of what it made, else what its arguments name, else the only one."""
    there = [
        h for h, image in enumerate(images) if image.turn is None or (image.turn, image.call or 0) < (turn, position)
    ]
    for result_handle in call.handles:
        if result_handle < len(images) and images[result_handle].parent is not None:
            return images[result_handle].parent
    for name, value in call.arguments.items():
        if "image" in name:
            first = value[0] if isinstance(value, list) and value else value
            if isinstance(first, int) and not isinstance(first, bool):
                return first if first in there else None
    return there[0] if len(there) == 1 else None


def _shapes(arguments: dict[str, Any]) -> Iterator[list[Point]]:
    """The places that a call's arguments name: boxes `[x0, y0, x1, y1]`, and points `[x, y]`, joined in their order."""
    named = {name: value for name, value in arguments.items() if "point" in name}
    ends = [(value[0], value[1]) for value in named.values() if _is_point(value)]
    if len(ends) == 1:
        ((x, y),) = ends
        yield [(x - POINT_RADIUS, y), (x, y - POINT_RADIUS), (x + POINT_RADIUS, y), (x, y + POINT_RADIUS)]
    elif ends:
        yield ends
    for value in named.values():
        if isinstance(value, list) and len(value) > 1 and all(map(_is_point, value)):
            yield [(x, y) for x, y in value[:MAX_POINTS]]
    yield from _boxes({name: value for name, value in arguments.items() if name not in named})


def _is_point(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(n, int) and 0 <= n <= BOX_GRID_SIZE for n in value)
    )


def _boxes(value: Any, depth: int = 0) -> Iterator[list[Point]]:
    """The corners of every `[x0, y0, x1, y1]` among a call's arguments."""
    if isinstance(value, dict):
        for item in value.values():
            yield from _boxes(item, depth + 1)
    elif isinstance(value, list):
        if len(value) == 4 and all(isinstance(n, int) and 0 <= n <= BOX_GRID_SIZE for n in value):
            x0, y0, x1, y1 = value
            if x0 < x1 and y0 < y1:
                yield [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        elif depth < 3:
            for item in value[:64]:
                yield from _boxes(item, depth + 1)


def _cut(images: Sequence[ImageRecord], handle: int, result_handle: int) -> list[Point] | None:
    """What image `made` shows of image `handle`, a tilted rectangle where it was turned; None when that is all of it."""
    if result_handle >= len(images):
        return None
    image, parent = images[result_handle], images[handle]
    back = _inverse(parent.to_source)
    if back is None or (image.to_source == parent.to_source and image.shape == parent.shape):
        return None
    if image.source_shape != parent.source_shape:  # another plane of a volume is no part of this one
        return None
    (h, w), (height, width) = image.shape, parent.shape
    forth = _inverse(image.to_source)
    if forth is not None:
        whole = [_apply(forth, _apply(parent.to_source, (x * width, y * height))) for x, y in UNIT]
        if all(
            -EDGE_TOLERANCE <= x <= w + EDGE_TOLERANCE and -EDGE_TOLERANCE <= y <= h + EDGE_TOLERANCE for x, y in whole
        ):
            return None
    corners = [_apply(back, _apply(image.to_source, (x * w, y * h))) for x, y in UNIT]
    return [(round(x / width, 5), round(y / height, 5)) for x, y in corners]


def _apply(affine: Affine, point: Point) -> Point:
    a, b, c, d, e, f = affine
    x, y = point
    return a * x + b * y + c, d * x + e * y + f


def _inverse(affine: Affine) -> Affine | None:
    a, b, c, d, e, f = affine
    det = a * e - b * d
    if det == 0:
        return None
    return e / det, -b / det, (b * f - c * e) / det, -d / det, a / det, (c * d - a * f) / det
