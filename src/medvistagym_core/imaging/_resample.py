"""Arrays of pixels made larger, smaller or thinner, on their way to a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def resize(pixels: np.ndarray, height: int, width: int, *, stack: bool) -> np.ndarray:
    """Area average or bilinear interpolation of `(H, W)`, `(H, W, 3)` or, with `stack`, of every frame; float32."""
    import numpy as np
    import PIL.Image

    if stack:
        return np.stack([resize(frame, height, width, stack=False) for frame in pixels])
    if pixels.ndim == 3:
        return np.stack([resize(pixels[..., k], height, width, stack=False) for k in range(pixels.shape[2])], -1)
    h, w = pixels.shape
    if h % height == 0 and w % width == 0:
        down, across = h // height, w // width
        with np.errstate(over="ignore", invalid="ignore"):
            total: np.ndarray = sum((pixels[k::down] for k in range(1, down)), pixels[0::down].astype(np.float32))
            total = sum((total[:, k::across] for k in range(1, across)), total[:, 0::across])
            return (total / np.float32(down * across)).astype(np.float32, copy=False)
    kind = PIL.Image.Resampling.BOX if height <= h and width <= w else PIL.Image.Resampling.BILINEAR
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(pixels, np.float32)
    picture = PIL.Image.frombytes("F", (w, h), values)  # what `fromarray` does after it has found out the mode
    return np.frombuffer(picture.resize((width, height), kind).tobytes(), np.float32).reshape(height, width)


def resize_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """A pixel is set where any of the mask lies in it."""
    import numpy as np

    return resize(mask.astype(np.float32), height, width, stack=False) > 1e-6


def erode_mask(mask: np.ndarray) -> np.ndarray:
    """The mask without the pixels that touch its outside (8 neighbours)."""
    import numpy as np

    padded = np.pad(mask, 1, mode="edge")  # where the image cuts the graphics, there is no rim
    rows = padded[:-2] & padded[1:-1] & padded[2:]
    inner: np.ndarray = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
    return inner
