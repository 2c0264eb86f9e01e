"""Picture files of views: 8 bits, as a person or a policy sees an image."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging._atomic_file import write_aside

if TYPE_CHECKING:
    import numpy as np

    from medvistagym_core.imaging._image import Image


PICTURE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
DESCRIPTION_KEY: Final = "MedVistaGym"
"""Keyword of the text in a PNG that says what its greys mean."""


def encode_png(pixels: np.ndarray) -> bytes:
    """The PNG file of a picture, uint8 `(H, W)` or `(H, W, 3)`."""
    import PIL.Image

    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(
        file, "png", compress_level=1, compress_type=zlib.Z_RLE
    )  # pictures change: be quick
    return file.getvalue()


def write_picture(image: Image, path: Path, side: int | None = None, *, described: bool = False) -> None:
    """Write the view of an image.

    Args:
        image: What to show.
        path: Its ending names the format: one of `PICTURE_SUFFIXES`, or `.tif`.
        side: Length of the longer side in pixels; the image's own size when None.
        described: Whether a PNG also says what the view was made of, so that it is read back with its spacing and its place
            in the source.

    Raises:
        ValueError: The ending is not that of a picture.
        OSError: The file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in (*PICTURE_SUFFIXES, ".tif", ".tiff"):
        raise ValueError(f"{path.name}: a picture's name ends in one of {', '.join(PICTURE_SUFFIXES)}, .tif, .tiff")
    options: dict[str, Any] = {}
    if described and suffix == ".png":
        from PIL.PngImagePlugin import PngInfo

        from medvistagym_core.imaging._image_description import ImageDescription

        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_text(DESCRIPTION_KEY, ImageDescription.from_view(image).to_json())
    with write_aside(path) as part:
        image.to_pil(side).save(part, **options)
