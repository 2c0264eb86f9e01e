"""Frames as volumes: by direction and place, and where places repeat by echo, phase, time and whatever else tells them apart.

Neither names nor the order of files decide. Two frames lie in one plane, or at one place, if that moves no pixel by more than a
tolerance in millimetres or pixels. What no attribute tells apart stays together, without a distance between slices.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Final

from medvistagym_dicom.reading._frames import (
    DISTINCTIONS,
    SLICE_LOCATION,
    TIMES,
    Distinction,
    Frame,
    keywords_in,
    tells_frames_apart,
)
from medvistagym_dicom.reading._patient_geometry import Vector, dot, median_spacing, unit_normal

SAME_PLANE_PX: Final = 0.5  # how far apart the corners of two frames may lie that have one direction
SAME_PLACE_MM: Final = 0.05  # ... and the first pixels of two frames at one place; less where pixels are small
SIDE_BY_SIDE_MM: Final = 5.0  # ... and at least those of two stacks in one plane
_MIN_SLICES: Final = 3  # of interleaved volumes that are told apart by their even distances


@dataclasses.dataclass(frozen=True)
class VolumePlan:
    """Frames that make up one image, in order.

    Attributes:
        frames: In the order of space, or of time where they lie at one place or have none.
        is_volume: Whether they lie at different places in a known order; else they are a clip or a pile.
        differs_by: What tells it apart from its siblings, in words.
        part: Which of its siblings it is, from 1, and how many there are.
        missing: Places of its siblings at which it has no frame.
    """

    frames: tuple[Frame, ...]
    is_volume: bool
    differs_by: tuple[str, ...] = ()
    part: tuple[int, int] = (1, 1)
    missing: int = 0


def plan_volumes(frames: Sequence[Frame]) -> list[VolumePlan]:
    """The volumes that frames of one series, or one object, make up."""
    first = frames[0].dataset
    if frames[-1].dataset is first and not tells_frames_apart(first):
        return [VolumePlan(tuple(frames), is_volume=False)]
    plans: list[VolumePlan] = []
    for group in (side for same in _by_direction(frames) for side in _split_side_by_side(same)):
        places = _places(group)
        present = keywords_in(group)
        distinctions = [d for d in DISTINCTIONS if not present.isdisjoint(d.sources)]
        parts = _split(group, places, distinctions, ())
        volumes = [_plan_volume(part, places, names) for part, names in parts]
        plans += _with_siblings(volumes, places)
    return plans


# -- direction and place


def _by_direction(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames whose rows and columns have one direction, so that no corner of theirs lies `SAME_PLANE_PX` apart."""
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            if _same_direction(group[0], frame):
                group.append(frame)
                break
        else:
            groups.append([frame])
    return groups


def _same_direction(a: Frame, b: Frame) -> bool:
    if a.orientation is b.orientation or a.orientation == b.orientation:
        return True
    if a.orientation is None or b.orientation is None:
        return False
    across, down = math.dist(a.orientation[:3], b.orientation[:3]), math.dist(a.orientation[3:], b.orientation[3:])
    return across * a.pixel_format.columns + down * a.pixel_format.rows <= SAME_PLANE_PX


def _split_side_by_side(frames: list[Frame]) -> list[list[Frame]]:
    """Stacks that lie side by side in one plane, as of two legs; all frames together where no two lie at one level."""
    if any(frame.position is None or frame.orientation is None for frame in frames):
        return [frames]
    normal, tolerance = unit_normal(frames[0].orientation or ()), _tolerance_mm(frames[0])
    levels = {frame: dot(frame.position or (), normal) for frame in frames}
    located = sorted(frames, key=lambda frame: levels[frame])
    is_beside = [
        levels[b] - levels[a] <= tolerance and math.dist(a.position or (), b.position or ()) > SIDE_BY_SIDE_MM
        for a, b in itertools.pairwise(located)
    ]
    if not any(is_beside):
        return [frames]
    groups: list[tuple[Vector, list[Frame]]] = []
    for frame in frames:
        in_plane = tuple(p - levels[frame] * n for p, n in zip(frame.position or (), normal, strict=True))
        match = next((group for other, group in groups if math.dist(in_plane, other) <= SIDE_BY_SIDE_MM), None)
        if match is None:
            groups.append((in_plane, [frame]))
        else:
            match.append(frame)
    return [group for _, group in groups]


