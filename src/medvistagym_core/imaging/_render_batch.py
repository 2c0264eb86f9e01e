"""Pictures of many images at once, in one array.

A picture is what `Image.view` gives, bit for bit: each is made by itself, in passes that stay in the cache, and written where
it belongs. Stacking the values first would cost more than it saves on a CPU. Hand in the array of an earlier call as `out` and
no memory is touched for the first time, which would take as long as the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medvistagym_core.imaging._grayscale import OPENCV_MIN_BATCH, load_opencv
from medvistagym_core.imaging._image import Image

if TYPE_CHECKING:
    import numpy as np


def render_batch(images: Sequence[Image], side: int | None = None, out: np.ndarray | None = None) -> np.ndarray:
    """The pictures of images that have the same size there.

    Args:
        images: At least one.
        side: Length of the longer side in pixels; the images' own size when None.
        out: Where to write them: uint8 of the shape that is returned; a new array when None.

    Returns:
        uint8 `(B, H, W)`, or `(B, H, W, 3)` in colour.

    Raises:
        ValueError: There is no image, or the pictures or `out` differ in shape.
    """
    import numpy as np

    if not images:
        raise ValueError("there is no image to render")
    if len(images) >= OPENCV_MIN_BATCH:
        load_opencv()
    shapes = {image.view_shape(side) for image in images}
    if len(shapes) > 1:
        raise ValueError(
            f"the pictures differ in shape ({', '.join(map(str, sorted(shapes)))}); render each size by itself"
        )
    shape = (len(images), *shapes.pop())
    if out is None:
        out = np.empty(shape, np.uint8)
    elif out.shape != shape or out.dtype != np.uint8:
        raise ValueError(f"out is a uint8 array of shape {shape}, not {out.dtype} {out.shape}")
    for image, picture in zip(images, out, strict=True):
        image.view(side, out=picture)
    return out
