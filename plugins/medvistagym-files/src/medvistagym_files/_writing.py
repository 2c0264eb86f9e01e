"""What the writers of all kinds of volume begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvistagym_core.imaging import PatientGeometry, patient_geometry

if TYPE_CHECKING:
    import numpy as np

    from medvistagym_core.imaging import Image


def writable_geometry(image: Image, kind: str) -> PatientGeometry:
    """Where the pixels lie, for a file of a kind that holds evenly spaced slices only.

    Raises:
        ValueError: The slices are unevenly spaced; the sentence names the kind.
    """
    try:
        return patient_geometry(image)
    except ValueError as error:
        raise ValueError(f"{error}, which {kind} does not hold; write .npy or .tif") from None


def writable_pixels(image: Image) -> np.ndarray:
    """The pixels in a type that readers know: uint8 for bool, float32 for float16, else their own."""
    import numpy as np

    pixels = image.pixels
    if pixels.dtype.kind == "b":
        return pixels.view(np.uint8)
    return pixels.astype(np.float32) if pixels.dtype == np.float16 else pixels
