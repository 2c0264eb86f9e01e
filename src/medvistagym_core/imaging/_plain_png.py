"""PNG files that hold one picture of 8-bit greys or colours and nothing that changes it.

Their compressed rows are what a record keeps and an endpoint is sent, so that such a picture is not compressed again. What
else stands in a file, such as texts, times and profiles, is left behind: `PlainPng.png` has the size, the rows and the end.
"""

from __future__ import annotations

import dataclasses
import io
import struct
import zlib
from typing import TYPE_CHECKING, Final, Self

from medvistagym_core.imaging._native import native_kernels
from medvistagym_core.imaging._picture_files import PNG_SIGNATURE, png_file

if TYPE_CHECKING:
    import numpy as np

MAX_FILE_BYTES: Final = 2**24
"""The largest file that is looked at as one."""
_MAX_PIXELS: Final = 2**22
_HEADER: Final = struct.Struct(">IIBBBBB")
_CHANNELS: Final = {0: 1, 2: 3}
"""Of a pixel, by the colour types of greys and of colours without transparency."""
_ASIDE: Final = frozenset((b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"sBIT", b"bKGD", b"hIST", b"pHYs", b"tIME"))
"""Chunks that change no value that Pillow decodes; texts and EXIF data may hold an orientation, or what a view was made of."""


@dataclasses.dataclass(frozen=True)
class PlainPng:
    """A picture as a PNG file holds it.

    Attributes:
        shape: `(H, W)`, or `(H, W, 3)` in colour.
        rows: The rows as they are stored, each behind the byte that names its filter.
        png: A file of the picture alone.
    """

    shape: tuple[int, ...]
    rows: bytes
    png: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self | None:
        """The picture in a file; None for a file that is damaged or anything but such a picture.

        Source: PNG specification (third edition), sections 5, 9, 10 and 11.
        """
        if not data.startswith(PNG_SIGNATURE):
            return None
        at, previous, header, packed = len(PNG_SIGNATURE), b"", b"", list[bytes]()
        while previous != b"IEND":
            body, end = at + 8, at + 12 + int.from_bytes(data[at : at + 4], "big")
            kind, content = data[at + 4 : body], data[body : end - 4]
            if end > len(data) or zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
                return None
            if (kind == b"IHDR") != (not previous) or (kind == b"IDAT" and packed and previous != kind):
                return None
            if kind == b"IHDR":
                header = content
            elif kind == b"IDAT":
                packed.append(content)
            elif kind != b"IEND" and kind not in _ASIDE:
                return None
            at, previous = end, kind
        return cls._inflate(header, b"".join(packed))

    @classmethod
    def _inflate(cls, header: bytes, packed: bytes) -> Self | None:
        if len(header) != _HEADER.size:
            return None
        width, height, depth, colour, *methods = _HEADER.unpack(header)
        channels = _CHANNELS.get(colour)
        if depth != 8 or channels is None or any(methods) or not 0 < width * height <= _MAX_PIXELS:
            return None
        size = height * (1 + width * channels)
        inflating = zlib.decompressobj()
        try:
            rows = inflating.decompress(packed, size + 1)
        except zlib.error:
            return None
        # Nothing but the picture is in the rows, and nothing behind them.
        if len(rows) != size or not inflating.eof or inflating.unused_data:
            return None
        shape = (height, width) if channels == 1 else (height, width, channels)
        return cls(shape, rows, png_file(shape, packed))

    def decode(self) -> np.ndarray | None:
        """The picture, uint8 of `shape`; None where a row has a filter that there is not."""
        import numpy as np

        kernels = native_kernels()
        if kernels is None:
            import PIL.Image

            try:
                return np.asarray(PIL.Image.open(io.BytesIO(self.png)))
            except OSError:
                return None
        pixels = np.empty(self.shape, np.uint8)
        stored = np.frombuffer(self.rows, np.uint8).reshape(self.shape[0], -1)
        try:
            kernels.unfilter(stored, pixels.reshape(self.shape[0], -1), 3 if len(self.shape) == 3 else 1)
        except ValueError:
            return None
        return pixels
