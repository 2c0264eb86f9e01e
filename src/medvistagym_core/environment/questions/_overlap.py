"""Duplicate pictures across splits and tasks, found by exact and by perceptual hashes.

An exact hash is of the decoded grey values or colours. A perceptual one is the sign pattern of the 8 x 8 lowest frequencies of
the picture at 32 x 32 pixels (a discrete cosine transform, as in Zauner 2010, "Implementation and Benchmarking of Perceptual
Image Hash Functions"), which survives resizing, compression and a change of window; two pictures of the same projection of two
patients may be near each other as well, so near ones are to be looked at, not counted.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from medvistagym_core.environment._task import Task

if TYPE_CHECKING:
    import numpy as np

    from medvistagym_core.imaging import Image

MAX_DISTANCE: Final = 4
"""Most of 64 signs that may differ between near pictures."""
_SIDE: Final = 32
_LOW: Final = 8
_MIN_SPREAD: Final = 2.0  # grey levels; what is flatter has no pattern
_CHUNK: Final = 2048


class PictureHash(NamedTuple):
    """A picture's hashes.

    Attributes:
        case: Name of the first case that shows it.
        exact: SHA-256 of its size and values.
        signs: 64 signs, +1 or -1, as float32; None for a picture without a pattern.
    """

    case: str
    exact: str
    signs: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class PictureSet:
    """The pictures of a split, each once.

    Attributes:
        name: What it is called, such as "vqa_rad test".
        pictures: Their hashes.
        problems: Cases that could not be shown, a sentence each.
    """

    name: str
    pictures: tuple[PictureHash, ...]
    problems: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Overlap:
    """Two pictures of different sets that are the same, or near.

    Attributes:
        first: Set and case of the one.
        second: Set and case of the other.
        distance: Signs of 64 that differ; None for pictures that are the same in every value.
    """

    first: tuple[str, str]
    second: tuple[str, str]
    distance: int | None


def hash_pictures(
    task: Task,
    split: str,
    count: int,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PictureSet:
    """Hash the pictures of the first cases of a split.

    Args:
        task: The task.
        split: The split.
        count: How many cases.
        seed: Seed of the cases.
        progress: Told how many are done, and of how many.
    """
    hashes: dict[str, PictureHash] = {}
    problems: list[str] = []
    for index in range(count):
        try:
            case = task.case(split, index, seed)
        except ValueError as error:
            problems.append(str(error))
            continue
        for image in case.images:
            exact = exact_hash(image)
            if exact not in hashes:
                hashes[exact] = PictureHash(case.id, exact, perceptual_signs(image))
        progress(index + 1, count)
    return PictureSet(f"{task.name} {split}", tuple(hashes.values()), tuple(problems))


def find_overlaps(sets: Sequence[PictureSet], *, max_distance: int = MAX_DISTANCE) -> list[Overlap]:
    """Pictures that are in more than one set; for each pair of sets the exact ones first, then the nearest.

    Args:
        sets: The pictures of splits, whose sets are compared two by two.
        max_distance: Most signs of the 64 of a perceptual hash in which near pictures may differ.
    """
    overlaps: list[Overlap] = []
    for number, one in enumerate(sets):
        for other in sets[number + 1 :]:
            overlaps += _overlaps(one, other, max_distance)
    return overlaps


def exact_hash(image: Image) -> str:
    """SHA-256 of a picture's size and values."""
    import numpy as np

    head = f"{image.pixels.shape} {image.pixels.dtype.str}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(image.pixels).data).hexdigest()


def perceptual_signs(image: Image) -> np.ndarray | None:
    """The sign pattern of a picture's low frequencies; None where there is none."""
    import numpy as np

    small = image.to_pil().convert("L").resize((_SIDE, _SIDE))
    values = np.asarray(small, np.float64)
    if values.std() < _MIN_SPREAD:
        return None
    low = _cosines() @ values @ _cosines().T
    flat = low.ravel()
    return np.where(flat > np.median(flat[1:]), 1, -1).astype(np.float32)


def _cosines() -> np.ndarray:
    """The first rows of the type II cosine transform."""
    import numpy as np

    places, orders = np.arange(_SIDE), np.arange(_LOW)[:, None]
    return np.asarray(np.cos(np.pi * (2 * places + 1) * orders / (2 * _SIDE)))


def _overlaps(one: PictureSet, other: PictureSet, max_distance: int) -> list[Overlap]:
    import numpy as np

    by_exact = {picture.exact: picture for picture in other.pictures}
    same = [(mine, by_exact[mine.exact]) for mine in one.pictures if mine.exact in by_exact]
    overlaps = [Overlap((one.name, mine.case), (other.name, theirs.case), None) for mine, theirs in same]
    exact = {mine.exact for mine, _ in same}
    rows = [picture for picture in one.pictures if picture.signs is not None and picture.exact not in exact]
    columns = [picture for picture in other.pictures if picture.signs is not None and picture.exact not in exact]
    if not rows or not columns:
        return overlaps
    near_duplicates: list[Overlap] = []
    patterns = np.stack([picture.signs for picture in columns if picture.signs is not None])
    for begin in range(0, len(rows), _CHUNK):
        block = np.stack([picture.signs for picture in rows[begin : begin + _CHUNK] if picture.signs is not None])
        distance = (block.shape[1] - block @ patterns.T) / 2
        for i, k in np.argwhere(distance <= max_distance):
            pair = (one.name, rows[begin + i].case), (other.name, columns[k].case)
            near_duplicates.append(Overlap(*pair, int(distance[i, k])))
    return overlaps + sorted(near_duplicates, key=lambda overlap: overlap.distance or 0)
