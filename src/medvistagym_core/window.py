"""Display windows: which values are spread over the grey levels, and how."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Literal

from medvistagym_core import levels

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True)
class Window:
    """How stored values become grey levels (DICOM PS3.3 C.11.2.1).

    Attributes:
        center: Value shown as mid-grey, in the unit of the pixels.
        width: Range of values spread over all grey levels, in the same unit.
        function: VOI LUT function, DICOM PS3.3 C.11.2.1.2 (linear), C.11.2.1.3.2 (linear exact), C.11.2.1.3.1 (sigmoid).
        name: What the window is for, such as "lung".
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
        import numpy as np

        with np.errstate(over="ignore"):
            grey: np.ndarray = np.array(values, np.float32)
        levels.spread(grey, self.center, self.width, self.function)
        return grey
