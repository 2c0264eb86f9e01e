"""The tool `resample`: an image or a volume at another spacing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from medvistagym_core.imaging import Image
from medvistagym_core.tools import tool
from medvistagym_segment.masks import finest

if TYPE_CHECKING:
    import numpy as np

Millimetres = Annotated[float, Field(ge=0.01, le=20)]
LARGEST: Final = 2**26


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
    source = finest(image)
    if source.spacing is None:
        raise ValueError("the spacing of this image is not known; zoom enlarges a part of any image")
    if slice_mm is not None and not source.is_stack:
        raise ValueError("slice_mm goes with a volume, and this is a single frame")
    if slice_mm is not None and "slice_offsets_mm" in source.attributes:
        raise ValueError("the slices of this volume are unevenly spaced and cannot be made even; leave out slice_mm")
    steps = [spacing_mm, spacing_mm] if slice_mm is None else [slice_mm, spacing_mm, spacing_mm]
    have = (source.frames, *source.shape)[-len(steps) :]
    want = [_count(n, size, step) for n, size, step in zip(have, source.spacing[-len(steps) :], steps, strict=True)]
    total = math.prod(want) * (source.frames if slice_mm is None else 1) * (3 if source.photometric == "RGB" else 1)
    if total > LARGEST:
        raise ValueError(f"the result would have {total:,} pixels, the most is {LARGEST:,}; take a wider spacing")
    made = _in_plane(source, want[-2], want[-1])
    if slice_mm is not None:
        made = _across(made, want[0])
    if made.window != image.window:
        made = made.replace(window=image.window)
    depth = "" if slice_mm is None else f" in {made.frames} slices {made.spacing[0]:.4g} mm apart"  # type: ignore[index]
    h, w = made.shape
    rows, columns = made.spacing[-2:]  # type: ignore[index]
    return made, f"Resampled to {w} x {h} pixels of {columns:.4g} x {rows:.4g} mm{depth}"


def _count(n: int, size: float, step: float) -> int:
    """How many pixels cover the same length; so the new spacing is the nearest to what was asked that divides it."""
    if step > n * size * (1 + 1e-9):
        raise ValueError(
            f"a spacing of {step:g} mm is more than the image measures ({n * size:.4g} mm); take a finer one"
        )
    return max(1, round(min(n * size / step, 2 * LARGEST)))


def _in_plane(source: Image, height: int, width: int) -> Image:
    import numpy as np

    _refuse_gaps(source)
    h, w = source.shape
    if (h, w) == (height, width):
        return source
    kind = source.pixels.dtype
    if source.unit not in ("mask", "label") and kind.kind != "b":
        made = source.resized(height, width)
        return made.replace(pixels=np.rint(made.pixels).astype(kind)) if kind == np.uint8 else made
    # masks and labels: the nearest, so that no value comes up that was not there
    rows, columns = _nearest(h, height), _nearest(w, width)
    a, b, c, d, e, f = source.to_source
    x, y = w / width, h / height
    assert source.spacing is not None
    return source.replace(
        pixels=source.pixels[..., rows[:, None], columns],
        overlay=None,
        spacing=(*source.spacing[:-2], source.spacing[-2] * y, source.spacing[-1] * x),
        to_source=(a * x, b * y, c, d * x, e * y, f),
        detail=source,
    )


def _across(volume: Image, count: int) -> Image:
    """Other slices: averages where they become fewer, linear between them where they become more; the nearest of masks."""
    import numpy as np

    n, pixels = volume.frames, volume.pixels
    if n == count:
        return volume
    if volume.unit in ("mask", "label") or pixels.dtype.kind == "b":
        made = pixels[_nearest(n, count)]
    else:
        made = (_weights(n, count) @ pixels.reshape(n, -1).astype(np.float32)).reshape(count, *pixels.shape[1:])
        if pixels.dtype == np.uint8:
            made = np.rint(made).astype(np.uint8)
    shown = n // 2 if volume.frame is None else volume.frame
    assert volume.spacing is not None
    # `slices` counts those of the source, which these are not; and what was finer lies in other slices
    return volume.replace(
        pixels=made,
        spacing=(volume.spacing[0] * n / count, *volume.spacing[1:]),
        frame=min(count - 1, (2 * shown + 1) * count // (2 * n)),
        attributes={name: value for name, value in volume.attributes.items() if name != "slices"},
        detail=None,
    )


def _nearest(n: int, count: int) -> np.ndarray:
    import numpy as np

    return (2 * np.arange(count) + 1) * n // (2 * count)


def _weights(n: int, count: int) -> np.ndarray:
    """`(count, n)` float32: the share of each of `n` in each of `count`; rows add up to 1."""
    import numpy as np

    step = n / count
    if count < n:
        starts = np.arange(count)[:, None] * step
        shares = np.minimum(starts + step, np.arange(n) + 1) - np.maximum(starts, np.arange(n))
        shares = np.clip(shares, 0, None) / step
    else:
        middles = np.clip((np.arange(count) + 0.5) * step - 0.5, 0, n - 1)[:, None]
        shares = np.clip(1 - np.abs(middles - np.arange(n)), 0, None)
    weights: np.ndarray = (shares / shares.sum(1, keepdims=True)).astype(np.float32)
    return weights


def _refuse_gaps(source: Image) -> None:
    import numpy as np

    if source.pixels.dtype.kind != "f":
        return
    with np.errstate(over="ignore"):  # it is worked on in float32
        bad = source.pixels.size - int(np.count_nonzero(np.isfinite(source.pixels.astype(np.float32, copy=False))))
    if bad:
        raise ValueError(
            f"{bad} of {source.pixels.size} pixels have no value (NaN or infinite); take a part without them"
        )
