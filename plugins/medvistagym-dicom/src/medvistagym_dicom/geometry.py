"""Where the pixels of a DICOM object lie, in millimetres."""

from __future__ import annotations

import itertools

from medvistagym_dicom.header import Header


def vector(header: Header, keyword: str, length: int) -> tuple[float, ...] | None:
    """Numbers of an element that must have this many; None otherwise."""
    numbers = header.numbers(keyword)
    return numbers if len(numbers) == length else None


def rounded(numbers: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """To three decimals, so that slices of one orientation compare equal."""
    return None if numbers is None else tuple(round(v, 3) for v in numbers)


def along_normal(position: tuple[float, ...] | None, orientation: tuple[float, ...] | None) -> float | None:
    """Place of a slice along the normal of its plane, in mm (PS3.3 C.7.6.2.1.1)."""
    if position is None or orientation is None:
        return None
    (ax, ay, az), (bx, by, bz) = orientation[:3], orientation[3:]
    normal = (ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)
    return sum(p * n for p, n in zip(position, normal, strict=True))


def place(header: Header) -> float | None:
    """Place of a single-frame object along its normal, in mm; None when the file does not tell."""
    return along_normal(vector(header, "ImagePositionPatient", 3), vector(header, "ImageOrientationPatient", 6))


def step_between(places: list[float]) -> tuple[float | None, bool]:
    """Median distance between neighbours in mm, or None, and whether all are within 1 % and 0.01 mm of it."""
    steps = sorted(abs(b - a) for a, b in itertools.pairwise(places))
    if not steps or steps[len(steps) // 2] < 1e-3:
        return None, True
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
