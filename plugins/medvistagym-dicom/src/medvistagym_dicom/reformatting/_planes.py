"""The anatomical planes, and how the usual views of radiology show them.

The patient's axes are DICOM's (PS3.3 C.7.6.2.1.1): 0 to the left, 1 to the back, 2 to the head. Slices are counted along them,
so from the right, from the front and from the feet. An axial view is seen from the feet, a coronal one from the front, a
sagittal one from the left; the head or the front of the patient is at the top.
"""

from __future__ import annotations

from typing import Final, Literal

AnatomicalPlane = Literal["acquired", "axial", "coronal", "sagittal"]
# Plane -> patient axis that its slices follow each other along, that its rows do, and that its columns do; ~axis is the axis
# backwards, so that the head is at the top.
PLANE_AXES: Final[dict[str, tuple[int, int, int]]] = {"axial": (2, 1, 0), "coronal": (1, ~2, 0), "sagittal": (0, ~2, 1)}
COUNTED_FROM: Final = {"acquired": "first slice", "axial": "feet", "coronal": "front", "sagittal": "right"}
MAX_OBLIQUITY_DEG: Final = 1.0  # array axes that are less than this off the patient's are taken to be the patient's
