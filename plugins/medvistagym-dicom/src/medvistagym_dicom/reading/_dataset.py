"""The attributes of a DICOM object that are read, by keyword, and their values as numbers and words."""

from __future__ import annotations

import dataclasses
import functools
import math
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from medvistagym_dicom.reading._source import Source
from medvistagym_dicom.reading._tag_allowlist import allowed_tags

if TYPE_CHECKING:
    from pydicom.dataelem import RawDataElement

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"
DICOMDIR_CLASS: Final = "1.2.840.10008.1.3.10"
_BINARY_FORMATS: Final = {
    "US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "AT": "I", "UV": "Q", "SV": "q",
}  # fmt: skip


_FEW: Final = 16


class PixelDataElement(NamedTuple):
    """Where the pixel data of an object lie.

    Attributes:
        keyword: "PixelData", "FloatPixelData" or "DoubleFloatPixelData".
        vr: Its value representation; "" where the file does not tell.
        offset: Where its value begins.
        length: Of its value in bytes; None where it is a sequence of fragments of undefined length.
    """

    keyword: str
    vr: str
    offset: int
    length: int | None


@dataclasses.dataclass(slots=True)
class DicomDataset:
    """The attributes of an object or sequence item that this plugin reads, by keyword.

    Attributes:
        source: The file that it was read from.
        is_little_endian: Byte order of binary values.
        elements: Keyword to element, as pydicom read it, or to the items of a sequence.
        transfer_syntax: Its UID; only set on the object itself, as are all below.
        media_class: UID of the class of object that the file meta information tells.
        pixel_data: Where the pixel data lie; None when there are none.
    """

    source: Source
    is_little_endian: bool = True
    elements: dict[str, RawDataElement | list[DicomDataset]] = dataclasses.field(default_factory=dict, repr=False)
    transfer_syntax: str = ""
    media_class: str = ""
    pixel_data: PixelDataElement | None = None
    _lists: dict[str, tuple[float, ...]] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.elements

    def bytes_value(self, keyword: str) -> bytes:
        """The value of an element as it lies in the file; empty when it is absent."""
        element = self.elements.get(keyword)
        if element is None or isinstance(element, list):
            return b""
        if element.value is None and element.length:
            return self.source.read(element.value_tell, element.length)
        return bytes(element.value or b"")

    def leading_bytes(self, keyword: str, count: int) -> bytes:
        """The first bytes of an element as they lie in the file; fewer where it is shorter."""
        element = self.elements.get(keyword)
        if element is None or isinstance(element, list) or element.value is not None:
            return self.bytes_value(keyword)[:count]
        return self.source.read(element.value_tell, min(count, element.length))

    def components(self, keyword: str) -> tuple[float | None, ...]:
        """The components of a numeric element in their order; None for one that is empty or no finite number."""
        element = self.elements.get(keyword)
        if element is None or isinstance(element, list):
            return ()
        raw, vr = self.bytes_value(keyword), _vr_of(element.VR, keyword)
        if vr in _BINARY_FORMATS:
            code = _BINARY_FORMATS[vr]
            count = len(raw) // struct.calcsize("=" + code)
            order = "<" if self.is_little_endian else ">"
            numbers = struct.unpack_from(f"{order}{count}{code}", raw)
            return tuple(v if math.isfinite(v) else None for v in numbers)
        return tuple(_decimal(text) for text in raw.split(b"\\")) if raw else ()

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """The finite numbers of an element; empty when it is absent, empty or not numeric."""
        if keyword in self._lists:
            return self._lists[keyword]
        numbers = tuple(v for v in self.components(keyword) if v is not None)
        if len(numbers) > _FEW or self.pixel_data is not None:  # each frame may ask for what is said of all
            self._lists[keyword] = numbers
        return numbers

    def number(self, keyword: str) -> float | None:
        """First number of an element, or None."""
        return next(iter(self.numbers(keyword)), None)

    def is_no_number(self, keyword: str) -> bool:
        """Whether an element has a first value, which is no finite number."""
        components = self.components(keyword)
        return (
            bool(components) and components[0] is None and bool(self.bytes_value(keyword).split(b"\\")[0].strip(b" \0"))
        )

    def integer(self, keyword: str, default: int) -> int:
        """First number of an element as an integer, or the default."""
        value = self.number(keyword)
        return default if value is None else int(value)

    def strings(self, keyword: str) -> tuple[str, ...]:
        """Values of a text element without blanks; empty when it is absent. Not safe to show before it is checked."""
        raw = self.bytes_value(keyword)
        return tuple(w.strip(" \0") for w in raw.decode("ascii", "replace").split("\\")) if raw else ()

    def string(self, keyword: str) -> str:
        """First value of a text element, or an empty string."""
        return next(iter(self.strings(keyword)), "")

    def items(self, keyword: str) -> list[DicomDataset]:
        """Items of a sequence, or none."""
        element = self.elements.get(keyword)
        return element if isinstance(element, list) else []


def _vr_of(vr: str | None, keyword: str) -> str:
    """The value representation that the file states, or that of the dictionary where it states none of use."""
    own = _dictionary_vrs()[keyword]
    return own if vr in (None, "", "UN") or own == "OW" else str(vr)


@functools.cache
def _dictionary_vrs() -> dict[str, str]:
    return {allowed.keyword: allowed.vr for allowed in allowed_tags().values()}


def _decimal(text: bytes) -> float | None:
    """A decimal string (PS3.5 6.2); a comma in it is a decimal one, which some programs write against the standard."""
    text = text.strip(b" \0")
    if not text or b"_" in text:
        return None
    if text.count(b",") == 1 and b"." not in text:
        text = text.replace(b",", b".")
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
