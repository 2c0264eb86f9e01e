"""Where the voxels of a stack lie in the patient, and how a plane of the patient lies in the stack."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

from medvistagym_core.imaging import Image
from medvistagym_dicom.reformatting._planes import PLANE_AXES, AnatomicalPlane

Vector = tuple[float, float, float]


class Volume(NamedTuple):
    """A stack of slices and the directions of its axes (slices, rows, columns).

    Attributes:
        image: The stack, at full resolution.
        direction_cosines: Unit vector of each axis in patient coordinates; those of axial slices counted from the feet where
            the file does not tell.
        spacing: Distance between neighbours along each axis, in mm; of slices along the step between their origins.
        slice_positions: Position of each slice along the normal of the slices, in mm, growing from 0.
        has_orientation: Whether the file tells the directions.
        shear_deg: Angle between the step from slice to slice and the normal of the slices, in degrees.
    """

    image: Image
    direction_cosines: tuple[Vector, Vector, Vector]
    spacing: Vector
    slice_positions: tuple[float, ...]
    has_orientation: bool
    shear_deg: float

    @classmethod
    def from_image(cls, image: Image) -> Volume:
        """The volume that a stack is.

        Raises:
            ValueError: It is a single slice, or the distance between its slices or its orientation is not known.
        """
        source = image.detail if image.detail is not None and image.detail.is_stack else image
        if not source.is_stack:
            raise ValueError("this image is a single slice; only a volume or a stack of frames has other planes")
        if source.spacing is None or len(source.spacing) < 3:
            raise ValueError('the distance between the slices is not known; only the plane "acquired" can be shown')
        cosines = [float(v) for v in source.attributes.get("direction", "").split()]
        has_orientation = len(cosines) in (6, 9)
        row, column = (
            (tuple(cosines[:3]), tuple(cosines[3:6])) if has_orientation else ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
        )
        normal = (
            row[1] * column[2] - row[2] * column[1],
            row[2] * column[0] - row[0] * column[2],
            row[0] * column[1] - row[1] * column[0],
        )
        step = (cosines[6], cosines[7], cosines[8]) if len(cosines) == 9 else normal
        # cosine of the shear angle; bounded below, since a step within the slices themselves makes no volume
        shear_cosine = min(1.0, max(1e-3, abs(sum(p * q for p, q in zip(step, normal, strict=True)))))
        a, b, _, d, e, _ = source.to_source
        if math.isclose(b, 0, abs_tol=1e-6) and math.isclose(d, 0, abs_tol=1e-6):
            along_columns, along_rows = _orient(row, a), _orient(column, e)
        elif math.isclose(a, 0, abs_tol=1e-6) and math.isclose(e, 0, abs_tol=1e-6):
            along_columns, along_rows = _orient(column, d), _orient(row, b)
        else:
            raise ValueError("this image was turned by an angle; take the plane from the image it was made of")
        return cls(
            source,
            (step, along_rows, along_columns),
            (source.spacing[0] / shear_cosine, source.spacing[1], source.spacing[2]),
            _slice_positions(source, source.spacing[0]),
            has_orientation,
            math.degrees(math.acos(shear_cosine)),
        )

    @property
    def axes(self) -> tuple[int, int, int]:
        """The array axis that lies closest to each patient axis."""
        orders = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
        return max(orders, key=lambda order: sum(abs(self.direction_cosines[k][p]) for p, k in enumerate(order)))

    @property
    def obliquity_deg(self) -> float:
        """Greatest angle between an array axis and its patient axis, in degrees."""
        cosine = min(abs(self.direction_cosines[k][p]) for p, k in enumerate(self.axes))
        return math.degrees(math.acos(min(1.0, cosine)))

    @property
    def plane(self) -> AnatomicalPlane:
        """The plane that the slices as acquired are closest to."""
        planes: tuple[AnatomicalPlane, ...] = ("sagittal", "coronal", "axial")
        return planes[self.axes.index(0)]

    @property
    def is_evenly_spaced(self) -> bool:
        """Whether the slices are evenly spaced, within 2 % and 0.02 mm."""
        steps = [b - a for a, b in itertools.pairwise(self.slice_positions)]
        return not steps or max(steps) - min(steps) <= 0.02 * max(steps) + 0.02


def _orient(unit: tuple[float, ...], sign: float) -> Vector:
    x, y, z = unit
    return (x, y, z) if sign > 0 else (-x, -y, -z)


def _slice_positions(source: Image, step: float) -> tuple[float, ...]:
    offsets = [float(v) for v in source.attributes.get("slice_offsets_mm", "").split()]
    first = int(source.attributes.get("slices", "0-0").split("-")[0])
    offsets = offsets[first : first + source.frames]
    if len(offsets) == source.frames and all(b > a for a, b in itertools.pairwise(offsets)):
        return tuple(v - offsets[0] for v in offsets)
    return tuple(k * step for k in range(source.frames))


class ReformatPlane(NamedTuple):
    """How a plane lies in the array: the axis its slices are counted along, and how the other two become rows and columns.

    Attributes:
        along: Array axis that the slices of the plane are counted along.
        slice_positions: Position of each of them in mm, counted from the end that the plane is counted from.
        is_reversed: Whether that is the array's last one.
        is_transposed: Whether rows and columns change places.
        flips: Whether the rows, and the columns, are reversed after that.
        spacing: Distance of rows and of columns in mm.
        uneven: Position of each row (or column) in mm and its axis in the view, when the slices lie as rows (or columns) and
            are unevenly spaced; else None.
    """

    along: int
    slice_positions: tuple[float, ...]
    is_reversed: bool
    is_transposed: bool
    flips: tuple[bool, bool]
    spacing: tuple[float, float]
    uneven: tuple[tuple[float, ...], int] | None


def plan_reformat(volume: Volume, plane: AnatomicalPlane) -> ReformatPlane:
    """How a plane lies in a volume whose axes are taken to be those of the patient.

    Args:
        volume: A stack and the directions of its axes; each axis counts as the patient's axis that it is nearest to.
        plane: The plane wanted; "acquired" is that of the slices.
    """
    n = volume.image.pixels.shape
    if plane == "acquired":
        return ReformatPlane(
            0, volume.slice_positions, False, False, (False, False), (volume.spacing[1], volume.spacing[2]), None
        )
    counted, down, across = PLANE_AXES[plane]
    order = volume.axes
    along, rows, columns = order[counted], order[max(down, ~down)], order[across]
    positions = volume.slice_positions if along == 0 else tuple(k * volume.spacing[along] for k in range(n[along]))
    is_reversed = volume.direction_cosines[along][counted] < 0
    if is_reversed:
        positions = tuple(positions[-1] - v for v in reversed(positions))
    flips = (
        (volume.direction_cosines[rows][max(down, ~down)] < 0) != (down < 0),
        volume.direction_cosines[columns][across] < 0,
    )
    uneven = None
    if not volume.is_evenly_spaced and along != 0:
        axis = 0 if rows == 0 else 1
        reversed_positions = tuple(volume.slice_positions[-1] - v for v in reversed(volume.slice_positions))
        uneven = (reversed_positions if flips[axis] else volume.slice_positions, axis)
    normal_spacing = volume.image.spacing[0] if volume.image.spacing else 1.0  # not along a sheared step
    spacing = (normal_spacing, *volume.spacing[1:])
    return ReformatPlane(
        along, positions, is_reversed, rows > columns, flips, (spacing[rows], spacing[columns]), uneven
    )


def patient_extent(volume: Volume) -> tuple[Vector, Vector]:
    """Least and greatest corner of the volume along the patient's axes, in mm from the centre of its first voxel."""
    shear_cosine = math.cos(math.radians(volume.shear_deg))
    counts = [(len(volume.slice_positions) - 1, volume.slice_positions[-1] / shear_cosine / volume.spacing[0])]
    counts += [(n - 1, n - 1.0) for n in volume.image.shape]
    spans = [(-0.5 * step, (last + 0.5) * step) for (_, last), step in zip(counts, volume.spacing, strict=True)]
    low, high = [], []
    for axis in range(3):
        ends = [
            sorted(end * unit[axis] for end in span) for span, unit in zip(spans, volume.direction_cosines, strict=True)
        ]
        low.append(sum(end[0] for end in ends))
        high.append(sum(end[1] for end in ends))
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])
