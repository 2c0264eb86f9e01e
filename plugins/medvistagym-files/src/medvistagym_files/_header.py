"""What the header of a volume says, in one form for all kinds of files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from medvistagym_core.imaging import ImageDescription, PatientGeometry

if TYPE_CHECKING:
    import numpy as np

MAX_SIDE: Final = 2**20
"""Most pixels along an axis."""


class VolumeHeader(NamedTuple):
    """A grid of values and what it means.

    Attributes:
        volumes: How many lie one after another: time points and the like.
        shape: Slices, rows and columns of each; a single slice where it is a plane.
        channels: 1, or 3 for colours.
        dtype: Of the stored values, with its byte order.
        slope: What they are multiplied by.
        intercept: What is then added.
        is_volume: Whether the slices are at a known distance, rather than frames.
        geometry: Where they lie; steps in mm.
        has_spacing: Whether the header says it.
        unit: Of the values; None where the header does not say it.
        modality: DICOM modality; None where the header does not say it.
        description: What this project wrote of the image; None in files of others.
        attributes: Other facts.
        open: Opens a stream at the beginning of the stored values, and gives the size of the file that they are in.
    """

    volumes: int
    shape: tuple[int, int, int]
    channels: int
    dtype: np.dtype[Any]
    slope: float
    intercept: float
    is_volume: bool
    geometry: PatientGeometry
    has_spacing: bool
    unit: str | None
    modality: str | None
    description: ImageDescription | None
    attributes: Mapping[str, str]
    open: Callable[[], AbstractContextManager[tuple[IO[bytes], int]]]


def check_sides(sides: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers of pixels along the axes, if they can be.

    Raises:
        ValueError: One is not.
    """
    if not sides or not all(0 < side <= MAX_SIDE for side in sides):
        raise ValueError(f"its header says that it has {' x '.join(map(str, sides)) or 'no'} pixels")
    return sides


def beside(path: Path, name: str) -> Path:
    """The file of values that a header names, which lies beside it: a header must not choose any file of the machine.

    Raises:
        ValueError: It names another place, or the file is not there.
    """
    if name in ("", ".", "..") or any(sign in name for sign in "/\\:\0"):
        raise ValueError(
            f"its values are said to be in {name[:80]!r}, and must be in a file beside it, named without a folder"
        )
    file = path.with_name(name)
    if not file.is_file() or file.is_symlink():
        raise ValueError(f"its values are in {name[:80]}, and no such file is beside it")
    return file
