"""The tool `resample`: an image or a volume at another spacing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from medvistagym_core.imaging import Image, display_like, format_frame, full_resolution, require_finite
from medvistagym_core.tools import tool

if TYPE_CHECKING:
    import numpy as np

Millimetres = Annotated[float, Field(ge=0.01, le=20)]
MAX_PIXELS: Final = 2**26


@tool
def resample(image: Image, spacing_mm: Millimetres, slice_mm: Millimetres | None = None) -> tuple[Image, str]:
    """Resample an image to a pixel spacing in mm; it shows the same region, and its values keep their unit.

    Use it to bring images to one scale, so that sizes can be compared by eye, or to make the slices of a volume as dense as its
    pixels. It adds no detail: to look closely use zoom.

    Args:
        image: The image, or volume, to resample.
        spacing_mm: The new distance between pixels.
        slice_mm: The new distance between the slices of a volume; they stay as they are unless this is given.
    """
    source = full_resolution(image)
    if source.spacing is None:
        raise ValueError("the spacing of this image is not known; zoom enlarges a part of any image")
    if slice_mm is not None and not source.is_stack:
        raise ValueError("slice_mm goes with a volume, and this is a single frame")
    if slice_mm is not None and "slice_offsets_mm" in source.attributes:
        raise ValueError("the slices of this volume are unevenly spaced and cannot be made even; leave out slice_mm")
    spacing = [spacing_mm, spacing_mm] if slice_mm is None else [slice_mm, spacing_mm, spacing_mm]
    axes = len(spacing)
    counts = [
        _pixel_count(n, size, step)
        for n, size, step in zip((source.frames, *source.shape)[-axes:], source.spacing[-axes:], spacing, strict=True)
    ]
    total = math.prod(counts) * (source.frames if slice_mm is None else 1) * (3 if source.photometric == "RGB" else 1)
    if total > MAX_PIXELS:
        raise ValueError(f"the result would have {total:,} pixels, the most is {MAX_PIXELS:,}; take a wider spacing")
    resampled = _resample_in_plane(source, counts[-2], counts[-1])
    if slice_mm is not None:
        resampled = _resample_slices(resampled, counts[0])
    resampled = display_like(resampled, image)
    assert resampled.spacing is not None
    depth = "" if slice_mm is None else f" in {resampled.frames} slices {resampled.spacing[0]:.4g} mm apart"
    (h, w), (rows, columns) = resampled.shape, resampled.spacing[-2:]
    text = f"Resampled to {w} x {h} pixels of {columns:.4g} x {rows:.4g} mm{depth}{format_frame(image, source)}"
    return resampled, text


def _pixel_count(n: int, size_mm: float, step_mm: float) -> int:
    """How many pixels cover the same length; so the new spacing is the nearest to what was asked that divides it."""
    if step_mm > n * size_mm * (1 + 1e-9):
        raise ValueError(
            f"a spacing of {step_mm:g} mm is more than the image measures ({n * size_mm:.4g} mm); take a finer one"
        )
    return max(1, round(min(n * size_mm / step_mm, 2 * MAX_PIXELS)))


def _resample_in_plane(source: Image, height: int, width: int) -> Image:
    import numpy as np

    if source.pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):  # it is worked on in float32
            require_finite(source.pixels.astype(np.float32, copy=False))
    h, w = source.shape
    if (h, w) == (height, width):
        return source
    if not source.holds_labels:
        resized = source.resized(height, width)
        if source.pixels.dtype == np.uint8:
            return resized.replace(pixels=np.rint(resized.pixels).astype(np.uint8), window="keep")
        return resized
    # the nearest pixel, so that no value comes up that was not there
    axis = 1 if source.is_stack else 0
    pixels = source.pixels.take(_nearest_index(h, height), axis).take(_nearest_index(w, width), axis + 1)
    a, b, c, d, e, f = source.to_source
    x, y = w / width, h / height
    assert source.spacing is not None
    return source.replace(
        pixels=pixels,
        window="keep",
        overlay=None,
        spacing=(*source.spacing[:-2], source.spacing[-2] * y, source.spacing[-1] * x),
        to_source=(a * x, b * y, c, d * x, e * y, f),
        detail=source,
    )


def _resample_slices(volume: Image, count: int) -> Image:
    """Other slices: averages where they become fewer, linear between them where they become more; the nearest of labels."""
    import numpy as np

    n, pixels = volume.frames, volume.pixels
    if n == count:
        return volume
    if volume.holds_labels:
        resampled = pixels[_nearest_index(n, count)]
    else:
        resampled = np.zeros((count, *pixels.shape[1:]), np.float32)
        # slice by slice: the last digits of a matrix product depend on the number of threads
        for new, weights in zip(resampled, _slice_weights(n, count), strict=True):
            for k in np.flatnonzero(weights):
                new += weights[k] * pixels[k].astype(np.float32, copy=False)
        if pixels.dtype == np.uint8:
            resampled = np.rint(resampled).astype(np.uint8)
    displayed = n // 2 if volume.frame is None else volume.frame
    assert volume.spacing is not None
    # the attribute `slices` counts those of the source, which these are not; and what was finer lies in other slices
    return volume.replace(
        pixels=resampled,
        window="keep",
        spacing=(volume.spacing[0] * n / count, *volume.spacing[1:]),
        frame=min(count - 1, (2 * displayed + 1) * count // (2 * n)),
        attributes={name: value for name, value in volume.attributes.items() if name != "slices"},
        detail=None,
    )


def _nearest_index(n: int, count: int) -> np.ndarray:
    """`(count,)`: of `n` pixels, the one in which the centre of each of `count` pixels lies."""
    import numpy as np

    return (2 * np.arange(count) + 1) * n // (2 * count)


def _slice_weights(n: int, count: int) -> np.ndarray:
    """`(count, n)` float32: the share of each of `n` in each of `count`; rows add up to 1."""
    import numpy as np

    step = n / count
    if count < n:
        starts = np.arange(count)[:, None] * step
        shares = np.minimum(starts + step, np.arange(n) + 1) - np.maximum(starts, np.arange(n))
        shares = np.clip(shares, 0, None) / step
    else:
        centers = np.clip((np.arange(count) + 0.5) * step - 0.5, 0, n - 1)[:, None]
        shares = np.clip(1 - np.abs(centers - np.arange(n)), 0, None)
    weights: np.ndarray = (shares / shares.sum(1, keepdims=True)).astype(np.float32)
    return weights
