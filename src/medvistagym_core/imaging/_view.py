"""The picture of an image: 8-bit, of a chosen size, with its overlay."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medvistagym_core.imaging._buffer_pool import pooled_empty
from medvistagym_core.imaging._grayscale import render_display, render_min_max, render_rounded
from medvistagym_core.imaging._resample import erode_mask, resize, resize_mask

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

    from medvistagym_core.imaging._image import Image


def view_shape(image: Image, side: int | None = None) -> tuple[int, ...]:
    """The shape of `view`."""
    h, w = image.shape
    scale = 1.0 if side is None else side / max(h, w)
    size = (h, w) if scale == 1 else (max(1, round(h * scale)), max(1, round(w * scale)))
    return (*size, 3) if image.photometric == "RGB" else size


def view_image(image: Image, side: int | None = None, out: np.ndarray | None = None) -> np.ndarray:
    """The picture of it: uint8 `(H, W)`, or `(H, W, 3)` in colour.

    Args:
        image: The image.
        side: Length of the longer side in pixels, reached by area averaging or bilinear interpolation of the values
            before they are windowed; the image's own size when None.
        out: Where to write it: uint8 of the picture's shape; a new array when None.
    """
    pixels = image.pixels[image.displayed_frame] if image.is_stack else image.pixels
    overlay = image.overlay
    if side is not None:
        height, width, *_ = view_shape(image, side)
        if (height, width) != image.shape:
            pixels = resize(pixels, height, width, stack=False)
            overlay = None if overlay is None else resize_mask(overlay, height, width)
    grey = _to_grayscale(image, pixels, out)
    if overlay is not None and overlay.any():
        inner = erode_mask(overlay)
        grey[overlay] = 0
        grey[inner if inner.any() else overlay] = 255
    return grey


def to_pil(image: Image, side: int | None = None) -> PIL.Image.Image:
    """`view` as a Pillow image."""
    import PIL.Image

    return PIL.Image.fromarray(view_image(image, side))


def save_view(image: Image, path: str | Path, side: int | None = None) -> None:
    """Write `view` to a picture file whose ending names the format; `write_image` keeps values.

    Raises:
        ValueError: The ending is not that of a picture.
    """
    from medvistagym_core.imaging._picture_files import write_picture

    write_picture(image, Path(path), side)


def _to_grayscale(image: Image, pixels: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    import numpy as np

    grey = pooled_empty(pixels.shape, np.uint8) if out is None else out
    window, inverted = image.window, image.photometric == "MONOCHROME1"
    if window is not None:
        render_display(pixels, grey, window, inverted=inverted)
    elif image.pixels.dtype == np.uint8:
        render_rounded(pixels, grey, inverted=inverted)
    else:
        limits = image.display_range
        assert limits is not None  # since there is no window
        render_min_max(pixels, grey, *limits, inverted=inverted)
    return grey
