"""A segmenter that is a function."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from medvistagym_core.imaging import Image, SegmentationPrompt

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True)
class FunctionSegmenter:
    """A `Segmenter` that is a function of image and prompt.

    Attributes:
        function: As `Segmenter.segment`.
    """

    function: Callable[[Image, SegmentationPrompt], np.ndarray]

    def segment(self, image: Image, prompt: SegmentationPrompt) -> np.ndarray:
        """What the function gives."""
        return self.function(image, prompt)
