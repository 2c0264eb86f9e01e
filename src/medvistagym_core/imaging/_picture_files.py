"""Picture files of views: 8 bits, as a person or a policy sees an image."""

from __future__ import annotations

import struct
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
_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_FILTER_UP: Final = 2


def encode_png(pixels: np.ndarray) -> bytes:
    """The PNG file of a picture, uint8 `(H, W)` or `(H, W, 3)`.

    Each row is stored as its difference from the one above (filter "Up" of the PNG specification, third edition, section 9.2),
    and runs of bytes are compressed: files as small as Pillow's at its quickest setting, which tries five filters for each row,
    in a third of the time.
    """
    import numpy as np

    height, width = pixels.shape[:2]
    colour_type = 0 if pixels.ndim == 2 else 2
    rows = np.ascontiguousarray(pixels).reshape(height, -1)
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = _FILTER_UP
    filtered[:1, 1:] = rows[:1]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])  # modulo 256, as the specification has it
    # One pass for pictures that change with every call; 15 bits of window and memory level 9 are the most there are.
    deflate = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    data = deflate.compress(filtered.data) + deflate.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    return b"".join((_PNG_SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", data), _chunk(b"IEND", b"")))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))))


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
