"""From stored values to physical ones or to colours: rescaling, lookup tables, palettes, and the unit that results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medvistagym_dicom import attributes as facts
from medvistagym_dicom.errors import DicomError
from medvistagym_dicom.geometry import macro
from medvistagym_dicom.header import Header
from medvistagym_dicom.pixels import Layout

if TYPE_CHECKING:
    import numpy as np


def palette(header: Header, shape: Layout, stored: np.ndarray, name: str) -> np.ndarray:
    """Indices to 8-bit RGB (PS3.3 C.7.6.3.1.5); entries of 16 bits lose their lower half."""
    import numpy as np

    planes = []
    for colour in ("Red", "Green", "Blue"):
        descriptor = header.numbers(f"{colour}PaletteColorLookupTableDescriptor")
        data = header.raw(f"{colour}PaletteColorLookupTableData")
        segments = header.raw(f"Segmented{colour}PaletteColorLookupTableData")
        little = header.little
        if not data and segments and len(descriptor) == 3:
            data = expanded(segments, bits=int(descriptor[2]), little=little, name=name)
            little = True
        planes.append(lookup(stored, descriptor, data, signed=shape.signed, little=little, name=name))
    rgb = np.stack(planes, -1)
    return (rgb >> 8 if int(rgb.max()) > 255 else rgb).astype(np.uint8)


def physical(
    header: Header, shape: Layout, stored: np.ndarray, modality: str | None, name: str
) -> tuple[np.ndarray, str]:
    """Values after the modality transformation (PS3.3 C.11.1), and their unit."""
    import numpy as np

    for table in header.items("ModalityLUTSequence")[:1]:
        if stored.dtype.kind != "f":
            values = lookup(
                stored,
                table.numbers("LUTDescriptor"),
                table.raw("LUTData"),
                signed=shape.signed,
                little=header.little,
                name=name,
            )
            return values, facts.RESCALE_UNITS.get(table.word("ModalityLUTType").upper(), "raw")
    transforms = [macro(header, k, "PixelValueTransformationSequence") for k in range(shape.frames)]
    scales = [scale(transform if transform.numbers("RescaleSlope") else header) for transform in transforms]
    kind = (transforms[0].word("RescaleType") or header.word("RescaleType")).upper()
    unit = facts.RESCALE_UNITS.get(kind, "raw")
    if not kind and modality == "CT" and not facts.is_localizer(header):
        unit = "HU"
    if modality == "PT":
        unit = facts.PET_UNITS.get(header.word("Units").upper(), unit)
    if modality == "RTDOSE":
        unit = facts.DOSE_UNITS.get(header.word("DoseUnits").upper(), "raw")
        scales = [(float(header.number("DoseGridScaling") or 1.0), 0.0)] * shape.frames
    if modality == "SEG":
        unit = "label"
    if unit == "raw" and stored.dtype == np.uint8 and set(scales) == {(1.0, 0.0)}:
        unit = "grey"
    if len(set(scales)) == 1:
        return _rescaled(stored, *scales[0]), unit
    return np.stack(
        [_rescaled(frame, *scale).astype(np.float32) for frame, scale in zip(stored, scales, strict=True)]
    ), unit


def scale(header: Header) -> tuple[float, float]:
    """Slope and intercept of the rescaling; 1 and 0 where the file has none."""
    slope, intercept = header.number("RescaleSlope"), header.number("RescaleIntercept")
    return (1.0 if slope is None or slope == 0 else float(slope)), (0.0 if intercept is None else float(intercept))


def _rescaled(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """`slope * stored + intercept`: the least of int16, int32 and int64 when all are integers, otherwise float32."""
    import numpy as np

    if (slope, intercept) == (1.0, 0.0):
        return stored
    if stored.dtype.kind == "f" or not (slope.is_integer() and intercept.is_integer()):
        return (stored.astype(np.float64) * slope + intercept).astype(np.float32)
    ends = [int(stored.min()), int(stored.max())]
    ends += [int(slope) * end + int(intercept) for end in ends] + [int(slope), int(intercept)]
    for kind in (np.int16, np.int32, np.int64):
        limits = np.iinfo(kind)
        if limits.min <= min(ends) and max(ends) <= limits.max and abs(int(slope)) * max(map(abs, ends)) <= limits.max:
            whole: np.ndarray = stored.astype(kind) * np.array(slope, kind) + np.array(intercept, kind)
            return whole
    return (stored.astype(np.float64) * slope + intercept).astype(np.float32)


def lookup(
    values: np.ndarray, descriptor: tuple[float, ...], data: bytes, *, signed: bool, little: bool, name: str
) -> np.ndarray:
    """Values through one lookup table of DICOM (PS3.3 C.7.6.3.1.5, C.11.1.1): unsigned 16-bit results.

    Args:
        values: Stored integers of any shape.
        descriptor: Number of entries (0 means 65536), first value mapped, bits per entry.
        data: The entries, 8 or 16 bits each.
        signed: Whether the first value mapped is a signed number.
        little: Byte order of the entries.
        name: The file's name, for errors.

    Raises:
        DicomError: The table is incomplete.
    """
    import numpy as np

    first, entries = entries_of(descriptor, data, signed=signed, little=little, name=name)
    index = np.clip(values.astype(np.int64) - first, 0, len(entries) - 1)
    taken: np.ndarray = entries.astype(np.uint16)[index]
    return taken


def entries_of(
    descriptor: tuple[float, ...], data: bytes, *, signed: bool, little: bool, name: str
) -> tuple[int, np.ndarray]:
    """The first value that a lookup table of DICOM maps, and its unsigned entries.

    Entries are 8 bits wide only if there are too few bytes for 16, since many writers pad entries of 8 bits to 16 (PS3.3
    C.11.1.1.1, C.11.2.1.1).

    Args:
        descriptor: Number of entries (0 means 65536), first value mapped, bits per entry; as signed or unsigned numbers.
        data: The entries.
        signed: Whether the first value mapped is a signed number.
        little: Byte order of the entries.
        name: The file's name, for errors.

    Raises:
        DicomError: The table is incomplete, or begins at no number of 16 bits.
    """
    import numpy as np

    if len(descriptor) != 3:
        raise DicomError("corrupt", f"{name}: a lookup table has no complete descriptor")
    count, first = int(descriptor[0]) % 65536 or 65536, int(descriptor[1])
    if signed and first > 32767:
        first -= 65536
    if not -32768 <= first <= 65535:
        raise DicomError("corrupt", f"{name}: a lookup table begins at {first:g}, which is no number of 16 bits")
    kind = np.dtype(("<" if little else ">") + ("u2" if len(data) >= 2 * count else "u1"))
    entries = _words(data, kind, count, little=little)
    if len(entries) < count:
        raise DicomError("corrupt", f"{name}: a lookup table holds {len(entries)} of its {count} entries")
    return first, entries


def expanded(data: bytes, *, bits: int, little: bool, name: str) -> bytes:
    """Entries of a segmented palette written out (PS3.3 C.7.9.2), in the same width and little-endian.

    Raises:
        DicomError: The segments are damaged.
    """
    import numpy as np

    kind = np.dtype(("<" if little else ">") + ("u2" if bits > 8 else "u1"))
    words: list[int] = _words(data, kind, len(data) // kind.itemsize, little=little).tolist()
    entries: list[int] = []
    size = 2 if kind.itemsize == 2 else 4  # words of a 32-bit offset

    def segment(at: int, nested: bool) -> int:
        code, count = words[at], words[at + 1]
        if code == 0 and count:
            entries.extend(words[at + 2 : at + 2 + count])
            return at + 2 + count
        if code == 1 and count and entries:
            first, last = entries[-1], words[at + 2]
            entries.extend(round(first + (last - first) * k / count) for k in range(1, count + 1))
            return at + 3
        if code == 2 and not nested:
            offset = sum(word << (8 * kind.itemsize * k) for k, word in enumerate(words[at + 2 : at + 2 + size]))
            inner = offset // kind.itemsize
            for _ in range(count):
                inner = segment(inner, True)
            return at + 2 + size
        raise DicomError("corrupt", f"{name}: its segmented palette is damaged")

    at = 0
    while at + 2 < len(words):
        at = segment(at, False)
        if len(entries) > 65536:
            raise DicomError("corrupt", f"{name}: its segmented palette is damaged")
    return np.array(entries, kind.newbyteorder("<")).tobytes()


def _words(data: bytes, kind: np.dtype[Any], count: int, *, little: bool) -> np.ndarray:
    """The first words of a table. Bytes lie in words of two, which are swapped in a big-endian file (PS3.5 7.3)."""
    import numpy as np

    if kind.itemsize == 1 and not little and len(data) % 2 == 0:
        return np.frombuffer(data, np.uint8).reshape(-1, 2)[:, ::-1].reshape(-1)[:count]
    return np.frombuffer(data, kind)[:count] if kind.itemsize == 1 else np.frombuffer(data, kind, count)
