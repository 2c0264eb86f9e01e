"""Stored pixel values of a DICOM object; compressed ones through pydicom's decoders.

Each frame is described by its own codestream (`_codestream`) and given to a decoder with that description, not with the
elements of the object. So a decoder is never surprised by a header that is wrong; afterwards the values are brought to
the depth and sign that the object states. Decoders are those of `pydicom.pixels`: Pillow, pylibjpeg (libjpeg,
OpenJPEG), GDCM, and whatever is added to them by `Decoder.add_plugin`. JPEG of 8 bits is decoded as that of a picture file
is, where damage is told.
"""

from __future__ import annotations

import contextlib
import functools
import struct
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging import decode_jpeg
from medvistagym_dicom.reading._codestream import (
    MAX_PACKETS,
    MAX_TILES,
    Codestream,
    CodestreamError,
    read_codestream,
    read_rle_segments,
    with_adobe_marker,
)
from medvistagym_dicom.reading._color import ycbcr_to_rgb
from medvistagym_dicom.reading._dataset import DicomDataset
from medvistagym_dicom.reading._errors import DicomError
from medvistagym_dicom.reading._fragments import locate_frames, read_fragments
from medvistagym_dicom.reading._native_pixels import extract_stored_bits, read_native_pixels
from medvistagym_dicom.reading._pixel_format import NATIVE_SYNTAXES, PixelFormat, is_encapsulated
from medvistagym_dicom.reading._source import max_growth

if TYPE_CHECKING:
    import numpy as np
    from pydicom.pixels.decoders.base import Decoder

RLE: Final = "1.2.840.10008.1.2.5"
_END_OF_IMAGE: Final = b"\xff\xd9"
_SUPPORTED: Final = {
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless SV1",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "HTJ2K Lossless",
    "1.2.840.10008.1.2.4.202": "HTJ2K Lossless RPCL",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
    RLE: "RLE Lossless",
}
# Codec (and whether a sample has more than 8 bits) -> transfer syntax whose decoder reads it, and which plugins, in
# order: those that gave the same values as GDCM on all test files, the fastest first, and no crash or hang on
# damaged frames.
_DECODERS: Final[dict[tuple[str, bool], tuple[str, tuple[str, ...]]]] = {
    ("jpeg", False): ("1.2.840.10008.1.2.4.50", ("pillow",)),
    ("jpeg", True): ("1.2.840.10008.1.2.4.51", ("gdcm", "pylibjpeg")),
    ("jpeg_lossless", False): ("1.2.840.10008.1.2.4.70", ("gdcm", "pylibjpeg")),
    ("jpeg_lossless", True): ("1.2.840.10008.1.2.4.70", ("gdcm", "pylibjpeg")),
    ("jpeg_ls", False): ("1.2.840.10008.1.2.4.80", ("gdcm", "pylibjpeg")),
    ("jpeg_ls", True): ("1.2.840.10008.1.2.4.80", ("gdcm", "pylibjpeg")),
    ("jpeg2000", False): ("1.2.840.10008.1.2.4.91", ("pylibjpeg", "gdcm")),
    ("jpeg2000", True): ("1.2.840.10008.1.2.4.91", ("pylibjpeg", "gdcm")),
    ("htj2k", False): ("1.2.840.10008.1.2.4.203", ("pylibjpeg",)),
    ("htj2k", True): ("1.2.840.10008.1.2.4.203", ("pylibjpeg",)),
}
_PLUGINS: Final = {
    "pillow": ("pydicom.pixels.decoders.pillow", "_decode_frame"),
    "pylibjpeg": ("pydicom.pixels.decoders.pylibjpeg", "_decode_frame"),
    "gdcm": ("medvistagym_dicom.reading._gdcm_decoder", "decode_frame"),
    "medvistagym": ("medvistagym_dicom.reading._rle_decoder", "decode_frame"),
}
_WORKING_BYTES: Final = {
    "jpeg": 4,
    "jpeg_lossless": 8,
    "jpeg_ls": 8,
    "jpeg2000": 16,
    "htj2k": 16,
}  # of decoders, per sample


def read_stored_values(dataset: DicomDataset, pixel_format: PixelFormat) -> np.ndarray:
    """Stored values `(frames, rows, columns)`, or RGB `(frames, rows, columns, 3)`, in the type of the format; maybe read-only.

    Bits that are not stored are cleared and signs extended; YBR colours are converted to RGB (PS3.3 C.7.6.3.1.2),
    palette colours stay indices.

    Raises:
        DicomError: The data are cut off, damaged, or compressed in a way that is not supported.
    """
    name = dataset.source.name
    if dataset.transfer_syntax not in _SUPPORTED and dataset.transfer_syntax not in NATIVE_SYNTAXES:
        names = ", ".join(_SUPPORTED.values())
        raise DicomError(
            "unsupported",
            f"{name}: its compression is not supported here; supported are uncompressed, deflated, {names}",
        )
    if not is_encapsulated(dataset, pixel_format):
        return read_native_pixels(dataset, pixel_format)
    try:
        return _read_frames(dataset, pixel_format)
    except CodestreamError as error:
        reason = "unsupported" if str(error).endswith("not supported") else "corrupt"
        raise DicomError(reason, f"{name}: a compressed frame {error}") from None  # type: ignore[arg-type]


