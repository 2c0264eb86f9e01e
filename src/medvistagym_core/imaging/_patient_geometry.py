"""Where the pixels of an image lie in the patient, and the order in which the slices of a volume are shown.

Patient coordinates are DICOM's, in mm: x to the left, y to the back, z to the head (LPS; PS3.3 C.7.6.2.1.1). An image states
its place by attributes: `direction`, the direction cosines of a row, of a column and of the step between slices; `position_mm`,
the centre of the first pixel of its source; `slices`, the first and last slice of its source that it holds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from medvistagym_core.imaging._image import Image

Vector = tuple[float, float, float]
# Patient axis that slices are counted along -> axes that their rows and their columns follow, ~axis backwards: axial slices
# are seen from the feet, coronal ones from the front, sagittal ones from the left, with the front or the head at the top.
_VIEWS: Final = {2: (0, 1), 1: (0, ~2), 0: (1, ~2)}
_SHEAR_DEG: Final = 0.5  # an angle below is rounding
_PARALLEL: Final = 0.999  # cosine of 2.6 degrees
_UNEVEN: Final = "slice_offsets_mm"


class PatientGeometry(NamedTuple):
    """Where a grid of pixels lies.

    Attributes:
        position: Centre of the first pixel.
        steps: From a pixel to the next one in its row, to that in the next row, and to that in the next slice, in mm.
        is_oriented: Whether the directions are known; else they are those of axial slices counted from the feet.
    """

    position: Vector
    steps: tuple[Vector, Vector, Vector]
    is_oriented: bool


def is_oriented(image: Image) -> bool:
    """Whether an image says how it lies in the patient, on one grid."""
    return len(_numbers(image, "direction")) in (6, 9) and not (image.is_stack and _UNEVEN in image.attributes)


def patient_geometry(image: Image) -> PatientGeometry:
    """Where the pixels of an image lie; a spacing that is not known is taken to be 1 mm.

    Raises:
        ValueError: Its slices are unevenly spaced, so that no grid of pixels describes it.
    """
    if _UNEVEN in image.attributes and image.is_stack:
        raise ValueError("its slices are unevenly spaced")
    cosines = _numbers(image, "direction")
    is_oriented = len(cosines) in (6, 9)
    row, column = (_vector(cosines[:3]), _vector(cosines[3:6])) if is_oriented else ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    normal = _cross(row, column)
    step = _vector(cosines[6:9]) if len(cosines) == 9 else normal
    spacing = image.spacing or (1.0, 1.0)
    thickness = spacing[0] if len(spacing) == 3 else float(image.attributes.get("slice_thickness_mm", "1") or 1)
    a, b, c, d, e, f = image.to_source
    # mm a pixel of the source, from those of the image along its rows (a, d) and its columns (b, e)
    across, down = _source_spacing((a, b, d, e), spacing[-1], spacing[-2])
    along_row = _sum(_scale(row, a * across), _scale(column, d * down))
    along_column = _sum(_scale(row, b * across), _scale(column, e * down))
    along_slices = _scale(step, thickness / max(1e-3, abs(_dot(step, normal))))
    position = _numbers(image, "position_mm")
    first = _vector(position) if len(position) == 3 else (0.0, 0.0, 0.0)
    x, y = (a + b) / 2 + c - 0.5, (d + e) / 2 + f - 0.5  # the first pixel, counted in those of the source
    z = int(image.attributes.get("slices", "0-0").split("-")[0]) if image.is_stack else 0
    offset = _sum(_scale(row, x * across), _scale(column, y * down), _scale(along_slices, z))
    return PatientGeometry(_sum(first, offset), (along_row, along_column, along_slices), is_oriented)


def geometry_attributes(geometry: PatientGeometry, frames: int) -> dict[str, str]:
    """The attributes that state the geometry of an image which is a source; none where the directions are not known.

    Args:
        geometry: Where its pixels lie.
        frames: How many slices it has; a single one has no step between slices.
    """
    if not geometry.is_oriented:
        return {}
    row, column, step = (_unit(one) for one in geometry.steps)
    cosines = (*row, *column, *step) if frames > 1 else (*row, *column)
    attributes = {
        "direction": " ".join(f"{round(v, 6) + 0.0:g}" for v in cosines),
        "position_mm": " ".join(f"{v:.7g}" for v in geometry.position),
    }
    shear = math.degrees(math.acos(min(1.0, abs(_dot(step, _unit(_cross(row, column)))))))
    if frames > 1 and shear > _SHEAR_DEG:
        attributes["shear_deg"] = f"{shear:.1f}"
    return attributes


def slice_spacing(geometry: PatientGeometry) -> tuple[float, float, float]:
    """Distance of slices along their normal, of rows and of columns, in mm: the spacing of a volume."""
    row, column, step = geometry.steps
    lengths = (abs(_dot(step, _unit(_cross(row, column)))), math.hypot(*column), math.hypot(*row))
    slices, rows, columns = (float(f"{length:.7g}") for length in lengths)  # files hold float32
    return slices, rows, columns


class AxisOrder(NamedTuple):
    """How the rows and columns of slices are exchanged and reversed, and their order, to be shown as radiology shows them.

    Attributes:
        transposed: Whether rows and columns change places, first.
        reversed: Whether then the slices, the rows and the columns are reversed.
    """

    transposed: bool
    reversed: tuple[bool, bool, bool]

    def view(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels `(N, H, W)` or `(N, H, W, 3)` in this order, a view of the same memory."""
        import numpy as np

        pixels = np.swapaxes(pixels, 1, 2) if self.transposed else pixels
        return pixels[tuple(slice(None, None, -1 if backwards else 1) for backwards in self.reversed)]

    def inverse_view(self, pixels: np.ndarray) -> np.ndarray:
        """Of pixels in this order, those in the order before; a view of the same memory."""
        import numpy as np

        pixels = pixels[tuple(slice(None, None, -1 if backwards else 1) for backwards in self.reversed)]
        return np.swapaxes(pixels, 1, 2) if self.transposed else pixels

    def shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Slices, rows and columns in this order."""
        n, h, w = shape
        return (n, w, h) if self.transposed else shape

    def geometry(self, before: PatientGeometry, shape: tuple[int, int, int]) -> PatientGeometry:
        """The geometry of a grid of `shape` once it is in this order.

        Args:
            before: Where its voxels lay.
            shape: Slices, rows and columns that it had.
        """
        steps = before.steps
        if self.transposed:
            steps, shape = (steps[1], steps[0], steps[2]), (shape[0], shape[2], shape[1])
        position, ordered = before.position, []
        for step, count, backwards in zip(steps, shape[::-1], self.reversed[::-1], strict=True):
            position = _sum(position, _scale(step, count - 1)) if backwards else position
            ordered.append(_scale(step, -1) if backwards else step)
        return PatientGeometry(position, (ordered[0], ordered[1], ordered[2]), before.is_oriented)


AS_STORED: Final = AxisOrder(False, (False, False, False))


def display_order(geometry: PatientGeometry) -> AxisOrder:
    """The order in which the slices of a volume are shown: as they are where its directions are not known."""
    if not geometry.is_oriented:
        return AS_STORED
    units = [_unit(step) for step in geometry.steps]
    orders = itertools.permutations(range(3))
    # patient axis -> step (0 in the row, 1 in the column, 2 from slice to slice) that follows it best
    order = max(orders, key=lambda order: sum(abs(units[step][axis]) for axis, step in enumerate(order)))
    counted = order.index(2)
    across, down = _VIEWS[counted]
    transposed = order[across] != 0
    rows_reversed = (units[order[max(down, ~down)]][max(down, ~down)] < 0) != (down < 0)
    return AxisOrder(transposed, (units[2][counted] < 0, rows_reversed, units[order[across]][across] < 0))


def order_between(mask: Image, image: Image) -> AxisOrder | None:
    """How the axes of a volume are put in those of another one; `AS_STORED` where either does not say how it lies.

    Returns:
        None if they lie obliquely to each other, or in planes of another kind.
    """
    if not (mask.is_stack and image.is_stack and is_oriented(mask) and is_oriented(image)):
        return AS_STORED
    mine, other = ([_unit(step) for step in patient_geometry(one).steps] for one in (mask, image))
    for transposed in (False, True):
        axes = [mine[1], mine[0], mine[2]] if transposed else mine
        cosines = [_dot(one, two) for one, two in zip(axes, other, strict=True)]
        if all(abs(cosine) > _PARALLEL for cosine in cosines):
            columns, rows, slices = (cosine < 0 for cosine in cosines)
            return AxisOrder(transposed, (slices, rows, columns))
    return None


def _numbers(image: Image, name: str) -> list[float]:
    return [float(word) for word in image.attributes.get(name, "").split()]


def _source_spacing(affine: tuple[float, float, float, float], across: float, down: float) -> tuple[float, float]:
    """The spacing of the source, across and down, that gives an image made of it by an affine map its own spacing."""
    a, b, d, e = (v * v for v in affine)
    # across^2 = a x^2 + d y^2 and down^2 = b x^2 + e y^2, for the spacing (x, y) of the source
    determinant = a * e - b * d
    if abs(determinant) < 1e-9 * (a + b + d + e) ** 2:  # turned by 45 degrees: only square pixels give one spacing
        scale = math.sqrt(2 / (a + b + d + e))
        return across * scale, across * scale
    x = (e * across**2 - d * down**2) / determinant
    y = (a * down**2 - b * across**2) / determinant
    return math.sqrt(max(x, 1e-12)), math.sqrt(max(y, 1e-12))


def _vector(numbers: Sequence[float]) -> Vector:
    x, y, z = numbers
    return x, y, z


def _dot(a: Vector, b: Vector) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True))


def _cross(a: Vector, b: Vector) -> Vector:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _scale(a: Vector, factor: float) -> Vector:
    return a[0] * factor, a[1] * factor, a[2] * factor


def _sum(*vectors: Vector) -> Vector:
    x, y, z = (sum(parts) for parts in zip(*vectors, strict=True))
    return x, y, z


def _unit(a: Vector) -> Vector:
    return _scale(a, 1 / (math.hypot(*a) or 1.0))