def _places(frames: Sequence[Frame]) -> dict[Frame, int]:
    """The number of the place of each frame, counted along the normal; empty where one has none."""
    if any(frame.position is None or frame.orientation is None for frame in frames):
        return {}
    normal = unit_normal(frames[0].orientation or ())
    tolerance = _tolerance_mm(frames[0])
    located = sorted(frames, key=lambda frame: (dot(frame.position or (), normal), frame.position))
    places: dict[Frame, int] = {}
    representatives: list[Vector] = []  # those of the last place along the normal, which may differ within their plane
    number, level = -1, -math.inf
    numbers: list[int] = []
    for frame in located:
        position = frame.position or ()
        along = dot(position, normal)
        if along - level > tolerance:
            representatives, numbers, level = [], [], along
        match = next(
            (n for p, n in zip(representatives, numbers, strict=True) if math.dist(p, position) <= tolerance), None
        )
        if match is None:
            number += 1
            match = number
            representatives.append(position)
            numbers.append(number)
        places[frame] = match
    return places


def _tolerance_mm(frame: Frame) -> float:
    spacing = [v for v in frame.dataset.numbers("PixelSpacing") if v > 0]
    return min([SAME_PLACE_MM, *(v / 10 for v in spacing)])


# -- telling apart


def _split(
    frames: list[Frame], places: dict[Frame, int], distinctions: Sequence[Distinction], names: tuple[str, ...]
) -> list[tuple[list[Frame], tuple[str, ...]]]:
    """Groups of frames that hold each place once, or that nothing tells apart, with what told them apart."""
    if len(frames) == 1:
        return [(frames, names)]
    multiplicity = _multiplicity(frames, places)
    at_one_position = not places or len({places[frame] for frame in frames}) == 1
    for k, distinction in enumerate(distinctions):
        if at_one_position and distinction.is_time:
            continue
        parts = _group_by_value(frames, distinction)
        if len(parts) > 1 and _tells_apart(parts, distinction, places, multiplicity, at_one_position=at_one_position):
            others = [*distinctions[:k], *distinctions[k + 1 :]]
            more = (*names, distinction.name)
            return [piece for part in parts for piece in _split(part, places, others, more)]
    if multiplicity > 1 and not at_one_position:
        for name, value in TIMES:
            passes = _by_time(frames, places, value, multiplicity)
            if passes is not None:
                return [(part, (*names, name)) for part in passes]
    return [(frames, names)]


def _multiplicity(frames: Sequence[Frame], places: dict[Frame, int]) -> int:
    """How many frames lie at one place at most; all of them where places are not known."""
    if not places:
        return len(frames)
    counts: dict[int, int] = {}
    for frame in frames:
        counts[places[frame]] = counts.get(places[frame], 0) + 1
    return max(counts.values())


def _group_by_value(frames: Sequence[Frame], distinction: Distinction) -> list[list[Frame]]:
    """Frames of one value each, in the order of the values; numbers within the tolerance are one value."""
    values = {frame: distinction.value(frame) for frame in frames}
    if len(set(values.values())) == 1:
        return [list(frames)]
    order = sorted(set(values.values()), key=_sort_key)
    labels: dict[Hashable, int] = {}
    label, last = -1, None
    for value in order:
        is_near = (
            isinstance(value, float | int) and isinstance(last, float | int) and value - last <= distinction.tolerance
        )
        label, last = (label, last) if is_near and label >= 0 else (label + 1, value)
        labels[value] = label
    groups: list[list[Frame]] = [[] for _ in range(label + 1)]
    for frame in frames:
        groups[labels[values[frame]]].append(frame)
    return groups


def _sort_key(value: Any) -> tuple[int, float, str]:
    """None first, then numbers in their order, then everything else."""
    if value is None:
        return (0, 0.0, "")
    if isinstance(value, float | int):
        return (1, float(value), "")
    first = value[0] if isinstance(value, tuple) and value and isinstance(value[0], float | int) else 0.0
    return (2, float(first), repr(value))


