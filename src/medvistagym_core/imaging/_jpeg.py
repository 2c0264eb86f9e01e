"""JPEG by libjpeg-turbo through simplejpeg, which says of a picture that it is damaged.

Pillow uses the same library, and so the values are the same; but it leaves out the library's warnings, and shows grey, or
what changed bytes happen to mean, where a scan is not whole. No JPEG has a checksum: what still is a scan is not told.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np

_END_OF_IMAGE: Final = b"\xff\xd9"
_PADDING: Final = b"\0\xff"
# Warnings of libjpeg (jerror.h) that a scan is not whole; others are of a marker's contents, such as a version or a profile.
_DAMAGE: Final = re.compile(r"Premature end of JPEG file|Corrupt JPEG data: (?!bad ICC)")
_SURPLUS: Final = re.compile(r"(\d+) extraneous bytes before marker 0xd9")


def decode_jpeg(data: bytes, *, is_colour: bool) -> np.ndarray | None:
    """The first picture in a JPEG file or frame of 8 bits.

    Args:
        data: The file. What follows the picture, as further pictures do in the files of phones, is left alone.
        is_colour: Whether it is wanted as RGB, and not as greys.

    Returns:
        uint8 `(H, W)` or `(H, W, 3)`; None for one that is left to Pillow, such as one of an unusual subsampling.

    Raises:
        ValueError: A scan of it is not whole; a sentence.
    """
    import simplejpeg  # type: ignore[import-untyped]

    try:
        pixels: np.ndarray = simplejpeg.decode_jpeg(data, "RGB" if is_colour else "GRAY", strict=True)
    except ValueError as error:
        message = str(error)
        if _DAMAGE.match(message) and not _is_padding(message, data):
            raise ValueError(f"it is damaged ({message})") from None
        return None
    return pixels if is_colour else pixels[..., 0]


def _is_padding(message: str, data: bytes) -> bool:
    """Whether the bytes that no scan holds only fill up space before the end, as some cameras write them."""
    surplus = _SURPLUS.search(message)
    if surplus is None:
        return False
    length, end = int(surplus[1]), data.find(_END_OF_IMAGE)
    while end >= 0:
        if end >= length and not data[end - length : end].strip(_PADDING):
            return True
        end = data.find(_END_OF_IMAGE, end + 1)
    return False
