"""Arrays as SimpleITK images and back, and lengths in millimetres in pixels.

SimpleITK and OpenCV are set to one thread a call: the executor runs calls side by side, and their pools would fight it for the
same cores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import SimpleITK

from medvistagym_core.imaging import Image
from medvistagym_core.tools import use_one_thread

if TYPE_CHECKING:
    import numpy as np

sitk: Any = SimpleITK  # it has no types
use_one_thread("SimpleITK", "cv2")


def to_itk(array: np.ndarray, image: Image) -> Any:
    """An array of the image's shape as a SimpleITK image with the image's spacing; booleans become uint8."""
    import numpy as np

    converted = sitk.GetImageFromArray(array.astype(np.uint8) if array.dtype == bool else array)
    converted.SetSpacing([float(step) for step in reversed(pixel_spacing(image))])
    return converted


def to_array(converted: Any) -> np.ndarray:
    """The pixels of a SimpleITK image."""
    array: np.ndarray = sitk.GetArrayFromImage(converted)
    return array


def pixel_spacing(image: Image) -> tuple[float, ...]:
    """The spacing of each axis in mm; 1 where it is not known."""
    count = 3 if image.is_stack else 2
    return (1.0,) * count if image.spacing is None else tuple(image.spacing[-count:])


def radius_in_pixels(image: Image, radius_mm: float) -> list[int]:
    """A radius in pixels of each axis, in ITK's order; at most an eighth of the image."""
    radii = [round(radius_mm / step) for step in pixel_spacing(image)]
    return [min(radius, max(0, n // 8)) for radius, n in zip(radii, image.pixels.shape, strict=False)][::-1]
