"""Shape and storage of the pixels of a DICOM object (PS3.3 C.7.6.3, Image Pixel module), and what decoding them will take."""

from __future__ import annotations

import dataclasses
from typing import Final

from medvistagym_dicom.reading._dataset import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, DicomDataset
from medvistagym_dicom.reading._errors import DicomError
from medvistagym_dicom.reading._source import max_growth

PHOTOMETRICS: Final = (
    "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420",
    "YBR_ICT", "YBR_RCT",
)  # fmt: skip
GREY_PHOTOMETRICS: Final = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
MAX_FRAMES: Final = 100_000
_ITEM_BYTES: Final = 8  # of the item that each compressed frame begins with
_ITEM_TAG: Final = b"\xfe\xff\x00\xe0"
NATIVE_SYNTAXES: Final = frozenset((IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED))
_FLOAT_BITS: Final = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}
# Spelling without blanks and underscores -> defined term; writers vary both, and the case.
_SPELLINGS: Final = {term.replace(" ", "").replace("_", ""): term for term in PHOTOMETRICS}


@dataclasses.dataclass(frozen=True)
class PixelFormat:
    """Shape and storage of an object's pixels, checked against each other and against the memory limits.

    Attributes:
        bits_allocated: Bits of storage per sample; 1, 8, 16, 32 or 64.
        bits_stored: Bits that carry the value.
        high_bit: Position of its highest bit.
        is_signed: Whether values are two's complement.
        is_planar: Whether colours are stored plane by plane.
        photometric: One of `PHOTOMETRICS`.
        is_float: Whether values are floating point numbers.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    is_planar: bool
    photometric: str
    is_float: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """`(frames, rows, columns)`, and 3 for colour."""
        return (self.frames, self.rows, self.columns, *((3,) if self.samples == 3 else ()))

    @property
    def dtype(self) -> str:
        """Native NumPy type of stored values, such as `i2`."""
        return ("f" if self.is_float else "i" if self.is_signed else "u") + str(max(1, self.bits_allocated // 8))

    @property
    def decoded_bytes(self) -> int:
        """Size of the stored values in memory."""
        return self.rows * self.columns * self.frames * self.samples * max(1, self.bits_allocated // 8)


def read_pixel_format(dataset: DicomDataset, *, max_bytes: int) -> PixelFormat:
    """Format of an object's pixels, before any of them is allocated.

    Raises:
        DicomError: There are no pixels, their description is impossible or not supported, or they need more than
            `max_bytes`, or
            more than compressed data of their size can hold.
    """
    name = dataset.source.name
    if dataset.pixel_data is None:
        raise DicomError("no_pixels", f"{name}: it holds no image, only a DICOM header; if it should, it was cut off")
    rows, columns = dataset.integer("Rows", 0), dataset.integer("Columns", 0)
    frames = max(1, dataset.integer("NumberOfFrames", 1))
    samples = dataset.integer("SamplesPerPixel", 1)
    if rows < 1 or columns < 1:
        raise DicomError("corrupt", f"{name}: it has no pixels, its header says {columns} x {rows}")
    float_bits = _FLOAT_BITS.get(dataset.pixel_data.keyword, 0)
    allocated = float_bits or dataset.integer("BitsAllocated", 0)
    _check_size(name, rows * columns * samples * max(1, allocated // 8), columns, rows, frames, max_bytes)
    photometric = _photometric(dataset, samples)
    stored, high = _bit_layout(dataset, allocated, float_bits)
    is_signed = dataset.integer("PixelRepresentation", 0) == 1
    is_planar = samples == 3 and dataset.integer("PlanarConfiguration", 0) == 1
    pixel_format = PixelFormat(
        rows, columns, frames, samples, allocated, stored, high, is_signed, is_planar, photometric, bool(float_bits)
    )
    _check_frames(dataset, pixel_format)
    _check_growth(dataset, pixel_format)
    return pixel_format


def is_encapsulated(dataset: DicomDataset, pixel_format: PixelFormat) -> bool:
    """Whether the pixel data are fragments, whatever the transfer syntax says; some writers name the wrong one."""
    element = dataset.pixel_data
    assert element is not None
    if element.length is None:
        return True
    is_complete = element.length * 8 >= pixel_format.decoded_bytes * min(8, pixel_format.bits_allocated)
    if dataset.transfer_syntax in NATIVE_SYNTAXES and is_complete:
        return False
    return dataset.source.read(element.offset, 4) == _ITEM_TAG


def _check_size(name: str, frame_bytes: int, columns: int, rows: int, frames: int, max_bytes: int) -> None:
    need = frame_bytes * frames
    if need > max_bytes:
        raise DicomError(
            "too_large",
            f"{name}: {columns} x {rows} pixels in {_brief(frames)} frame{'s' * (frames > 1)} need "
            f"{_brief(need >> 20)} MiB, above the limit of {max_bytes / 2**20:.0f} MiB",
        )
    if frames > MAX_FRAMES:
        raise DicomError("too_large", f"{name}: it has {frames} frames, above the limit of {MAX_FRAMES}")


def _brief(number: int) -> str:
    return str(number) if number < 10**12 else f"{number:.3g}"


def _photometric(dataset: DicomDataset, samples: int) -> str:
    name = dataset.source.name
    text = dataset.string("PhotometricInterpretation") or ("MONOCHROME2" if samples == 1 else "RGB")
    photometric = _SPELLINGS.get(text.upper().replace(" ", "").replace("_", ""))
    if photometric is None:
        raise DicomError("unsupported", f"{name}: its photometric interpretation is none of {', '.join(PHOTOMETRICS)}")
    if samples != (1 if photometric in GREY_PHOTOMETRICS else 3):
        raise DicomError("corrupt", f"{name}: {photometric} pixels cannot have {samples} samples")
    return photometric


def _bit_layout(dataset: DicomDataset, allocated: int, float_bits: int) -> tuple[int, int]:
    """Bits stored, and the position of the highest of them.

    A high bit that cannot be, with as many bits below it as are stored, is not believed: values then lie at the lower end, as
    PS3.3 has demanded since High Bit became one less than Bits Stored (C.7.6.3.1).
    """
    if float_bits:
        return float_bits, float_bits - 1
    stored = dataset.integer("BitsStored", allocated)
    high = dataset.integer("HighBit", stored - 1)
    if 1 < allocated < 64 and allocated not in (8, 16, 32):
        text = f"samples of {allocated} bits are not supported here, those of 1, 8, 16, 32 and 64 are"
        raise DicomError("unsupported", f"{dataset.source.name}: {text}")
    if allocated not in (1, 8, 16, 32, 64) or not 1 <= stored <= allocated:
        text = f"{stored} bits stored in {allocated}, with high bit {high}, is impossible"
        raise DicomError("corrupt", f"{dataset.source.name}: {text}")
    return stored, high if stored - 1 <= high < allocated else stored - 1


def _check_frames(dataset: DicomDataset, pixel_format: PixelFormat) -> None:
    """Refuse more frames than the file has bytes for, before a place is worked out for each of them."""
    element, source = dataset.pixel_data, dataset.source
    assert element is not None
    if pixel_format.frames == 1 or source.deflated_at is not None:
        return
    if dataset.transfer_syntax not in NATIVE_SYNTAXES or is_encapsulated(dataset, pixel_format):
        if _ITEM_BYTES * pixel_format.frames > source.size:
            held = f"it has {pixel_format.frames} compressed frames, and {source.size} bytes hold fewer"
            raise DicomError("corrupt", f"{source.name}: {held}")
        return
    assert element.length is not None
    held_bytes = min(element.length, source.size - element.offset)
    samples = pixel_format.rows * pixel_format.columns * pixel_format.frames * pixel_format.samples
    if pixel_format.photometric.endswith("_422"):
        samples = samples // 3 * 2  # it may share a pair of chrominances between two pixels
    need = (samples * pixel_format.bits_allocated + 7) // 8
    if held_bytes < need:
        held = f"its pixel data hold {held_bytes} of the {need} bytes that its header promises"
        raise DicomError("truncated", f"{source.name}: {held}")


def _check_growth(dataset: DicomDataset, pixel_format: PixelFormat) -> None:
    """Refuse compressed and deflated pixels that would grow to much more memory than real images do.

    Counted are the stored values, and those that come of them: numbers of 4 bytes by rescaling, 3 bytes by a palette.
    """
    assert dataset.pixel_data is not None
    is_deflated = dataset.source.deflated_at is not None
    if not is_deflated and dataset.transfer_syntax in NATIVE_SYNTAXES and pixel_format.bits_allocated > 1:
        return  # then the file is as large as its pixels
    pixels = pixel_format.rows * pixel_format.columns * pixel_format.frames
    need = pixel_format.decoded_bytes
    if is_deflated:
        need += need if pixel_format.bits_allocated > 1 else need // 8
    if pixel_format.photometric == "PALETTE COLOR":
        need += 3 * pixels
    elif "RescaleSlope" in dataset or "ModalityLUTSequence" in dataset or "DoseGridScaling" in dataset:
        need += 4 * pixels
    if need > max_growth(dataset.source.size):
        grown = f"its {dataset.source.size} bytes would grow to {need / 2**20:.0f} MiB"
        raise DicomError("too_large", f"{dataset.source.name}: {grown}, more than compressed images do")