def _tells_apart(
    parts: list[list[Frame]],
    distinction: Distinction,
    places: dict[Frame, int],
    multiplicity: int,
    *,
    at_one_position: bool,
) -> bool:
    """Whether the values of an attribute are those of volumes, and not of slices."""
    if at_one_position:
        return distinction.is_lasting and all(len(part) > 1 for part in parts)
    if multiplicity > 1:
        # At each place that is there several times it has several values, and altogether no more than places are repeated.
        values: dict[int, set[int]] = {}
        counts: dict[int, int] = {}
        for k, part in enumerate(parts):
            for frame in part:
                values.setdefault(places[frame], set()).add(k)
                counts[places[frame]] = counts.get(places[frame], 0) + 1
        separates = all(len(values[place]) > 1 for place, count in counts.items() if count > 1)
        return separates and len(parts) <= multiplicity
    if any(len(part) < 2 for part in parts) or not _overlap(parts, places):
        return False
    if distinction.is_lasting:
        return True
    is_even = all(len(part) >= _MIN_SLICES and _is_even(part) for part in parts)
    return is_even and not _is_even([frame for part in parts for frame in part])


def _overlap(parts: Iterable[Sequence[Frame]], places: dict[Frame, int]) -> bool:
    """Whether some parts lie within each other along the normal, and not one behind the other."""
    extents = sorted((min(places[f] for f in part), max(places[f] for f in part)) for part in parts)
    return any(b[0] < a[1] for a, b in itertools.pairwise(extents))


def _is_even(frames: Sequence[Frame]) -> bool:
    normal = unit_normal(frames[0].orientation or ())
    step, is_regular = median_spacing(sorted(dot(frame.position or (), normal) for frame in frames))
    return step is not None and is_regular


def _by_time(
    frames: Sequence[Frame], places: dict[Frame, int], value: Any, multiplicity: int
) -> list[list[Frame]] | None:
    """Passes over the places, one after another or side by side; None where the times do not tell.

    Slices of a pass follow each other in time (a dynamic study): a pass ends where a place comes again. Or each place
    is seen at all times before the next one (a beating heart): the first times of all places belong together, the
    second ones, and so on.
    """
    times: dict[Frame, Any] = {frame: value(frame) for frame in frames}
    if None in times.values():
        return None
    by_place: dict[int, list[Frame]] = {}
    for frame in sorted(frames, key=times.__getitem__):
        by_place.setdefault(places[frame], []).append(frame)
    if any(len({times[frame] for frame in same}) < len(same) for same in by_place.values()):
        return None
    passes: list[dict[int, Frame]] = [{}]
    for frame in sorted(frames, key=times.__getitem__):
        if places[frame] in passes[-1]:
            passes.append({})
        passes[-1][places[frame]] = frame
    if len(passes) == multiplicity:
        return [list(one.values()) for one in passes]
    if len({len(same) for same in by_place.values()}) == 1:
        return [list(same) for same in zip(*by_place.values(), strict=True)]
    return None


# -- order


def _plan_volume(frames: list[Frame], places: dict[Frame, int], names: tuple[str, ...]) -> VolumePlan:
    is_volume = bool(places) and len(frames) > 1 and _multiplicity(frames, places) == 1
    if is_volume:
        by_place = sorted(frames, key=lambda frame: places[frame])
        is_stored_backwards = frames == by_place[::-1] and len({id(frame.dataset) for frame in frames}) == 1
        return VolumePlan(tuple(frames if is_stored_backwards else by_place), True, names)
    if len({id(frame.dataset) for frame in frames}) == 1:
        return VolumePlan(tuple(frames), False, names)  # the frames of an object have an order
    orders = [value for _, value in TIMES]
    for value in [SLICE_LOCATION, *orders] if not places else orders:
        times: dict[Frame, Any] = {frame: value(frame) for frame in frames}
        if None not in times.values() and len(set(times.values())) == len(frames):
            return VolumePlan(tuple(sorted(frames, key=times.__getitem__)), False, names)
    return VolumePlan(tuple(frames), False, names)


def _with_siblings(volumes: list[VolumePlan], places: dict[Frame, int]) -> list[VolumePlan]:
    """Volumes with their number among their siblings, and how many places they lack that a sibling has."""
    held = [{places[frame] for frame in volume.frames} if places else set() for volume in volumes]
    plans = []
    for k, (volume, own) in enumerate(zip(volumes, held, strict=True)):
        fullest = max((other for other in held if own < other), key=len, default=own)
        plans.append(dataclasses.replace(volume, part=(k + 1, len(volumes)), missing=len(fullest) - len(own)))
    return plans
