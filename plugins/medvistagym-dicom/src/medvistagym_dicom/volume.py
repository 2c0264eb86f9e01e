"""Where the voxels of a stack lie in the patient, and how a plane of the patient lies in the stack."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

from medvistagym_core.imaging import Image
from medvistagym_dicom.planes import VIEWS, Plane

Vector = tuple[float, float, float]


class Volume(NamedTuple):
    """A stack and the lie of its axes (slices, rows, columns).

    Attributes:
        image: The stack, at its finest.
        units: Direction of each axis in the patient; of axial slices from the feet where the file does not tell.
        steps: Distance between neighbours along each axis, in mm.
        places: Place of each slice along the normal of the slices, in mm, growing from 0.
        known: Whether the file tells the directions.
        sheared: Angle between the step from slice to slice and the normal of the slices, in degrees.
    """

    image: Image
    units: tuple[Vector, Vector, Vector]
    steps: Vector
    places: tuple[float, ...]
    known: bool
    sheared: float

    @property
    def axes(self) -> tuple[int, int, int]:
        """The array axis that lies closest to each patient axis."""
        orders = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
        return max(orders, key=lambda order: sum(abs(self.units[k][p]) for p, k in enumerate(order)))

    @property
    def tilt(self) -> float:
        """Greatest angle between an array axis and its patient axis, in degrees."""
        cosine = min(abs(self.units[k][p]) for p, k in enumerate(self.axes))
        return math.degrees(math.acos(min(1.0, cosine)))

    @property
    def plane(self) -> Plane:
        """The plane that the slices as acquired are closest to."""
        planes: tuple[Plane, ...] = ("sagittal", "coronal", "axial")
        return planes[self.axes.index(0)]

    @property
    def even(self) -> bool:
        """Whether the slices are evenly spaced."""
        steps = [b - a for a, b in itertools.pairwise(self.places)]
        return not steps or max(steps) - min(steps) <= 0.02 * max(steps) + 0.02


def volume_of(image: Image) -> Volume:
    """The volume that a stack is.

    Raises:
        ValueError: It is a single slice, or the distance between its slices or its turn is not known.
    """
    source = image.detail if image.detail is not None and image.detail.is_stack else image
    if not source.is_stack:
        raise ValueError("this image is a single slice; only a volume or a stack of frames has other planes")
    if source.spacing is None or len(source.spacing) < 3:
        raise ValueError('the distance between the slices is not known; only the plane "acquired" can be shown')
    told = [float(v) for v in source.attributes.get("direction", "").split()]
    known = len(told) in (6, 9)
    row, column = (tuple(told[:3]), tuple(told[3:6])) if known else ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    normal = (
        row[1] * column[2] - row[2] * column[1],
        row[2] * column[0] - row[0] * column[2],
        row[0] * column[1] - row[1] * column[0],
    )
    step = (told[6], told[7], told[8]) if len(told) == 9 else normal
    lean = min(1.0, max(1e-3, abs(sum(p * q for p, q in zip(step, normal, strict=True)))))
    a, b, _, d, e, _ = source.to_source
    if math.isclose(b, 0, abs_tol=1e-6) and math.isclose(d, 0, abs_tol=1e-6):
        along_columns, along_rows = _signed(row, a), _signed(column, e)
    elif math.isclose(a, 0, abs_tol=1e-6) and math.isclose(e, 0, abs_tol=1e-6):
        along_columns, along_rows = _signed(column, d), _signed(row, b)
    else:
        raise ValueError("this image was turned by an angle; take the plane from the image it was made of")
    places = _places(source, source.spacing[0])
    return Volume(
        source,
        (step, along_rows, along_columns),
        (source.spacing[0] / lean, source.spacing[1], source.spacing[2]),
        places,
        known,
        math.degrees(math.acos(lean)),
    )


def _signed(unit: tuple[float, ...], sign: float) -> Vector:
    x, y, z = unit
    return (x, y, z) if sign > 0 else (-x, -y, -z)


def _places(source: Image, step: float) -> tuple[float, ...]:
    told = [float(v) for v in source.attributes.get("slice_offsets_mm", "").split()]
    first = int(source.attributes.get("slices", "0-0").split("-")[0])
    told = told[first : first + source.frames]
    if len(told) == source.frames and all(b > a for a, b in itertools.pairwise(told)):
        return tuple(v - told[0] for v in told)
    return tuple(k * step for k in range(source.frames))


class Cut(NamedTuple):
    """How a plane lies in the array: the axis counted along, and what to do with what remains.

    Attributes:
        along: Array axis that the slices of the plane are counted along.
        places: Place of each of them in mm, counted from the end that the plane is counted from.
        backwards: Whether that is the array's last one.
        transposed: Whether rows and columns change places.
        flips: Whether the rows, and the columns, are turned round after that.
        steps: Distance of rows and of columns in mm.
        uneven: Place of each row in mm when the slices lie as rows and are uneven, else None.
    """

    along: int
    places: tuple[float, ...]
    backwards: bool
    transposed: bool
    flips: tuple[bool, bool]
    steps: tuple[float, float]
    uneven: tuple[tuple[float, ...], int] | None


def cut_of(volume: Volume, plane: Plane) -> Cut:
    """How a plane lies in a volume whose axes are taken to be those of the patient."""
    n = volume.image.pixels.shape
    if plane == "acquired":
        return Cut(0, volume.places, False, False, (False, False), (volume.steps[1], volume.steps[2]), None)
    counted, down, across = VIEWS[plane]
    order = volume.axes
    along, rows, columns = order[counted], order[max(down, ~down)], order[across]
    places = volume.places if along == 0 else tuple(k * volume.steps[along] for k in range(n[along]))
    backwards = volume.units[along][counted] < 0
    if backwards:
        places = tuple(places[-1] - v for v in reversed(places))
    flips = ((volume.units[rows][max(down, ~down)] < 0) != (down < 0), volume.units[columns][across] < 0)
    uneven = None
    if not volume.even and along != 0:
        axis = 0 if rows == 0 else 1
        turned = tuple(volume.places[-1] - v for v in reversed(volume.places))
        uneven = (turned if flips[axis] else volume.places, axis)
    height = volume.image.spacing[0] if volume.image.spacing else 1.0  # along the normal, not along a sheared step
    steps = (height, *volume.steps[1:])
    return Cut(along, places, backwards, rows > columns, flips, (steps[rows], steps[columns]), uneven)


def corners(volume: Volume) -> tuple[Vector, Vector]:
    """Least and greatest corner of the volume along the patient's axes, in mm from the centre of its first voxel."""
    lean = math.cos(math.radians(volume.sheared))
    counts = [(len(volume.places) - 1, volume.places[-1] / lean / volume.steps[0])]
    counts += [(n - 1, n - 1.0) for n in volume.image.shape]
    spans = [(-0.5 * step, (last + 0.5) * step) for (_, last), step in zip(counts, volume.steps, strict=True)]
    low, high = [], []
    for axis in range(3):
        ends = [sorted(end * unit[axis] for end in span) for span, unit in zip(spans, volume.units, strict=True)]
        low.append(sum(end[0] for end in ends))
        high.append(sum(end[1] for end in ends))
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])
