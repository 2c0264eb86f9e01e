"""Pictures to try a model on when no file is named: plain shapes with the values, unit and size of a modality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from medvistagym_core.imaging import Image, Window

if TYPE_CHECKING:
    import numpy as np

_SIDE: Final = 256
_SLICES: Final = 40


def phantom(modalities: Sequence[str], *, volume: bool = False) -> Image:
    """A picture of the first of the modalities: a body with two dark organs, a bright column and a small bright spot.

    Args:
        modalities: DICOM modalities; a chest film without any.
        volume: Whether it has slices.
    """
    import numpy as np

    modality = modalities[0] if modalities else "DX"
    plane = _plane(0.0) if not volume else np.stack([_plane(z) for z in np.linspace(-1, 1, _SLICES)])
    if modality == "CT":
        values, window, unit = plane * 1600 - 1000, Window(40, 400), "HU"
    elif modality == "MR":
        values, window, unit = plane * 900, Window(450, 900), "raw"
    else:
        values, window, unit = plane * 4000, Window(2000, 4000), "raw"
    spacing = (3.0, 1.5, 1.5) if volume else (1.5, 1.5)
    return Image(
        pixels=values.astype(np.int16), unit=unit, modality=modality, spacing=spacing, window=window, windows=(window,)
    )


def _plane(z: float) -> np.ndarray:
    """Values from 0 to 1; `z` runs from -1 to 1 through the body."""
    import numpy as np

    y, x = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j]
    size = max(0.0, 1 - z * z) ** 0.5
    values = np.where((x / 0.9) ** 2 + (y / 0.8) ** 2 < 1, 0.64, 0.0)
    for side in (-0.42, 0.42):
        values[((x - side) / 0.3) ** 2 + ((y + 0.05) / 0.55) ** 2 < size] = 0.15
    values[(x / 0.12) ** 2 + ((y - 0.5) / 0.15) ** 2 < 1] = 0.95
    values[((x - 0.45) / 0.08) ** 2 + ((y + 0.2) / 0.08) ** 2 < size] = 0.7
    return np.asarray(values + np.random.default_rng(0).normal(0, 0.01, values.shape))
