"""Opening a picture as an image."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from medvistagym_core.imaging._image import Image


def open_image(
    kind: type[Image],
    /,
    source: str | Path | bytes | IO[bytes],
    *,
    page: int | None = None,
    region: tuple[int, int, int, int] | None = None,
) -> Image:
    """Read a picture: PNG, JPEG, TIFF, BMP, GIF, WebP, JPEG 2000, AVIF or PNM; or an array in a file of NumPy (`.npy`).

    Values keep their depth, except that colours have 8 bits. It is turned as its EXIF orientation says; palettes and CMYK
    become RGB or greys; transparent parts show white behind them. Pages of one kind are the frames of a stack.

    Args:
        kind: The class of images.
        source: A path, the bytes of a file, or a file that is open for reading.
        page: Which page to read, from 0; all of them unless given.
        region: `(x0, y0, x1, y1)`, the part to keep, in pixels, the last two exclusive. Of a large TIFF, such as a
            whole-slide picture, only this is decoded; without one it is opened at a lower resolution that it holds.

    Raises:
        ValueError: The file is missing, broken, too large, not a picture, or its pages are of several kinds.
    """
    from medvistagym_core.imaging._raster_files import read_raster_file

    images = read_raster_file(kind, source, page, region)
    if len(images) > 1:
        sizes = ", ".join(f"{image.shape[1]} x {image.shape[0]}" for image in images[:4])
        more = ", ..." if len(images) > 4 else ""
        raise ValueError(
            f"its {len(images)} pages differ in size or kind ({sizes}{more}); give one of them by page=0, 1, ..."
        )
    return images[0]
