"""Planes and slabs of a volume as images, resampled to square pixels."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Final

from medvistagym_core.imaging import IDENTITY, Affine, Image, Window
from medvistagym_dicom.reformatting._padding import (
    Padding,
    divide_by_weights,
    is_padding,
    padding_range,
    resize_around_padding,
)
from medvistagym_dicom.reformatting._planes import PLANE_AXES, AnatomicalPlane
from medvistagym_dicom.reformatting._volume import ReformatPlane, Vector, Volume

if TYPE_CHECKING:
    import numpy as np

MAX_SIDE_PX: Final = 1024
# Attributes of a stack that are not true of a plane resampled from it.
_STACK_ATTRIBUTES: Final = ("direction", "position_mm", "slice_offsets_mm", "slices", "slice_spacing", "frame")


def orient_array(pixels: np.ndarray, layout: ReformatPlane) -> np.ndarray:
    """Pixels of an array without the axis that slices are counted along, as rows and columns of the view."""
    import numpy as np

    if layout.is_transposed:
        pixels = np.swapaxes(pixels, 0, 1)
    return pixels[:: -1 if layout.flips[0] else 1, :: -1 if layout.flips[1] else 1]


def oriented_slice(volume: Volume, layout: ReformatPlane, pixels: np.ndarray, attributes: dict[str, str]) -> Image:
    """A slice or projection as an image with square pixels, seen as the view of its plane is.

    Args:
        volume: The volume.
        layout: How the plane lies in the volume's array.
        pixels: `(H, W)`, or `(H, W, 3)`: the array without the axis that slices are counted along.
        attributes: Added to those of the volume.
    """
    import numpy as np

    source = volume.image
    pixels, spacing = orient_array(pixels, layout), layout.spacing
    if layout.uneven is not None:
        positions, axis = layout.uneven
        step = max(float(np.median(np.diff(positions))), positions[-1] / 4 / MAX_SIDE_PX)
        nearest, padding = source.holds_labels, padding_range(source)
        pixels = _resample_even_spacing(pixels, np.array(positions), step, axis, nearest=nearest, padding=padding)
        spacing = (step, spacing[1]) if axis == 0 else (spacing[0], step)
    view = slice_image(source, np.ascontiguousarray(pixels), spacing, attributes)
    if layout.along == 0:
        to_source = _compose_affine(source.to_source, layout, source.shape)
        return resample_square_pixels(view.replace(to_source=to_source, source_shape=source.source_shape))
    view = resample_square_pixels(view)
    return view.replace(to_source=IDENTITY, source_shape=view.shape)


def slice_image(source: Image, pixels: np.ndarray, spacing: tuple[float, float], attributes: dict[str, str]) -> Image:
    """A single slice with those attributes of a stack that are still true of it, and its own.

    Args:
        source: The stack that the slice is of.
        pixels: Values of the slice, `(H, W)`, in the unit of `source`.
        spacing: Millimetres between its rows and between its columns.
        attributes: Its own attributes, which replace those of `source`.
    """
    import numpy as np

    kept = {key: value for key, value in source.attributes.items() if key not in _STACK_ATTRIBUTES}
    window = source.window
    if window is None and source.pixels.dtype == np.uint8 and pixels.dtype != np.uint8:
        window = Window(127.5, 255, "linear_exact")  # grey levels stay as they are when they become fractions
    return source.replace(
        pixels=pixels, spacing=spacing, window=window, overlay=None, to_source=IDENTITY, source_shape=pixels.shape[:2],
        detail=None, frame=None, attributes={**kept, **attributes},
    )  # fmt: skip


def resample_square_pixels(image: Image) -> Image:
    """The image with square pixels of its finer spacing, so that shapes keep their proportions.

    At most `MAX_SIDE_PX` a side, or the image's own if that is more. Values are interpolated, but not with padding; masks
    take the nearest value.
    """
    import numpy as np

    assert image.spacing is not None
    (h, w), (down, across) = image.shape, image.spacing
    if math.isclose(down, across, rel_tol=0.01):
        return image
    step = max(min(down, across), h * down / max(MAX_SIDE_PX, h, w), w * across / max(MAX_SIDE_PX, h, w))
    height, width = max(1, round(h * down / step)), max(1, round(w * across / step))
    if image.holds_labels:
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
    image = image.replace(window=window)
    resampled = resize_around_padding(image, height, width) or image.resized(height, width)
    return resampled.replace(detail=None)


def sample_oblique_plane(
    volume: Volume, plane: AnatomicalPlane, position_mm: float, low: Vector, high: Vector
) -> tuple[np.ndarray, float]:
    """A plane of the patient through a volume whose axes are not the patient's: values `(H, W)` and their spacing in mm.

    Values are interpolated trilinearly, but not with padding; outside the volume they are NaN, in masks 0.

    Args:
        volume: The volume.
        plane: Not "acquired".
        position_mm: Position along the axis that the plane is counted along, in patient mm from the centre of the first voxel.
        low: Least corner of the volume in the same coordinates, as `patient_extent` gives it.
        high: Greatest corner.
    """
    import numpy as np

    counted, down, across = PLANE_AXES[plane]
    rows = max(down, ~down)
    step = min(volume.spacing)
    step = max(step, (high[rows] - low[rows]) / MAX_SIDE_PX, (high[across] - low[across]) / MAX_SIDE_PX)
    height, width = (max(1, math.floor((high[k] - low[k]) / step)) for k in (rows, across))
    points = np.empty((height, width, 3))
    points[..., counted] = position_mm
    y = low[rows] + (np.arange(height) + 0.5) * step
    points[..., rows] = (y[::-1] if down < 0 else y)[:, None]
    points[..., across] = low[across] + (np.arange(width) + 0.5) * step
    directions = np.array(volume.direction_cosines).T * np.array(volume.spacing)
    index = points @ np.linalg.inv(directions).T
    if not volume.is_evenly_spaced:
        shear_cosine = math.cos(math.radians(volume.shear_deg))
        index[..., 0] = np.interp(
            index[..., 0] * volume.spacing[0] * shear_cosine,
            volume.slice_positions,
            np.arange(len(volume.slice_positions)),
            -9,
            len(volume.slice_positions) + 9,
        )
    return _interpolate(volume.image, index), step


def _interpolate(image: Image, index: np.ndarray) -> np.ndarray:
    """Values at fractional indices `(H, W, 3)` of a stack, row by row to bound the memory."""
    import numpy as np

    pixels, mask, padding = image.pixels, image.holds_labels, padding_range(image)
    shape = np.array(pixels.shape[:3])
    out = np.zeros((*index.shape[:2], *pixels.shape[3:]), pixels.dtype if mask else np.float32)
    for k, row in enumerate(index):
        inside = ((row >= -0.5) & (row <= shape - 0.5)).all(-1)
        row = np.clip(row, 0, shape - 1)
        if mask:
            nearest = np.rint(row).astype(np.intp)
            out[k][inside] = pixels[nearest[:, 0], nearest[:, 1], nearest[:, 2]][inside]
            continue
        below = np.minimum(row.astype(np.intp), np.maximum(shape - 2, 0))
        above = np.minimum(below + 1, shape - 1)
        fraction = (row - below).astype(np.float32)
        total, valid = np.zeros((len(row), *pixels.shape[3:]), np.float32), np.ones(len(row), np.float32)
        for corner in itertools.product((0, 1), repeat=3):
            at = [above[:, a] if far else below[:, a] for a, far in enumerate(corner)]
            weight = np.prod([fraction[:, a] if far else 1 - fraction[:, a] for a, far in enumerate(corner)], 0)
            corner_values = pixels[at[0], at[1], at[2]]
            if padding is not None:
                is_void = is_padding(corner_values, padding)
                valid, weight = valid - np.where(is_void, weight, 0).astype(np.float32), np.where(is_void, 0, weight)
            with np.errstate(over="ignore"):
                values = corner_values.astype(np.float32)
            weights = weight[:, None] if values.ndim == 2 else weight
            total += np.where(weights > 0, values, 0) * weights
        if padding is not None:
            total = divide_by_weights(total, valid, padding)
        total[~inside] = np.nan
        out[k] = total
    return out


def _resample_even_spacing(
    pixels: np.ndarray, positions: np.ndarray, step: float, axis: int, *, nearest: bool, padding: Padding | None
) -> np.ndarray:
    """Rows (or columns) at uneven positions, interpolated to even ones `step` apart; the nearest one where one is padding."""
    import numpy as np

    wanted = np.arange(0, positions[-1] + step / 2, step)
    index = np.interp(wanted, positions, np.arange(len(positions)))
    if nearest:
        near: np.ndarray = np.take(pixels, np.rint(index).astype(np.intp), axis)
        return near
    below = np.minimum(index.astype(np.intp), len(positions) - 1)
    above = np.minimum(below + 1, len(positions) - 1)
    fraction = (index - below).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(pixels.ndim)])
    first, second = (np.take(pixels, k, axis).astype(np.float32) for k in (below, above))
    blended: np.ndarray = np.where(fraction > 0, first * (1 - fraction) + second * fraction, first)
    if padding is not None:
        is_void = is_padding(first, padding) | is_padding(second, padding)
        blended = np.where(is_void, np.where(fraction < 0.5, first, second), blended)
    return blended


def _compose_affine(affine: Affine, layout: ReformatPlane, shape: tuple[int, int]) -> Affine:
    """The map to the source of an image whose rows and columns `orient_array` arranged; `shape` is that before."""
    a, b, c, d, e, f = affine
    height, width = shape[::-1] if layout.is_transposed else shape
    # x of the view -> p x + r, y of the view -> t y + u, both without flips
    p, r = (-1.0, float(width)) if layout.flips[1] else (1.0, 0.0)
    t, u = (-1.0, float(height)) if layout.flips[0] else (1.0, 0.0)
    if layout.is_transposed:  # the array's x is the view's y
        return (b * p, a * t, c + b * r + a * u, e * p, d * t, f + e * r + d * u)
    return (a * p, b * t, c + a * r + b * u, d * p, e * t, f + d * r + e * u)