def _read_frames(dataset: DicomDataset, pixel_format: PixelFormat) -> np.ndarray:
    import numpy as np

    is_rle = dataset.transfer_syntax == RLE
    values: np.ndarray | None = None
    with contextlib.closing(dataset.source.open()) as stream:
        frames = locate_frames(stream, dataset, pixel_format.frames, is_rle=is_rle)
        for k, fragments in enumerate(frames):
            data = read_fragments(stream, fragments)
            decode = _decode_rle if is_rle else _decode_codestream
            frame = decode(data, pixel_format, dataset.source.name)
            if values is None:
                values = np.empty((pixel_format.frames, *frame.shape), frame.dtype)
            if frame.dtype.itemsize > values.dtype.itemsize:
                values = values.astype(frame.dtype)
            values[k] = frame
    assert values is not None
    return values


def _decode_rle(data: bytes, pixel_format: PixelFormat, name: str) -> np.ndarray:
    if pixel_format.bits_allocated == 1:
        raise DicomError("unsupported", f"{name}: RLE of single bits is not supported here")
    segments, expected = len(read_rle_segments(data)), pixel_format.samples * pixel_format.bits_allocated // 8
    if segments != expected:
        raise CodestreamError(f"has {segments} segments where its header needs {expected}")
    options = _options(pixel_format, pixel_format.bits_allocated, pixel_format.bits_stored, pixel_format.is_signed)
    values = extract_stored_bits(_decode(("medvistagym",), RLE, data, options), pixel_format)
    is_ycbcr = pixel_format.photometric.startswith("YBR_FULL")
    return ycbcr_to_rgb(values, pixel_format.bits_stored) if is_ycbcr else values


def _decode_codestream(data: bytes, pixel_format: PixelFormat, name: str) -> np.ndarray:
    codestream = read_codestream(data)
    if codestream is None:
        raise CodestreamError("is no JPEG, JPEG-LS or JPEG 2000 image")
    _check_against_header(codestream, pixel_format, len(data), name)
    is_ycbcr = _is_ycbcr(codestream, pixel_format)
    if codestream.codec == "jpeg" and codestream.components == 3 and codestream.precision == 8:
        data, is_ycbcr = with_adobe_marker(data, "YCbCr" if is_ycbcr else "RGB"), False  # then the decoder converts
    data = data[codestream.start :]
    if codestream.codec == "jpeg" and codestream.precision == 8:
        try:
            decoded = decode_jpeg(data, is_colour=codestream.components == 3)
        except ValueError as error:
            raise CodestreamError(str(error).removeprefix("it ")) from None
        if decoded is not None:
            return _as_stored(decoded, codestream, pixel_format)
    allocated = 8 if codestream.precision <= 8 else 16 if codestream.precision <= 16 else 32
    options = _options(pixel_format, allocated, codestream.precision, codestream.is_signed)
    syntax, plugins = _DECODERS[codestream.codec, codestream.precision > 8]
    values = _as_stored(_decode(plugins, syntax, data, options), codestream, pixel_format)
    return ycbcr_to_rgb(values, codestream.precision) if is_ycbcr else values


def _check_against_header(codestream: Codestream, pixel_format: PixelFormat, encoded_bytes: int, name: str) -> None:
    """Refuse a frame that is not of the object's size, or would take a decoder more memory than real images do."""
    rows, columns = pixel_format.rows, pixel_format.columns
    if (codestream.rows, codestream.columns) != (rows, columns):
        sizes = f"{codestream.columns} x {codestream.rows} where the header says {columns} x {rows}"
        raise CodestreamError(f"is {sizes}")
    if codestream.tiles > MAX_TILES:
        raise CodestreamError(f"has more than {MAX_TILES} tiles")
    if codestream.packets > MAX_PACKETS:
        raise CodestreamError(f"has more than {MAX_PACKETS} packets")
    if codestream.components != pixel_format.samples:
        raise CodestreamError(f"has {codestream.components} components where the header says {pixel_format.samples}")
    if codestream.precision > (8 if codestream.codec == "jpeg" and pixel_format.samples == 3 else 32):
        raise CodestreamError(f"has colours of {codestream.precision} bits, which is not supported")
    need = rows * columns * codestream.components * _WORKING_BYTES[codestream.codec] + pixel_format.decoded_bytes
    if need > max_growth(encoded_bytes * pixel_format.frames):
        grown = f"{encoded_bytes} bytes of a compressed frame would take {need / 2**20:.0f} MiB to decode"
        raise DicomError("too_large", f"{name}: {grown}, more than real images do")


