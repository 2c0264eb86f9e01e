"""Multiplanar reformatting: the volume that a stack of slices is, and the planes and slabs resampled from it.

May use: the core's images. Knows nothing of DICOM files or of tools.
"""

from __future__ import annotations

from medvistagym_dicom.reformatting._padding import is_padding, padding_range, resize_around_padding
from medvistagym_dicom.reformatting._planes import COUNTED_FROM, MAX_OBLIQUITY_DEG, AnatomicalPlane
from medvistagym_dicom.reformatting._sampling import oriented_slice, sample_oblique_plane, slice_image
from medvistagym_dicom.reformatting._volume import ReformatPlane, Volume, patient_extent, plan_reformat

__all__ = [
    "COUNTED_FROM", "MAX_OBLIQUITY_DEG", "AnatomicalPlane", "ReformatPlane", "Volume", "is_padding", "oriented_slice",
    "padding_range", "patient_extent", "plan_reformat", "resize_around_padding", "sample_oblique_plane", "slice_image",
]  # fmt: skip
