"""A decoder for pydicom of RLE frames (PS3.5 annex G).

pydicom's own decoder expands a segment before it compares its size, and so fills memory on a frame of 14 MB; pylibjpeg-
rle panics on damaged ones. Segments are expanded by Pillow's PackBits decoder, in C and into a buffer of the size that
is expected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from medvistagym_dicom.reading._codestream import read_rle_segments

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import DecodeRunner

DECODER_DEPENDENCIES: Final = {"1.2.840.10008.1.2.5": ("pillow>=11",)}


def is_available(uid: str) -> bool:
    """Whether frames of this transfer syntax can be decoded; pydicom asks when the decoder is added."""
    return uid in DECODER_DEPENDENCIES


def decode_frame(src: bytes, runner: DecodeRunner) -> bytearray:
    """The samples of a frame, colours plane by plane; the bytes of a sample lie in segments, the most significant first.

    Raises:
        ValueError: A segment is too short.
        IndexError: The frame has more segments than its samples have bytes.
    """
    import numpy as np
    import PIL.Image

    size, pixels = runner.bits_allocated // 8, runner.rows * runner.columns
    planes = np.empty((runner.samples_per_pixel, pixels, size), np.uint8)
    for k, segment in enumerate(read_rle_segments(src)):
        # As one row, since runs of some writers go on from one row to the next, against PS3.5 G.3.1.
        expanded = PIL.Image.frombytes("L", (pixels, 1), segment, "packbits", "L")
        planes[k // size, :, size - 1 - k % size] = np.frombuffer(expanded.tobytes(), np.uint8)
    runner.set_option("planar_configuration", 1)
    return bytearray(planes.tobytes())
