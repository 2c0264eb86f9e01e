"""The pixels behind a picture, and their values: what masks, text and labels are found in.

NumPy only.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging._buffer_pool import pooled_empty
from medvistagym_core.imaging._image import Image
from medvistagym_core.imaging._native import is_supported_array, native_kernels

if TYPE_CHECKING:
    import numpy as np

MAX_PIXELS: Final = 2**27
MIN_HU: Final = -1024.0
"""Air. Scanners write lower values outside of their field of view."""
LUMA: Final = (0.299, 0.587, 0.114)
"""Weights of red, green and blue. Source: ITU-R BT.601."""


def full_resolution(image: Image, *, keep_frames: bool = False) -> Image:
    """The pixels that an image was resampled from, or its own; of frames that make no volume, those of the displayed one.

    Args:
        image: A single frame, a volume, or frames between which no distance is known.
        keep_frames: Whether all of such frames are kept.

    Raises:
        ValueError: They are more than 2**27.
    """
    source = image.detail or image
    if source.pixels.size > MAX_PIXELS:
        raise ValueError(
            f"the image has {source.pixels.size:,} pixels, the most is {MAX_PIXELS:,}; take a part with zoom first"
        )
    if keep_frames or not source.is_stack or (source.spacing is not None and len(source.spacing) == 3):
        return source
    return _take_displayed_frame(source)


def full_resolution_frame(image: Image) -> Image:
    """The pixels that an image was resampled from, or its own, in its window; of a stack, those of the displayed frame.

    The attribute `frame` says which frame of a stack it is.
    """
    source = image if image.detail is None else image.detail.replace(window=image.window, detail=None)
    return _take_displayed_frame(source) if source.is_stack else source


def _take_displayed_frame(stack: Image) -> Image:
    frame = stack.displayed_frame
    return stack.replace(
        pixels=stack.pixels[frame],
        window="keep",
        frame=None,
        spacing=None if stack.spacing is None else stack.spacing[-2:],
        attributes={**stack.attributes, "frame": str(frame)},
    )


def format_frame(image: Image, source: Image) -> str:
    """Which of the frames of an image `full_resolution` took, as the end of a sentence; empty where it took all.

    Args:
        image: The image as it was given.
        source: What `full_resolution` made of it.
    """
    frames = (image.detail or image).frames
    if source.is_stack or frames == 1:
        return ""
    return f"; frame {source.attributes['frame']} of 0 to {frames - 1} alone, as no distance between them is known"


def to_grayscale_array(image: Image) -> np.ndarray:
    """Float32 values of one channel, `(H, W)` or `(N, H, W)`, in which bright is high.

    That is the luma of colours and the negative of MONOCHROME1. HU below `MIN_HU` become `MIN_HU`.

    Raises:
        ValueError: Some values are NaN or infinite.
    """
    import numpy as np

    pixels = image.pixels
    values = pooled_empty(pixels.shape, np.float32)
    c = native_kernels()
    if c is not None and pixels.ndim == 2 and is_supported_array(pixels) and pixels.strides[1] == pixels.itemsize:
        c.as_floats(pixels, values, MIN_HU if image.unit == "HU" else -np.inf)
        return np.negative(values, out=values) if image.photometric == "MONOCHROME1" else values
    with np.errstate(over="ignore"):
        np.copyto(values, pixels, casting="unsafe")
    if image.photometric == "RGB":
        values = values @ np.array(LUMA, np.float32)
    if pixels.dtype.kind == "f":
        require_finite(values)
    if image.unit == "HU":
        np.maximum(values, np.float32(MIN_HU), out=values)
    return np.negative(values, out=values) if image.photometric == "MONOCHROME1" else values


def require_finite(values: np.ndarray) -> tuple[float, float]:
    """The least and the greatest of floats of any shape.

    Raises:
        ValueError: Some are NaN or infinite; the sentence says how many.
    """
    import numpy as np

    low, high = float(values.min()), float(values.max())
    if math.isfinite(low) and math.isfinite(high):  # a NaN is the minimum and the maximum
        return low, high
    missing = values.size - int(np.count_nonzero(np.isfinite(values)))
    raise ValueError(f"{missing} of {values.size} pixels have no value (NaN or infinite); take a part without them")


def darkest_value(image: Image) -> Any:
    """The value that is displayed darkest, as a scalar of the pixels' dtype; NaN is left out of account."""
    import numpy as np

    if image.photometric == "RGB":
        return image.pixels.dtype.type(0)
    with np.errstate(invalid="ignore"):
        darkest = np.fmax.reduce if image.photometric == "MONOCHROME1" else np.fmin.reduce
        return darkest(image.pixels.ravel())


def display_like(image: Image, other: Image) -> Image:
    """An image displayed with the window of another, from whose full resolution it was made.

    Args:
        image: What was made, in the unit of `other`.
        other: The image whose display it gets.
    """
    return (
        image if image.window == other.window else image.replace(window=other.window, value_range=other.display_range)
    )