def _is_ycbcr(codestream: Codestream, pixel_format: PixelFormat) -> bool:
    """Whether the components are YCbCr: as the codestream says, or else as the header does."""
    if pixel_format.samples != 3:
        return False
    if codestream.colour is not None:
        return codestream.colour == "YCbCr"
    photometric = pixel_format.photometric
    if codestream.codec == "jpeg":
        return photometric != "RGB"
    return photometric.startswith(("YBR_FULL", "YBR_PARTIAL"))


def _options(pixel_format: PixelFormat, allocated: int, stored: int, is_signed: bool) -> dict[str, Any]:
    """What pydicom's decoders need to know of a frame."""
    return {
        "rows": pixel_format.rows, "columns": pixel_format.columns, "samples_per_pixel": pixel_format.samples,
        "bits_allocated": allocated, "bits_stored": stored, "pixel_representation": int(is_signed), "number_of_frames": 1,
        "photometric_interpretation": "MONOCHROME2" if pixel_format.samples == 1 else "RGB", "planar_configuration": 0,
    }  # fmt: skip


def _decode(plugins: tuple[str, ...], syntax: str, data: bytes, options: dict[str, Any]) -> np.ndarray:
    """The samples of a frame `(rows, columns)` or `(rows, columns, 3)`, by the first plugin that decodes it."""
    import numpy as np

    decoder = _decoder(syntax)
    shape = (options["rows"], options["columns"])
    padding = b"\0" * (len(data) % 2)
    # One fragment behind an empty offset table (PS3.5 A.4), as pydicom takes frames.
    encapsulated = struct.pack("<HHIHHI", 0xFFFE, 0xE000, 0, 0xFFFE, 0xE000, len(data) + len(padding)) + data + padding
    for plugin in plugins:
        if plugin == "pylibjpeg" and "gdcm" in plugins[:1] and not data.rstrip(b"\0").endswith(_END_OF_IMAGE):
            continue  # libjpeg fills what was cut off with grey, and says nothing
        try:
            buffer, properties = next(
                decoder.iter_buffer(encapsulated, decoding_plugin=plugin, validate=False, **options)
            )
        except CodestreamError:
            raise
        except (RuntimeError, ValueError, NotImplementedError, OSError, struct.error):
            continue
        kind = f"<{'i' if options['pixel_representation'] else 'u'}{int(properties['bits_allocated']) // 8}"
        values = np.frombuffer(buffer, kind)
        if values.size != shape[0] * shape[1] * options["samples_per_pixel"]:
            continue
        if options["samples_per_pixel"] == 1:
            return values.reshape(shape)
        if properties["planar_configuration"] == 1:
            return np.moveaxis(values.reshape(3, *shape), 0, -1)
        return values.reshape(*shape, 3)
    raise CodestreamError("is damaged")


@functools.cache
def _decoder(syntax: str) -> Decoder:
    """A decoder of pydicom with the plugins that are used here; that of `Dataset.pixel_array` stays as it is."""
    from pydicom.pixels.decoders.base import Decoder
    from pydicom.uid import UID

    decoder = Decoder(UID(syntax))
    wanted = {RLE: ("medvistagym",), **dict(_DECODERS.values())}[syntax]
    for label in wanted:
        decoder.add_plugin(label, _PLUGINS[label])
    return decoder


def _as_stored(values: np.ndarray, codestream: Codestream, pixel_format: PixelFormat) -> np.ndarray:
    """Samples as the object stores them: of its sign, and of its type unless a codestream is deeper.

    JPEG-LS and JPEG know no sign, and JPEG 2000 images of signed values are often written as unsigned ones: then the
    highest bit of the precision is the sign, or that of the stored bits if they are fewer. JPEG of 12 bits in 16 stored
    ones is positive.
    """
    precision, bits = codestream.precision, 8 * values.dtype.itemsize
    allocated = max(bits, pixel_format.bits_allocated)
    if pixel_format.is_signed and not codestream.is_signed:
        is_jpeg = codestream.codec in ("jpeg", "jpeg_lossless")
        shift = allocated - (pixel_format.bits_stored if is_jpeg else min(precision, pixel_format.bits_stored))
        return (values.astype(f"i{allocated // 8}") << shift) >> shift
    if codestream.is_signed and not pixel_format.is_signed:
        return values.astype(f"u{allocated // 8}") & ((1 << precision) - 1)
    return values.astype(f"{'i' if pixel_format.is_signed else 'u'}{allocated // 8}", copy=False)
