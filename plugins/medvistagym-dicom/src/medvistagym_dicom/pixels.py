"""Stored pixel values of a DICOM object: native ones from the file's own bytes, compressed ones through SimpleITK (GDCM).

Compressed pixel data are handed to SimpleITK in a minimal DICOM file in memory that holds the image's geometry and nothing
else. So no identifier reaches another library, and what GDCM would do on the way (invert MONOCHROME1, rescale, guess a dose
grid) does not happen: the values that come back are the stored ones.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import struct
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medvistagym_dicom.errors import DicomError
from medvistagym_dicom.header import Header

if TYPE_CHECKING:
    import numpy as np

PHOTOMETRICS: Final = (
    "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420",
    "YBR_ICT", "YBR_RCT",
)  # fmt: skip
_CODECS: Final = {
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless SV1",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.5": "RLE Lossless",
}
_RLE: Final = "1.2.840.10008.1.2.5"


@dataclasses.dataclass(frozen=True)
class Layout:
    """Shape and storage of an object's pixels, checked against each other and against the memory limit.

    Attributes:
        allocated: Bits of storage per sample; 1, 8, 16, 32 or 64.
        stored: Bits that carry the value.
        high: Position of its highest bit.
        signed: Whether values are two's complement.
        planar: Whether colours are stored plane by plane.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    allocated: int
    stored: int
    high: int
    signed: bool
    planar: bool
    photometric: str
    floating: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """`(frames, rows, columns)`, and 3 for colour."""
        return (self.frames, self.rows, self.columns, *((3,) if self.samples == 3 else ()))

    @property
    def dtype(self) -> str:
        """Native NumPy type of stored values, such as `i2`."""
        return ("f" if self.floating else "i" if self.signed else "u") + str(max(1, self.allocated // 8))


def layout(header: Header, name: str, *, max_bytes: int) -> Layout:
    """Layout of an object's pixels, before any of them is allocated.

    Raises:
        DicomError: There are no pixels, their description is impossible, or they need more than `max_bytes`.
    """
    if header.pixels is None:
        raise DicomError("no_pixels", f"{name}: it holds no image, only a DICOM header; if it should, it was cut off")
    keyword = header.pixels[0]
    rows, columns = header.integer("Rows", 0), header.integer("Columns", 0)
    frames = max(1, header.integer("NumberOfFrames", 1))
    samples = header.integer("SamplesPerPixel", 1)
    floating = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(keyword, 0)
    allocated = floating or header.integer("BitsAllocated", 0)
    stored = floating or header.integer("BitsStored", allocated)
    high = floating - 1 if floating else header.integer("HighBit", stored - 1)
    if rows < 1 or columns < 1:
        raise DicomError("corrupt", f"{name}: it has no pixels, its header says {columns} x {rows}")
    need = rows * columns * frames * samples * max(1, allocated // 8)
    if need > max_bytes:
        raise DicomError(
            "too_large",
            f"{name}: {columns} x {rows} pixels in {frames} frame{'s' * (frames > 1)} need {need / 2**20:.0f} MiB, "
            f"above the limit of {max_bytes / 2**20:.0f} MiB",
        )
    photometric = header.word("PhotometricInterpretation") or ("MONOCHROME2" if samples == 1 else "RGB")
    if photometric not in PHOTOMETRICS:
        raise DicomError("unsupported", f"{name}: its photometric interpretation is none of {', '.join(PHOTOMETRICS)}")
    colour = photometric not in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
    if samples != (3 if colour else 1):
        raise DicomError("corrupt", f"{name}: {photometric} pixels cannot have {samples} samples")
    if allocated not in (1, 8, 16, 32, 64) or not 1 <= stored <= allocated or not stored - 1 <= high < allocated:
        raise DicomError("corrupt", f"{name}: {stored} bits stored in {allocated}, with high bit {high}, is impossible")
    return Layout(
        rows, columns, frames, samples, allocated, stored, high, header.integer("PixelRepresentation", 0) == 1,
        samples == 3 and header.integer("PlanarConfiguration", 0) == 1, photometric, bool(floating),
    )  # fmt: skip


def stored_values(header: Header, shape: Layout, name: str) -> np.ndarray:
    """Stored values `(frames, rows, columns)`, or RGB `(frames, rows, columns, 3)`, in the native type of the layout.

    Unused bits are cleared and signs extended; YBR colours are converted to RGB (PS3.3 C.7.6.3.1.2), palette colours stay
    indices.

    Raises:
        DicomError: The data are cut off, damaged, or compressed in a way that SimpleITK does not read.
    """
    if header.encapsulated:
        return _compressed(header, shape, name)
    return _native(header, shape, name)


def _native(header: Header, shape: Layout, name: str) -> np.ndarray:
    import numpy as np

    assert header.pixels is not None
    offset, length = header.pixels[1][0]
    count = shape.rows * shape.columns * shape.frames * shape.samples
    halved = shape.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422") and length < count * shape.allocated // 8
    if halved:  # two luminances share one pair of chrominances
        count = count // 3 * 2
    need = (count * shape.allocated + 7) // 8
    if length < need:
        raise DicomError(
            "truncated", f"{name}: its pixel data hold {length} of the {need} bytes that its header promises"
        )
    if shape.allocated == 1:
        raw = np.frombuffer(header.data, np.uint8, need, offset)
        if header.words_swapped and need % 2 == 0:
            raw = raw.reshape(-1, 2)[:, ::-1].reshape(-1)
        return np.unpackbits(raw, count=count, bitorder="little").reshape(shape.shape)
    if header.words_swapped and shape.allocated == 8 and length >= count + count % 2:
        raw = np.frombuffer(header.data, shape.dtype, count + count % 2, offset)
        raw = raw.reshape(-1, 2)[:, ::-1].reshape(-1)[:count]
    else:
        raw = np.frombuffer(header.data, ("<" if header.little else ">") + shape.dtype, count, offset)
    values = raw.astype(shape.dtype)
    if not shape.floating:
        values = _cleared(values, shape.allocated - 1 - shape.high, shape.allocated - shape.stored)
    if halved:
        quads = values.reshape(-1, 4)
        values = np.stack([quads[:, [0, 2, 3]], quads[:, [1, 2, 3]]], 1)
    elif shape.planar:
        values = np.moveaxis(values.reshape(shape.frames, 3, shape.rows, shape.columns), 1, -1)
    values = values.reshape(shape.shape)
    return _to_rgb(values, shape, name) if shape.photometric.startswith("YBR") else values


def _cleared(values: np.ndarray, left: int, right: int) -> np.ndarray:
    """Bits outside the stored ones dropped and the sign extended, in place."""
    if right:
        values <<= left
        values >>= right
    return values


def _to_rgb(values: np.ndarray, shape: Layout, name: str) -> np.ndarray:
    import numpy as np

    if shape.dtype != "u1" or shape.photometric not in ("YBR_FULL", "YBR_FULL_422"):
        raise DicomError(
            "unsupported", f"{name}: uncompressed {shape.photometric} with {shape.allocated} bits is not supported"
        )
    y, cb, cr = (values[..., k].astype(np.float32) for k in range(3))
    cb, cr = cb - 128, cr - 128
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], -1)
    bytes_: np.ndarray = np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
    return bytes_


def _compressed(header: Header, shape: Layout, name: str) -> np.ndarray:
    if header.transfer_syntax not in _CODECS:
        known = ", ".join(_CODECS.values())
        raise DicomError(
            "unsupported", f"{name}: its compression is not supported; supported are uncompressed, deflated, {known}"
        )
    assert header.pixels is not None
    table, *spans = header.pixels[1] or [(0, 0)]
    fragments = [header.data[at : at + length] for at, length in spans]
    if not fragments:
        raise DicomError("truncated", f"{name}: it holds no compressed frame")
    if len(fragments) < shape.frames:
        raise DicomError(
            "truncated", f"{name}: it holds {len(fragments)} of the {shape.frames} frames that its header promises"
        )
    if header.transfer_syntax != _RLE:
        for fragment in fragments:
            found = _codestream(fragment)
            if found is not None and found != (shape.rows, shape.columns):
                sizes = f"{found[1]} x {found[0]} where the header says {shape.columns} x {shape.rows}"
                raise DicomError("corrupt", f"{name}: a compressed frame is {sizes}")
    if header.transfer_syntax == _RLE and shape.samples == 3 and shape.allocated > 8:
        return _deep_rle_colour(fragments, shape, name)
    offsets = header.data[table[0] : table[0] + table[1]] if len(fragments) != shape.frames else b""
    values = _through_simpleitk(_minimal_file(header.transfer_syntax, shape, offsets, fragments), name)
    if values.shape != shape.shape:
        raise DicomError("corrupt", f"{name}: its compressed pixel data decode to another shape than its header says")
    right = shape.allocated - shape.stored
    return _cleared(values.astype(shape.dtype), right, right)


def _deep_rle_colour(fragments: list[bytes], shape: Layout, name: str) -> np.ndarray:
    """RLE colour of more than 8 bits, which GDCM mixes up: decoded as three grey frames a frame (PS3.5 annex G)."""
    import numpy as np

    if len(fragments) != shape.frames:
        raise DicomError("unsupported", f"{name}: its RLE frames are split into several fragments")
    if shape.photometric != "RGB":
        raise DicomError("unsupported", f"{name}: RLE {shape.photometric} with {shape.allocated} bits is not supported")
    size = shape.allocated // 8
    planes = []
    for fragment in fragments:
        count, *starts = struct.unpack_from("<16I", fragment.ljust(64, b"\0"))
        ends = [*starts[1:count], len(fragment)]
        segments = [fragment[a:b] for a, b in zip(starts, ends, strict=False)]
        if count != 3 * size or any(not 64 <= a < b for a, b in zip(starts, ends, strict=False)):
            raise DicomError("corrupt", f"{name}: its compressed pixel data are damaged")
        for plane in range(3):
            own = segments[plane * size : (plane + 1) * size]
            places = [64 + sum(map(len, own[:k])) for k in range(size)]
            planes.append(struct.pack("<16I", size, *places, *[0] * (15 - size)) + b"".join(own))
    grey = dataclasses.replace(shape, samples=1, frames=3 * shape.frames, photometric="MONOCHROME2")
    values = _through_simpleitk(_minimal_file(_RLE, grey, b"", planes), name)
    if values.shape != grey.shape:
        raise DicomError("corrupt", f"{name}: its compressed pixel data decode to another shape than its header says")
    right = shape.allocated - shape.stored
    values = _cleared(values.astype(shape.dtype), right, right)
    return np.moveaxis(values.reshape(shape.frames, 3, shape.rows, shape.columns), 1, -1)


def _codestream(data: bytes) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 codestream declares; None when the fragment does not begin one.

    A codestream larger than its DICOM header would be allocated by the decoder unasked, so it is compared first.
    """
    start = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start >= 0 and len(data) >= start + 24:
        x1, y1, x0, y0 = struct.unpack_from(">IIII", data, start + 8)
        return y1 - y0, x1 - x0
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows, columns = struct.unpack_from(">HH", data, at + 5)
            return rows, columns
        else:
            at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
    return None


def _minimal_file(syntax: str, shape: Layout, offsets: bytes, fragments: list[bytes]) -> list[bytes]:
    """A DICOM file of these frames as a secondary capture, which asks GDCM for no modality transformation; in pieces."""

    def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
        value += b"" if len(value) % 2 == 0 else (b"\0" if vr == b"UI" else b" ")
        return struct.pack("<HH2sH", group, number, vr, len(value)) + value

    def short(number: int, value: int) -> bytes:
        return element(0x0028, number, b"US", struct.pack("<H", value))

    kind = b"1.2.840.10008.5.1.4.1.1.7"
    meta = element(2, 2, b"UI", kind) + element(2, 3, b"UI", b"2.25.1") + element(2, 0x10, b"UI", syntax.encode())
    photometric = "MONOCHROME2" if shape.samples == 1 else shape.photometric
    head = (
        bytes(128) + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta
        + element(8, 0x16, b"UI", kind) + element(8, 0x18, b"UI", b"2.25.1")
        + short(2, shape.samples) + element(0x0028, 4, b"CS", photometric.encode())
        + (short(6, int(shape.planar)) if shape.samples == 3 else b"")
        + (element(0x0028, 8, b"IS", str(shape.frames).encode()) if shape.frames > 1 else b"")
        + short(0x10, shape.rows) + short(0x11, shape.columns)
        + short(0x100, shape.allocated) + short(0x101, shape.stored) + short(0x102, shape.stored - 1)
        + short(0x103, int(shape.signed))
        + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF)
    )  # fmt: skip
    pieces = [head, struct.pack("<HHI", 0xFFFE, 0xE000, len(offsets)), offsets]
    for fragment in fragments:
        pieces += [struct.pack("<HHI", 0xFFFE, 0xE000, len(fragment)), fragment]
    return [*pieces, struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)]


def _through_simpleitk(pieces: list[bytes], name: str) -> np.ndarray:
    import SimpleITK

    with _in_memory(pieces) as path, _quiet():
        reader = SimpleITK.ImageFileReader()  # type: ignore[no-untyped-call]
        reader.SetImageIO("GDCMImageIO")  # type: ignore[no-untyped-call]
        reader.SetFileName(path)  # type: ignore[no-untyped-call]
        try:
            image = reader.Execute()  # type: ignore[no-untyped-call]
        except RuntimeError:
            raise DicomError("corrupt", f"{name}: its compressed pixel data are damaged") from None
    values: np.ndarray = SimpleITK.GetArrayFromImage(image)
    return values


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
def _quiet() -> Iterator[None]:
    """Drop what the C and C++ decoders print on the error stream: a broken file is told by an exception, once."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # type: ignore[no-untyped-call]
    with _STDERR, contextlib.ExitStack() as opened:
        try:
            kept = os.dup(2)
        except OSError:  # there is no error stream
            yield
            return
        opened.callback(os.close, kept)
        null = os.open(os.devnull, os.O_WRONLY)
        opened.callback(os.close, null)
        if sys.stderr is not None:
            sys.stderr.flush()
        try:
            os.dup2(null, 2)
            yield
        finally:
            os.dup2(kept, 2)
