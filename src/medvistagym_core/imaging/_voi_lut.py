"""How values are displayed: windows and lookup tables, which say what grey level a value gets."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from medvistagym_core.imaging._grayscale import apply_display, apply_window_inplace

if TYPE_CHECKING:
    import numpy as np


MAX_ENTRIES: Final = 65536


@dataclasses.dataclass(frozen=True)
class Window:
    """How stored values become grey levels (DICOM PS3.3 C.11.2.1).

    Attributes:
        center: Value shown as mid-grey, in the unit of the pixels.
        width: Range of values spread over all grey levels, in the same unit.
        function: VOI LUT function, DICOM PS3.3 C.11.2.1.2 (linear), C.11.2.1.3.2 (linear exact), C.11.2.1.3.1 (sigmoid).
        name: What the window is for, such as "lung".

    Raises:
        ValueError: Center or width is not finite, or the width is below 1 (linear), or not above 0 (the others).
    """

    center: float
    width: float
    function: Literal["linear", "linear_exact", "sigmoid"] = "linear"
    name: str | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.center) and math.isfinite(self.width)):
            raise ValueError(f"a window needs a finite center and width, not {self.center} and {self.width}")
        least = 1.0 if self.function == "linear" else 0.0
        if self.width < least or self.width == 0:
            raise ValueError(
                f"the width of a {self.function} window must be {'at least 1' if least else 'above 0'}, not {self.width:g}"
            )

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Map values of any shape to float32 grey levels in 0 to 255; NaN becomes 0."""
        return apply_display(values, self)

    def apply_inplace(self, values: np.ndarray) -> None:
        """Replace float32 values by grey levels in 0 to 255, not rounded; NaN becomes 0."""
        apply_window_inplace(values, self.center, self.width, self.function)

    @property
    def affine(self) -> tuple[float, float] | None:
        """What is taken from a value and what that is divided by, in float32, before 1/2 is added; None if it is no line."""
        import numpy as np

        with np.errstate(over="ignore"):
            c, w = np.float32(self.center), np.float32(self.width)
        if self.function == "sigmoid" or (self.function == "linear" and w == 1) or not np.isfinite((c, w)).all():
            return None
        if self.function == "linear":
            c, w = c - np.float32(0.5), w - np.float32(1)
        return float(c), float(w)


@dataclasses.dataclass(frozen=True, repr=False)
class LookupTable:
    """Grey levels written out for every value, where no window has their shape (a VOI LUT, DICOM PS3.3 C.11.2.1.1).

    A value below the first one listed gets the first entry, a value above the last one the last entry. Values between whole
    numbers, which resampling makes, get what lies between their entries.

    Attributes:
        first: The value that the first entry is for, from -32768 to 65535.
        entries: The entry of that value and of each whole number after it: unsigned 16-bit numbers, little-endian.
        max_output: The entry that is shown white; 0 is black. It is at least 1 and no entry is above it.
        name: What the table is for.

    Raises:
        ValueError: `first` or `max_output` is out of range, or there are none or more than 65536 entries.
    """

    first: int
    entries: bytes
    max_output: int
    name: str | None = None

    def __post_init__(self) -> None:
        import numpy as np

        if type(self.first) is not int or not -32768 <= self.first <= 65535:
            raise ValueError(f"a lookup table begins at a whole number from -32768 to 65535, not at {self.first!r}")
        count, odd = divmod(len(self.entries), 2)
        if odd or not 1 <= count <= MAX_ENTRIES:
            raise ValueError(f"a lookup table has 1 to {MAX_ENTRIES} entries of 2 bytes, not {len(self.entries)} bytes")
        highest = int(np.frombuffer(self.entries, "<u2").max())
        if not max(1, highest) <= self.max_output <= 65535:
            raise ValueError(
                f"the top of a lookup table lies from its highest entry, {highest}, to 65535, not at {self.max_output}"
            )

    @classmethod
    def from_entries(
        cls, first: int | np.integer[Any], entries: Sequence[int] | np.ndarray, top: int, name: str | None = None
    ) -> LookupTable:
        """The table of a sequence or one-dimensional array of whole numbers from 0 to `top`.

        Args:
            first: The value that the first entry is for, from -32768 to 65535.
            entries: 1 to 65536 of them.
            top: The entry that is shown white, 1 to 65535.
            name: What the table is for.

        Raises:
            ValueError: There are none or too many, or one is no whole number from 0 to `top`, or `first` is out of range.
        """
        import numpy as np

        numbers = np.asarray(entries)
        if numbers.dtype.kind not in "iu" or (numbers.size and not 0 <= numbers.min() <= numbers.max() <= 65535):
            raise ValueError(f"the entries of a lookup table are whole numbers from 0 to {top}")
        if numbers.ndim != 1:
            raise ValueError(f"the entries of a lookup table are one after another, not an array of {numbers.shape}")
        first = int(first) if isinstance(first, np.integer) else first
        return cls(first, numbers.astype("<u2").tobytes(), top, name)

    def __repr__(self) -> str:
        content = hashlib.sha256(self.entries).hexdigest()  # the entries count wherever a display is told by its text
        return f"LookupTable(first={self.first!r}, entries={content}, top={self.max_output!r}, name={self.name!r})"

    @property
    def center(self) -> float:
        """The middle of the values that it lists."""
        return self.first + (self.width - 1) / 2

    @property
    def width(self) -> float:
        """How many values it lists."""
        return len(self.entries) / 2

    @property
    def affine(self) -> None:
        """It is not one line."""

    @property
    def function(self) -> Literal["table"]:
        """What stands in a record in place of a window's function."""
        return "table"

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Map values of any shape to float32 grey levels in 0 to 255; NaN becomes 0."""
        return apply_display(values, self)

    def apply_inplace(self, values: np.ndarray) -> None:
        """Replace float32 values by grey levels in 0 to 255, not rounded; NaN becomes 0."""
        import numpy as np

        greys, steps = self._greys
        unknown = np.isnan(values)
        np.subtract(values, np.float32(self.first), out=values)
        np.clip(values, 0, len(greys) - 1, out=values)
        np.copyto(values, 0, where=unknown)
        below = values.astype(np.intp)
        np.subtract(values, below, out=values, casting="unsafe")
        np.multiply(values, steps[below], out=values)
        np.add(values, greys[below], out=values)
        np.copyto(values, 0, where=unknown)

    @functools.cached_property
    def _greys(self) -> tuple[np.ndarray, np.ndarray]:
        """Grey levels of the entries, and how far it is from each to the next."""
        import numpy as np

        greys = np.frombuffer(self.entries, "<u2").astype(np.float32) * np.float32(255 / self.max_output)
        return greys, np.diff(greys, append=greys[-1:])

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
