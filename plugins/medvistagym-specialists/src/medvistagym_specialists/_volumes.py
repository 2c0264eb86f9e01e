"""Volumes as the packages of specialists take them, and label maps as masks.

Slices are taken to be axial, from feet to head, rows from front to back and columns to the patient's left, as DICOM stores them
most often; medvistagym-segment takes volumes the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medvistagym_core.imaging import Image
from medvistagym_models.networks import LabelMask

if TYPE_CHECKING:
    import numpy as np


def require_volume(image: Image, *, unit: str | None = None) -> tuple[float, float, float]:
    """The spacing of a volume in mm, slice, row and column.

    Args:
        image: What should be one.
        unit: The unit that its values must have.

    Raises:
        ValueError: It is a single frame, its spacing is not known, or its values have another unit.
    """
    if not image.is_stack or image.photometric == "RGB":
        raise ValueError("this model needs a volume of axial slices, and the image is a single frame or in colour")
    if image.spacing is None or len(image.spacing) != 3:
        raise ValueError("this model needs a volume whose spacing is known, that of its slices too")
    if unit is not None and image.unit != unit:
        raise ValueError(f"this model takes values in {unit}, and the image has {image.unit}")
    return image.spacing[0], image.spacing[1], image.spacing[2]


def to_nifti(image: Image, spacing: Sequence[float]) -> Any:
    """A volume as a nibabel image, its axes x, y, z and its affine in RAS."""
    import nibabel
    import numpy as np

    make: Any = nibabel.Nifti1Image

    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    return make(np.ascontiguousarray(image.pixels.transpose(2, 1, 0)).astype(np.float32), affine)


def label_masks(labels: np.ndarray, names: Mapping[int, str], wanted: Sequence[str]) -> list[LabelMask]:
    """A mask for each label that is wanted.

    Args:
        labels: Numbers `(N, H, W)`.
        names: Names by number.
        wanted: The names, in the order of the masks.
    """
    numbers = {name: number for number, name in names.items()}
    return [LabelMask(name, labels == numbers[name], None) for name in wanted]
