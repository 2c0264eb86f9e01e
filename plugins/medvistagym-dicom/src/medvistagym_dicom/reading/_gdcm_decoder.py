"""A decoder for pydicom that hands a frame to GDCM's reader, as pydicom's own plugins hand it to their libraries.

GDCM reads files, not frames, so the frame is given to it in a minimal DICOM file in memory that holds its size and depth and
nothing else. No identifier reaches another library, and what GDCM would do on the way (invert MONOCHROME1, rescale, guess a
dose grid) does not happen: the samples that come back are the encoded ones.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import DecodeRunner

_SECONDARY_CAPTURE: Final = b"1.2.840.10008.5.1.4.1.1.7"  # an object whose values GDCM does not transform
DECODER_DEPENDENCIES: Final = dict.fromkeys(
    (
        "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70",
        "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91",
    ),
    ("gdcm>=3.0",),
)  # fmt: skip


def is_available(uid: str) -> bool:
    """Whether frames of this transfer syntax can be decoded; pydicom asks when the decoder is added."""
    return uid in DECODER_DEPENDENCIES


def decode_frame(src: bytes, runner: DecodeRunner) -> bytearray:
    """The samples of a frame, colours by pixel.

    Raises:
        RuntimeError: GDCM cannot decode it.
    """
    import gdcm

    with _in_memory(_wrap_as_secondary_capture(src, runner)) as path, _suppressed_stderr():
        reader = gdcm.ImageReader()
        reader.SetFileName(path)
        if not reader.Read():
            raise RuntimeError("GDCM cannot decode the frame")
        image = reader.GetImage()
        sample = image.GetPixelFormat()
        text = image.GetBuffer()
    if isinstance(text, Exception):
        raise RuntimeError(f"GDCM cannot decode the frame: {text}")
    values = text.encode("utf-8", "surrogateescape")  # bytes come as text, those that are none escaped
    if sample.GetBitsAllocated() != runner.bits_allocated or bool(sample.GetPixelRepresentation()) != bool(
        runner.pixel_representation
    ):
        raise RuntimeError("the frame decodes to another kind of samples than its header says")
    if len(values) != runner.rows * runner.columns * runner.samples_per_pixel * runner.bits_allocated // 8:
        raise RuntimeError("the frame decodes to another size than its header says")
    runner.set_option("planar_configuration", int(image.GetPlanarConfiguration()))
    return bytearray(values)


def _wrap_as_secondary_capture(frame: bytes, runner: DecodeRunner) -> list[bytes]:
    """A DICOM file of this frame, in pieces."""

    def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
        value += b"" if len(value) % 2 == 0 else (b"\0" if vr == b"UI" else b" ")
        return struct.pack("<HH2sH", group, number, vr, len(value)) + value

    def short(number: int, value: int) -> bytes:
        return element(0x0028, number, b"US", struct.pack("<H", value))

    syntax = str(runner.transfer_syntax).encode()
    meta = element(2, 2, b"UI", _SECONDARY_CAPTURE) + element(2, 3, b"UI", b"2.25.1") + element(2, 0x10, b"UI", syntax)
    samples = runner.samples_per_pixel
    head = (
        bytes(128) + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta
        + element(8, 0x16, b"UI", _SECONDARY_CAPTURE) + element(8, 0x18, b"UI", b"2.25.1")
        + short(2, samples) + element(0x0028, 4, b"CS", b"MONOCHROME2" if samples == 1 else b"RGB")
        + (short(6, 0) if samples == 3 else b"")
        + short(0x10, runner.rows) + short(0x11, runner.columns)
        + short(0x100, runner.bits_allocated) + short(0x101, runner.bits_stored) + short(0x102, runner.bits_stored - 1)
        + short(0x103, runner.pixel_representation)
        + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF)
    )  # fmt: skip
    padding = b"\0" * (len(frame) % 2)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(frame) + len(padding))
    table, delimiter = struct.pack("<HHI", 0xFFFE, 0xE000, 0), struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return [head, table, item, frame, padding, delimiter]


@contextlib.contextmanager
def _in_memory(pieces: list[bytes]) -> Iterator[str]:
    """A path under which the pieces can be read, and that is gone afterwards; on Linux nothing touches a disk."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("pixels"), "wb") as file:
            file.writelines(pieces)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pixels.dcm")
        path.write_bytes(b"".join(pieces))
        yield str(path)


_STDERR: Final = threading.Lock()


@contextlib.contextmanager
def _suppressed_stderr() -> Iterator[None]:
    """Drop what C++ code prints on the error stream: a broken file is told by an exception, once."""
    import gdcm

    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
    with _STDERR, contextlib.ExitStack() as opened:
        try:
            saved = os.dup(2)
        except OSError:  # there is no error stream
            yield
            return
        opened.callback(os.close, saved)
        null = os.open(os.devnull, os.O_WRONLY)
        opened.callback(os.close, null)
        if sys.stderr is not None:
            sys.stderr.flush()
        try:
            os.dup2(null, 2)
            yield
        finally:
            os.dup2(saved, 2)
