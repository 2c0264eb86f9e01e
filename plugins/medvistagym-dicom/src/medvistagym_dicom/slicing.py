"""Pixels of a plane or slab of a volume, as an image that no view distorts."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Final

from medvistagym_core.imaging import IDENTITY, Affine, Image, Window
from medvistagym_dicom.planes import VIEWS, Plane
from medvistagym_dicom.volume import Cut, Vector, Volume

if TYPE_CHECKING:
    import numpy as np

LONGEST: Final = 1024


def arranged(flat: np.ndarray, cut: Cut) -> np.ndarray:
    """What remains of an array without the axis counted along, as rows and columns of the view."""
    import numpy as np

    if cut.transposed:
        flat = np.swapaxes(flat, 0, 1)
    return flat[:: -1 if cut.flips[0] else 1, :: -1 if cut.flips[1] else 1]


def as_view(volume: Volume, cut: Cut, flat: np.ndarray, told: dict[str, str]) -> Image:
    """The rows and columns of a view as an image with square pixels."""
    import numpy as np

    source = volume.image
    pixels, steps = arranged(flat, cut), cut.steps
    if cut.uneven is not None:
        places, axis = cut.uneven
        step = max(float(np.median(np.diff(places))), places[-1] / 4 / LONGEST)
        pixels = _evened(pixels, np.array(places), step, axis, nearest=_is_mask(source))
        steps = (step, steps[1]) if axis == 0 else (steps[0], step)
    view = plain(source, np.ascontiguousarray(pixels), steps, told)
    if cut.along == 0:
        return squared(
            view.replace(to_source=_composed(source.to_source, cut, source.shape), source_shape=source.source_shape)
        )
    view = squared(view)
    return view.replace(to_source=IDENTITY, source_shape=view.shape)


def plain(source: Image, pixels: np.ndarray, steps: tuple[float, float], told: dict[str, str]) -> Image:
    """A single slice with the facts of a stack that are still true of it, and what is told of it."""
    import numpy as np

    gone = ("direction", "position_mm", "slice_offsets_mm", "slices", "slice_spacing", "frame")
    facts = {key: value for key, value in source.attributes.items() if key not in gone}
    window = source.window
    if window is None and source.pixels.dtype == np.uint8 and pixels.dtype != np.uint8:
        window = Window(127.5, 255, "linear_exact")  # greys stay as they are when they become fractions
    return source.replace(
        pixels=pixels, spacing=steps, window=window, overlay=None, to_source=IDENTITY, source_shape=pixels.shape[:2],
        detail=None, frame=None, attributes={**facts, **told},
    )  # fmt: skip


def squared(image: Image) -> Image:
    """The image with square pixels of its finer spacing, so that nothing looks longer than it is; `LONGEST` a side or its own.

    What is between the pixels is interpolated: masks take the nearest value.
    """
    import numpy as np

    assert image.spacing is not None
    (h, w), (down, across) = image.shape, image.spacing
    if math.isclose(down, across, rel_tol=0.01):
        return image
    step = max(min(down, across), h * down / max(LONGEST, h, w), w * across / max(LONGEST, h, w))
    height, width = max(1, round(h * down / step)), max(1, round(w * across / step))
    if _is_mask(image):
        rows, columns = np.arange(height) * h // height, np.arange(width) * w // width
        a, b, c, d, e, f = image.to_source
        p, q = w / width, h / height
        return image.replace(
            pixels=image.pixels[rows[:, None], columns],
            spacing=(down * q, across * p),
            to_source=(a * p, b * q, c, d * p, e * q, f),
        )
    window = image.window
    if window is None and image.pixels.dtype == np.uint8:
        window = Window(127.5, 255, "linear_exact")
    return image.replace(window=window).resized(height, width).replace(detail=None)


def oblique(volume: Volume, plane: Plane, place: float, low: Vector, high: Vector) -> tuple[np.ndarray, float]:
    """A plane of the patient through a volume whose axes are not the patient's: values `(H, W)` and their spacing in mm.

    Values are interpolated trilinearly; outside the volume they are NaN, in masks 0.

    Args:
        volume: The volume.
        plane: Not "acquired".
        place: Where, along the axis it is counted along, in patient mm from the centre of the first voxel.
        low: Least corner of the volume in the same coordinates, as `corners` gives it.
        high: Greatest corner.
    """
    import numpy as np

    counted, down, across = VIEWS[plane]
    rows = max(down, ~down)
    step = min(volume.steps)
    step = max(step, (high[rows] - low[rows]) / LONGEST, (high[across] - low[across]) / LONGEST)
    height, width = (max(1, math.floor((high[k] - low[k]) / step)) for k in (rows, across))
    points = np.empty((height, width, 3))
    points[..., counted] = place
    y = low[rows] + (np.arange(height) + 0.5) * step
    points[..., rows] = (y[::-1] if down < 0 else y)[:, None]
    points[..., across] = low[across] + (np.arange(width) + 0.5) * step
    directions = np.array(volume.units).T * np.array(volume.steps)
    index = points @ np.linalg.inv(directions).T
    if not volume.even:
        lean = math.cos(math.radians(volume.sheared))
        index[..., 0] = np.interp(
            index[..., 0] * volume.steps[0] * lean,
            volume.places,
            np.arange(len(volume.places)),
            -9,
            len(volume.places) + 9,
        )
    return _sampled(volume.image, index), step


def _sampled(image: Image, index: np.ndarray) -> np.ndarray:
    """Values at fractional indices `(H, W, 3)` of a stack, row by row to bound the memory."""
    import numpy as np

    pixels, mask = image.pixels, _is_mask(image)
    shape = np.array(pixels.shape[:3])
    out = np.zeros((*index.shape[:2], *pixels.shape[3:]), pixels.dtype if mask else np.float32)
    for k, row in enumerate(index):
        inside = ((row >= -0.5) & (row <= shape - 0.5)).all(-1)
        row = np.clip(row, 0, shape - 1)
        if mask:
            near = np.rint(row).astype(np.intp)
            out[k][inside] = pixels[near[:, 0], near[:, 1], near[:, 2]][inside]
            continue
        below = np.minimum(row.astype(np.intp), np.maximum(shape - 2, 0))
        above = np.minimum(below + 1, shape - 1)
        part = (row - below).astype(np.float32)
        total = np.zeros((len(row), *pixels.shape[3:]), np.float32)
        for corner in itertools.product((0, 1), repeat=3):
            at = [above[:, a] if far else below[:, a] for a, far in enumerate(corner)]
            weight = np.prod([part[:, a] if far else 1 - part[:, a] for a, far in enumerate(corner)], 0)
            with np.errstate(over="ignore"):
                values = pixels[at[0], at[1], at[2]].astype(np.float32)
            total += np.where(_like(weight, values) > 0, values, 0) * _like(weight, values)
        total[~inside] = np.nan
        out[k] = total
    return out


def _like(weight: np.ndarray, values: np.ndarray) -> np.ndarray:
    grown: np.ndarray = weight[:, None] if values.ndim == 2 else weight
    return grown


def _evened(pixels: np.ndarray, places: np.ndarray, step: float, axis: int, *, nearest: bool) -> np.ndarray:
    """Rows (or columns) at uneven places, interpolated to even ones `step` apart."""
    import numpy as np

    wanted = np.arange(0, places[-1] + step / 2, step)
    index = np.interp(wanted, places, np.arange(len(places)))
    if nearest:
        near: np.ndarray = np.take(pixels, np.rint(index).astype(np.intp), axis)
        return near
    below = np.minimum(index.astype(np.intp), len(places) - 1)
    above = np.minimum(below + 1, len(places) - 1)
    part = (index - below).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(pixels.ndim)])
    first, second = (np.take(pixels, k, axis).astype(np.float32) for k in (below, above))
    blended: np.ndarray = np.where(part > 0, first * (1 - part) + second * part, first)
    return blended


def _is_mask(image: Image) -> bool:
    return image.unit in ("mask", "label") or image.pixels.dtype.kind == "b"


def _composed(affine: Affine, cut: Cut, shape: tuple[int, int]) -> Affine:
    """The way to the source of an image whose rows and columns were arranged by `cut`; `shape` is that before."""
    a, b, c, d, e, f = affine
    height, width = shape[::-1] if cut.transposed else shape
    # view (x, y) -> arranged without flips
    p, r = (-1.0, float(width)) if cut.flips[1] else (1.0, 0.0)
    t, u = (-1.0, float(height)) if cut.flips[0] else (1.0, 0.0)
    if cut.transposed:  # array x is the view's y
        return (b * p, a * t, c + b * r + a * u, e * p, d * t, f + e * r + d * u)
    return (a * p, b * t, c + a * r + b * u, d * p, e * t, f + d * r + e * u)
