"""Volumes that lie somewhere in the patient, and what SimpleITK, an independent reader, says of a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import Image, Window, patient_geometry

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")


def values(shape: tuple[int, ...], dtype: str = "int16") -> np.ndarray:
    """Values that are all different."""
    return (np.arange(int(np.prod(shape))).reshape(shape) - 1000).astype(dtype)


@pytest.fixture
def volume() -> Callable[..., Image]:
    """A CT of 5 slices of 7 rows and 6 columns, oblique, unless something else is given."""

    def make(**changes: Any) -> Image:
        fields: dict[str, Any] = {
            "pixels": values((5, 7, 6)),
            "unit": "HU",
            "spacing": (3.0, 0.8, 0.5),
            "modality": "CT",
            "window": Window(40.0, 400.0),
            "windows": (Window(40.0, 400.0), Window(-600.0, 1500.0, name="LUNG")),
            "frame": 3,
            "attributes": {
                "direction": "0.866025 0.5 0 -0.5 0.866025 0 0 0 1",
                "position_mm": "-12.5 7.25 100",
                "body_part": "chest",
            },
        }
        return Image(**{**fields, **changes})

    return make


def places(image: Image) -> np.ndarray:
    """Where in the patient the values are, in mm, in the order of the values, which are all different: `(N, 3)`."""
    geometry = patient_geometry(image)
    pixels = image.pixels if image.is_stack else image.pixels[None]
    z, y, x = np.indices(pixels.shape).reshape(3, -1)
    at = np.array(geometry.position) + np.stack([x, y, z], 1) @ np.array(geometry.steps)
    ordered: np.ndarray = at[np.argsort(pixels.ravel())]
    return ordered


def itk_places(path: Path) -> np.ndarray:
    """The same by SimpleITK."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(path))
    pixels = sitk.GetArrayViewFromImage(image)
    at = [image.TransformIndexToPhysicalPoint((x, y, z)) for z, y, x in np.ndindex(pixels.shape)]
    return np.array(at)[np.argsort(pixels.ravel())]
