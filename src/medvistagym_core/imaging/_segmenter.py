"""What a segmenter is: something that finds a structure in an image, perhaps where a prompt points."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from medvistagym_core.imaging._image import Image

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True)
class SegmentationPrompt:
    """What a policy points at, in pixels of the frame that the image displays.

    Attributes:
        point: `(x, y)`, a pixel; or None.
        box: `(x0, y0, x1, y1)`, the last two exclusive; or None.
        tolerance: Greatest distance from the value at the point, in the image's unit; None to find it from the image.
    """

    point: tuple[int, int] | None = None
    box: tuple[int, int, int, int] | None = None
    tolerance: float | None = None


@runtime_checkable
class Segmenter(Protocol):
    """Finds a structure in an image; a plugin offers some by name by the hook `medvistagym_segmenters`."""

    def segment(self, image: Image, prompt: SegmentationPrompt) -> np.ndarray:
        """The mask of the structure.

        Args:
            image: One frame, or a volume `(N, H, W)` with `spacing` of three; the prompt lies in the slice `image.frame`.
            prompt: What is pointed at; a segmenter that needs a point or a box refuses to go without.

        Returns:
            Booleans of the shape `(H, W)` or `(N, H, W)`.

        Raises:
            ValueError: It cannot work on this image; a sentence that says what it takes.
        """
        ...
