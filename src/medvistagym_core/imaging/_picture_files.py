"""Picture files of views: 8 bits, as a person or a policy sees an image."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.storage import write_atomically

if TYPE_CHECKING:
    import numpy as np

    from medvistagym_core.imaging._image import Image


PICTURE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_FILTER_UP: Final = 2
_GREY: Final = 0
_RGB: Final = 2
DESCRIPTION_KEY: Final = "MedVistaGym"
"""Keyword of the text in a PNG that says what its greys mean."""


def encode_png(pixels: np.ndarray) -> bytes:
    """The PNG file of a picture, uint8 `(H, W)` or `(H, W, 3)`.

    Every row is stored as its difference to the one above (filter type 2, "Up") and deflated with run lengths alone. Pillow
    tries all filters for each row, and takes several times as long for files of about the same size (PNG specification,
    sections 9 and 12.8); every picture that a policy sees and a record keeps is encoded.
    """
    import numpy as np

    height = len(pixels)
    rows = pixels.reshape(height, -1)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _FILTER_UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    deflate = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    data = deflate.compress(filtered.data) + deflate.flush()
    return png_file(pixels.shape, data)


def png_file(shape: tuple[int, ...], data: bytes) -> bytes:
    """A PNG file.

    Args:
        shape: `(H, W)` of 8-bit greys, or `(H, W, 3)` of colours.
        data: Its rows, filtered and deflated.
    """
    header = struct.pack(">IIBBBBB", shape[1], shape[0], 8, _RGB if len(shape) == 3 else _GREY, 0, 0, 0)
    return PNG_SIGNATURE + _png_chunk(b"IHDR", header) + _png_chunk(b"IDAT", data) + _png_chunk(b"IEND", b"")


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


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
    with write_atomically(path, keep_suffix=True) as part:
        image.to_pil(side).save(part, **options)
