"""A page of a picture file as an array: greys of any depth or RGB, upright, without palette, ink or transparency."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from medvistagym_core.imaging._jpeg import decode_jpeg
from medvistagym_core.imaging._limits import MAX_DECODED_BYTES
from medvistagym_core.imaging._picture_files import DESCRIPTION_KEY

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

_TRANSPARENT: Final = ("RGBA", "RGBa", "LA", "La", "PA")
_ORIENTATION: Final = 0x0112  # EXIF and TIFF tag
_SUBFILE_TYPE, _BITS, _PHOTOMETRIC, _DESCRIPTION, _SAMPLE_FORMAT = 254, 258, 262, 270, 339  # TIFF tags
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_WHITE: Final = 255
# PNG header: depth and colour type of RGB, grey with alpha and RGB with alpha at 16 bits.
_PNG_16_BIT: Final = (b"\x10\x02", b"\x10\x04", b"\x10\x06")
# Bytes that Pillow holds a pixel in, by mode; 4 for others.
_MODE_BYTES: Final = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
# Bytes a pixel of the array, and of what is made on the way to it, by mode; 11 for others.
_ARRAY_BYTES: Final = {"1": 2, "L": 1, "P": 7, "I;16": 2, "I;16L": 4, "I;16B": 4, "I;16N": 2, "I": 4, "F": 4, "RGB": 3}
# Bytes a pixel that a codec holds by itself.
_CODEC_BYTES: Final = {"JPEG2000": 16, "WEBP": 8, "AVIF": 10}
_PROGRESSIVE_JPEG_BYTES: Final = 8  # its coefficients


class Page(NamedTuple):
    """A page that was decoded.

    Attributes:
        pixels: `(H, W)` of any depth, or uint8 `(H, W, 3)`.
        photometric: As of an image.
        attributes: What was lost on the way.
        description: Text of the file that may be an `ImageDescription`.
    """

    pixels: np.ndarray
    photometric: Literal["MONOCHROME1", "MONOCHROME2", "RGB"]
    attributes: dict[str, str]
    description: str | None

    @property
    def kind(self) -> tuple[Any, ...]:
        """Equal for pages that can be frames of one stack."""
        return self.pixels.shape, self.pixels.dtype.str, self.photometric


def decoding_bytes(picture: Any) -> int:
    """Memory that decoding the current page takes, from what its header claims."""
    codec = _CODEC_BYTES.get(picture.format, 0)
    if picture.format == "JPEG" and "progressive" in picture.info:
        codec = _PROGRESSIVE_JPEG_BYTES
    array = 11 if "transparency" in picture.info else _ARRAY_BYTES.get(picture.mode, 11)
    size: int = picture.width * picture.height * (_MODE_BYTES.get(picture.mode, 4) + array + codec)
    if picture.format == "TIFF":  # a tile may be larger than the picture
        tile = as_numbers(picture.tag_v2.get(_TILE_WIDTH, 0)) + as_numbers(picture.tag_v2.get(_TILE_LENGTH, 0))
        size += max(tile, default=0) * min(tile, default=0) * sum(as_numbers(picture.tag_v2.get(_BITS, 8))) // 8
    return size


def is_beside(picture: Any) -> bool:
    """Whether a page of a TIFF is a reduced copy or a mask of another one (TIFF 6.0, NewSubfileType)."""
    return any(kind & 0b101 for kind in as_numbers(picture.tag_v2.get(_SUBFILE_TYPE, 0)))


def decode_page(picture: Any, head: bytes) -> Page:
    """The current page.

    Args:
        picture: Of Pillow, not yet loaded.
        head: The first bytes of the file.
    """
    import numpy as np

    tags = picture.tag_v2 if picture.format == "TIFF" else {}
    bits, formats = as_numbers(tags.get(_BITS)), as_numbers(tags.get(_SAMPLE_FORMAT))
    is_deep = len(bits) > 1 and max(bits) > 8
    if picture.format == "PNG":
        is_deep = head[24:26] in _PNG_16_BIT
    description = tags.get(_DESCRIPTION) if picture.format == "TIFF" else picture.info.get(DESCRIPTION_KEY)
    orientation = 1 if picture.format == "TIFF" else _orientation(picture)  # Pillow turns a TIFF as it loads it
    info = dict(picture.info)
    pixels = _decode_jpeg(picture) if picture.format in ("JPEG", "MPO") else None
    if pixels is None:
        picture.load()
        pixels = _as_array(picture, info)
    if pixels.dtype == np.int32 and bits == (32,) and formats in ((), (1,)):
        pixels = pixels.view(np.uint32)
    elif bits == (8,) and formats == (2,):
        pixels = pixels.view(np.int8)
    is_white_zero = tags.get(_PHOTOMETRIC) == 0 and bits in ((16,), (32,))  # Pillow inverts those of 8 bits and fewer
    return Page(
        _upright(pixels, orientation),
        "RGB" if pixels.ndim == 3 else "MONOCHROME1" if is_white_zero else "MONOCHROME2",
        {"bits": "8 of 16 a colour"} if is_deep else {},
        description if isinstance(description, str) else None,
    )


def _decode_jpeg(picture: Any) -> np.ndarray | None:
    """A JPEG of 8-bit greys or colours; None for one that is left to Pillow, such as one of inks."""
    if picture.mode not in ("L", "RGB") or picture.fp.seek(0, io.SEEK_END) > MAX_DECODED_BYTES:
        return None
    picture.fp.seek(0)
    pixels = decode_jpeg(picture.fp.read(), is_colour=picture.mode == "RGB")
    return pixels if pixels is not None and pixels.shape[:2] == (picture.height, picture.width) else None


def as_numbers(value: Any) -> tuple[int, ...]:
    """The whole numbers of a tag, one or several; none of one that is not there."""
    values = value if isinstance(value, tuple) else (value,)
    return tuple(one for one in values if isinstance(one, int))


def _orientation(picture: Any) -> int:
    try:
        orientation = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 whatever is wrong with its EXIF data, the picture itself may be whole
        return 1
    return orientation if isinstance(orientation, int) else 1


def _as_array(picture: PIL.Image.Image, info: dict[Any, Any]) -> np.ndarray:
    """Greys of any depth `(H, W)`, or uint8 `(H, W, 3)`, in the machine's byte order."""
    import numpy as np
    import PIL.ImageChops

    mode = picture.mode
    if "transparency" in info or mode in _TRANSPARENT:
        is_grey = mode in ("L", "LA", "La") or (mode in ("P", "PA") and _has_grey_palette(picture))
        flat = _on_white(np.asarray(picture if mode == "RGBA" else picture.convert("RGBA")))
        return flat[..., 0] if is_grey else flat
    if mode == "1" or (mode == "P" and _has_grey_palette(picture)):
        picture = picture.convert("L")
    elif mode == "CMYK" and picture.format == "JPEG" and "adobe" not in info:
        # Pillow takes every CMYK JPEG to be inverted, as those with Adobe's marker are.
        picture = PIL.ImageChops.invert(picture).convert("RGB")
    elif mode not in ("L", "I", "F", "RGB") and not mode.startswith("I;16"):
        picture = picture.convert("RGB")
    pixels = np.asarray(picture)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _has_grey_palette(picture: PIL.Image.Image) -> bool:
    palette = picture.getpalette("RGB") or []
    return bool(palette) and palette[0::3] == palette[1::3] == palette[2::3]


def _on_white(rgba: np.ndarray) -> np.ndarray:
    """Colours with opacity, uint8 `(H, W, 4)`, laid on white: uint8 `(H, W, 3)`."""
    import numpy as np

    flat = np.empty((*rgba.shape[:2], 3), np.uint8)
    for row, out in zip(rgba, flat, strict=True):
        opacity = row[:, 3:].astype(np.uint16)
        out[:] = (row[:, :3] * opacity + (255 - opacity) * _WHITE + 127) // 255
    return flat


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turned and mirrored as EXIF says: where the file's first row and first column are seen.

    Source: EXIF 2.32, 4.6.4 A, tag Orientation.
    """
    import numpy as np

    if orientation not in range(2, 9):
        return pixels
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
