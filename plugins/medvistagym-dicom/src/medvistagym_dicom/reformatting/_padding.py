"""Padding: pixels that stand for "nothing here", which must not be mixed with values when an image is resampled.

A reader tells its least and greatest value in the attribute `padding` (DICOM PS3.3 C.7.5.1.1.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvistagym_core.imaging import Image

if TYPE_CHECKING:
    import numpy as np

Padding = tuple[float, float]


def padding_range(image: Image) -> Padding | None:
    """Least and greatest value of padding; None where there is none."""
    ends = image.attributes.get("padding", "").split()
    return (float(ends[0]), float(ends[1])) if len(ends) == 2 and image.photometric != "RGB" else None


def is_padding(values: np.ndarray, padding: Padding) -> np.ndarray:
    """Which values stand for padding, as booleans of their shape.

    Args:
        values: Pixels of any shape and type.
        padding: Least and greatest value that stand for padding, both included.
    """
    low, high = padding
    mask: np.ndarray = values == low if low == high else (values >= low) & (values <= high)
    return mask


def resize_around_padding(image: Image, height: int, width: int) -> Image | None:
    """The image resampled to `(height, width)` from the values that are not padding; None where it holds no padding.

    A pixel is padding where most of what it is made of is.

    Args:
        image: A frame `(H, W)` or a stack `(N, H, W)`; padding is what its attribute `padding` says.
        height: Height of the result in pixels.
        width: Width of the result in pixels.
    """
    import numpy as np

    padding = padding_range(image)
    if padding is None or not (mask := is_padding(image.pixels, padding)).any():
        return None
    valid = (~mask).astype(np.float32)
    weights = image.replace(pixels=valid, window=None).resized(height, width).pixels
    sums = image.replace(pixels=np.where(mask, np.float32(0), image.pixels).astype(np.float32)).resized(height, width)
    return image.resized(height, width).replace(pixels=divide_by_weights(sums.pixels, weights, padding))


def divide_by_weights(sums: np.ndarray, weights: np.ndarray, padding: Padding) -> np.ndarray:
    """Weighted sums of valid values as means; padding where less than half of the weight is that of valid values."""
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        means = sums / weights
    return np.where(weights >= 0.5, means, np.float32(padding[0])).astype(np.float32)
