"""Where the pixels of a DICOM object lie, in millimetres."""

from __future__ import annotations

import itertools
import math

from medvistagym_dicom.header import Header


def vector(header: Header, keyword: str, length: int) -> tuple[float, ...] | None:
    """Numbers of an element that must have this many; None otherwise."""
    numbers = header.numbers(keyword)
    return numbers if len(numbers) == length else None


def rounded(numbers: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """To three decimals, so that slices of one orientation compare equal."""
    return None if numbers is None else tuple(round(v, 3) for v in numbers)


def along_normal(position: tuple[float, ...] | None, cosines: tuple[float, ...] | None) -> float | None:
    """Place of a slice along the normal of its plane, in mm (PS3.3 C.7.6.2.1.1)."""
    if position is None or cosines is None:
        return None
    return sum(p * n for p, n in zip(position, _normal(cosines), strict=True))


def orientation(header: Header) -> tuple[float, ...] | None:
    """Direction cosines of a row and of a column (PS3.3 C.7.6.2.1.1).

    None when absent, when they are no pair of perpendicular unit vectors, or when frames differ.
    """
    cosines = vector(header, "ImageOrientationPatient", 6)
    if cosines is None:
        frames = range(max(1, len(header.items("PerFrameFunctionalGroupsSequence"))))
        own = [vector(macro(header, k, "PlaneOrientationSequence"), "ImageOrientationPatient", 6) for k in frames]
        cosines = own[0] if len({rounded(one) for one in own}) == 1 else None
    if cosines is None:
        return None
    a, b = cosines[:3], cosines[3:]
    wrong = (math.hypot(*a) - 1, math.hypot(*b) - 1, sum(p * q for p, q in zip(a, b, strict=True)))
    return cosines if all(abs(v) < 0.02 for v in wrong) else None


def frame_position(header: Header, frame: int) -> tuple[float, ...] | None:
    """Centre of a frame's first pixel in patient coordinates, in mm."""
    own = vector(macro(header, frame, "PlanePositionSequence"), "ImagePositionPatient", 3)
    return vector(header, "ImagePositionPatient", 3) if own is None else own


def where(
    cosines: tuple[float, ...] | None, positions: list[tuple[float, ...] | None], offsets: tuple[float, ...] = ()
) -> dict[str, str]:
    """Attributes that place an image in the patient.

    `direction` holds the direction cosines of a row, of a column and, with several slices, of the step between slices;
    `position_mm` the centre of the first pixel; `slice_offsets_mm` the places of unevenly spaced slices along the normal;
    `shear_deg` the angle between the step and the normal of the slices, which a tilted gantry makes.

    Args:
        cosines: Of a row and a column; None when the file does not tell.
        positions: Of the first pixel of each slice in patient coordinates, in mm.
        offsets: Of the slices along the normal, in mm, where positions do not tell.
    """
    told: dict[str, str] = {}
    first, last = positions[0], positions[-1]
    if first is not None and all(abs(v) < 1e5 for v in first):
        told["position_mm"] = " ".join(f"{v:.7g}" for v in first)
    if cosines is None:
        return told
    axes = list(cosines)
    if len(positions) > 1:
        normal = _normal(cosines)
        known = [along_normal(position, cosines) for position in positions]
        places = [p for p in known if p is not None] if all(p is not None for p in known) else list(offsets)
        step = normal
        if first is not None and last is not None and first != last:
            length = math.dist(first, last)
            step = tuple((b - a) / length for a, b in zip(first, last, strict=True))
            cosine = min(1.0, abs(sum(p * q for p, q in zip(step, normal, strict=True))))
            if cosine < math.cos(math.radians(0.5)):
                told["shear_deg"] = f"{math.degrees(math.acos(cosine)):.1f}"
        axes += step
        if len(places) == len(positions) and not step_between(places)[1]:
            told["slice_offsets_mm"] = " ".join(f"{abs(p - places[0]):.3f}" for p in places)
    told["direction"] = " ".join(f"{round(v, 6) + 0.0:g}" for v in axes)
    return told


def _normal(cosines: tuple[float, ...]) -> tuple[float, ...]:
    (ax, ay, az), (bx, by, bz) = cosines[:3], cosines[3:]
    return (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)


def place(header: Header) -> float | None:
    """Place of a single-frame object along its normal, in mm; None when the file does not tell."""
    return along_normal(vector(header, "ImagePositionPatient", 3), vector(header, "ImageOrientationPatient", 6))


def step_between(places: list[float]) -> tuple[float | None, bool]:
    """Median distance between neighbours in mm, or None, and whether all are within 1 % and 0.01 mm of it.

    Places that go to and fro, as those of a volume seen at several times do, have no distance: they are no volume.
    """
    signed = [b - a for a, b in itertools.pairwise(places)]
    steps = sorted(map(abs, signed))
    if not steps or steps[len(steps) // 2] < 1e-3:
        return None, True
    if min(signed) <= 0 <= max(signed):
        return None, False
    middle = steps[len(steps) // 2]
    return middle, all(abs(step - middle) <= max(0.01, 0.01 * middle) for step in steps)


def in_plane(header: Header) -> tuple[tuple[float, float] | None, bool]:
    """Spacing (row, column) in mm, and whether it is that of the detector instead of the patient (PS3.3 10.7.1.3)."""
    measures = macro(header, 0, "PixelMeasuresSequence")
    for source, keyword in (
        (header, "PixelSpacing"),
        (measures, "PixelSpacing"),
        (header, "ImagerPixelSpacing"),
        (header, "NominalScannedPixelSpacing"),
    ):
        numbers = source.numbers(keyword)
        if len(numbers) == 2 and all(1e-6 < v < 1e4 for v in numbers):
            detector = keyword == "ImagerPixelSpacing"
            factor = header.number("EstimatedRadiographicMagnificationFactor")
            if detector and factor is not None and 1 <= factor < 20:
                return (numbers[0] / factor, numbers[1] / factor), False
            return (numbers[0], numbers[1]), detector
    return None, False


def between_frames(header: Header, frames: int) -> tuple[float | None, bool]:
    """Distance between the frames of one object in mm, and whether it is regular."""
    places = []
    for k in range(frames):
        position = vector(macro(header, k, "PlanePositionSequence"), "ImagePositionPatient", 3)
        orientation = vector(macro(header, k, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
        where = along_normal(position, orientation)
        if where is not None:
            places.append(where)
    if len(places) == frames:
        return step_between(places)
    offsets = header.numbers("GridFrameOffsetVector")
    if len(offsets) == frames:
        return step_between(list(offsets))
    between = header.number("SpacingBetweenSlices") or macro(header, 0, "PixelMeasuresSequence").number(
        "SpacingBetweenSlices"
    )
    return (abs(between), True) if between and 1e-3 < abs(between) < 1e4 else (None, True)


def macro(header: Header, frame: int, keyword: str) -> Header:
    """Item of a functional group for one frame, its own or the shared one (PS3.3 C.7.6.16); empty when there is none."""
    own = header.items("PerFrameFunctionalGroupsSequence")
    for group in (*own[frame : frame + 1], *header.items("SharedFunctionalGroupsSequence")[:1]):
        for item in group.items(keyword)[:1]:
            return item
    return Header()
