"""Lookup tables of DICOM: their descriptor, their entries, and values through them (PS3.3 C.7.6.3.1.5, C.11.1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from medvistagym_dicom.reading._blocks import row_blocks
from medvistagym_dicom.reading._errors import DicomError

if TYPE_CHECKING:
    import numpy as np

MAX_ENTRIES: Final = 1 << 16


class LutEntries(NamedTuple):
    """A lookup table: the first value that it maps, the bits of an entry as it states them, and its unsigned entries."""

    first: int
    bits: int
    entries: np.ndarray


def read_lut(descriptor: tuple[float, ...], data: bytes, *, is_signed: bool, is_little: bool, name: str) -> LutEntries:
    """A lookup table.

    Entries are 8 bits wide only if there are too few bytes for 16, since many writers pad entries of 8 bits to 16 (PS3.3
    C.11.1.1.1, C.11.2.1.1).

    Args:
        descriptor: Number of entries (0 means 65536), first value mapped, bits per entry; as signed or unsigned numbers.
        data: The entries.
        is_signed: Whether the first value mapped is a signed number.
        is_little: Byte order of the entries.
        name: The file's name, for errors.

    Raises:
        DicomError: The table is incomplete, or begins at no number of 16 bits.
    """
    import numpy as np

    if len(descriptor) != 3:
        raise DicomError("corrupt", f"{name}: a lookup table has no complete descriptor")
    count, first = int(descriptor[0]) % MAX_ENTRIES or MAX_ENTRIES, int(descriptor[1])
    if is_signed and first > 32767:
        first -= 65536
    if not -32768 <= first <= 65535:
        raise DicomError("corrupt", f"{name}: a lookup table begins at {first:g}, which is no number of 16 bits")
    kind = np.dtype(("<" if is_little else ">") + ("u2" if len(data) >= 2 * count else "u1"))
    entries = read_words(data, kind, count, is_little=is_little)
    if len(entries) < count:
        raise DicomError("corrupt", f"{name}: a lookup table holds {len(entries)} of its {count} entries")
    return LutEntries(first, int(descriptor[2]), entries)


def apply_lut(values: np.ndarray, lut: LutEntries) -> np.ndarray:
    """Stored integers of any shape through a lookup table: unsigned 16-bit results, at its ends clipped."""
    import numpy as np

    entries = lut.entries.astype(np.uint16)
    out = np.empty(values.shape, np.uint16)
    for source, target in row_blocks(values, out):
        np.take(entries, source.astype(np.int64) - lut.first, out=target, mode="clip")
    return out


def read_words(data: bytes, kind: np.dtype[Any], count: int, *, is_little: bool) -> np.ndarray:
    """The first words of a table. Bytes lie in words of two, which are swapped in a big-endian file (PS3.5 7.3)."""
    import numpy as np

    if kind.itemsize == 1 and not is_little and len(data) % 2 == 0:
        return np.frombuffer(data, np.uint8).reshape(-1, 2)[:, ::-1].reshape(-1)[:count]
    return np.frombuffer(data, kind)[:count] if kind.itemsize == 1 else np.frombuffer(data, kind, count)
