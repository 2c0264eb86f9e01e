"""Palette colours: indices to RGB through lookup tables, whole or segmented (PS3.3 C.7.6.3.1.5, C.7.9.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvistagym_dicom.reading._dataset import DicomDataset
from medvistagym_dicom.reading._errors import DicomError
from medvistagym_dicom.reading._lookup_table import MAX_ENTRIES, apply_lut, read_lut, read_words
from medvistagym_dicom.reading._pixel_format import PixelFormat

if TYPE_CHECKING:
    import numpy as np


def apply_palette_lut(dataset: DicomDataset, pixel_format: PixelFormat, stored: np.ndarray) -> np.ndarray:
    """Indices `(frames, rows, columns)` to 8-bit RGB `(frames, rows, columns, 3)`; of deeper entries the upper 8 bits.

    Entries that say that they have 16 bits, and are all below 256, have 8: many writers state the size of the word.
    """
    import numpy as np

    name, is_signed = dataset.source.name, pixel_format.is_signed
    tables = []
    for colour in ("Red", "Green", "Blue"):
        descriptor = dataset.numbers(f"{colour}PaletteColorLookupTableDescriptor")
        data = dataset.bytes_value(f"{colour}PaletteColorLookupTableData")
        segments = dataset.bytes_value(f"Segmented{colour}PaletteColorLookupTableData")
        is_little = dataset.is_little_endian
        if not data and segments and len(descriptor) == 3:
            data = expand_segmented_lut(segments, bits=int(descriptor[2]), is_little=is_little, name=name)
            is_little = True
        tables.append(read_lut(descriptor, data, is_signed=is_signed, is_little=is_little, name=name))
    top = max(int(table.entries.max()) for table in tables)
    shift = 8 if top > 255 else 0
    rgb = np.empty((*stored.shape, 3), np.uint8)
    for k, table in enumerate(tables):
        rgb[..., k] = apply_lut(stored, table._replace(entries=table.entries >> shift))
    return rgb


def expand_segmented_lut(data: bytes, *, bits: int, is_little: bool, name: str) -> bytes:
    """Entries of a segmented palette written out (PS3.3 C.7.9.2), in the same width and little-endian.

    Raises:
        DicomError: The segments are damaged, or make more entries than a table can have.
    """
    import numpy as np

    kind = np.dtype(("<" if is_little else ">") + ("u2" if bits > 8 else "u1"))
    words: list[int] = read_words(data, kind, len(data) // kind.itemsize, is_little=is_little).tolist()
    entries: list[int] = []
    offset_words = 2 if kind.itemsize == 2 else 4  # of the 32-bit offset of an indirect segment
    damaged = DicomError("corrupt", f"{name}: its segmented palette is damaged")

    def expand(at: int, *, is_nested: bool) -> int:
        """Expand the segment at a word; the word behind it."""
        code, count = words[at], words[at + 1]
        if code in (0, 1) and len(entries) + count > MAX_ENTRIES:
            raise damaged
        if code == 0 and count:  # discrete
            entries.extend(words[at + 2 : at + 2 + count])
            return at + 2 + count
        if code == 1 and count and entries:  # linear, from the entry before
            first, last = entries[-1], words[at + 2]
            entries.extend(round(first + (last - first) * k / count) for k in range(1, count + 1))
            return at + 3
        if code == 2 and not is_nested:  # indirect: segments that are repeated
            offset = sum(
                word << (8 * kind.itemsize * k) for k, word in enumerate(words[at + 2 : at + 2 + offset_words])
            )
            inner = offset // kind.itemsize
            for _ in range(count):
                inner = expand(inner, is_nested=True)
            return at + 2 + offset_words
        raise damaged

    at = 0
    try:
        while at + 2 < len(words):
            at = expand(at, is_nested=False)
    except IndexError:
        raise damaged from None
    return np.array(entries, kind.newbyteorder("<")).tobytes()
