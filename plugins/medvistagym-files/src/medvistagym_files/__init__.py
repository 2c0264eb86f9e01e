"""Volumes in files for MedVistaGym: NIfTI, NRRD and MetaImage, in and out, with their units and their place in the patient.

For research only; nothing here is for clinical use. nibabel and pynrrd are imported when a file is read or written.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medvistagym_core import hookimpl
from medvistagym_files._formats import KINDS, VolumeWriter

if TYPE_CHECKING:
    from medvistagym_core.imaging import Image, Reader, Writer

__all__ = ["read", "read_one", "write"]
__version__ = "0.1.0"


@hookimpl
def medvistagym_readers() -> Sequence[Reader]:
    """The reader of the three kinds."""
    return [read_if_volume]


@hookimpl
def medvistagym_writers() -> Sequence[Writer]:
    """A writer for each kind."""
    return [VolumeWriter(kind) for kind in KINDS]


def read_if_volume(path: Path) -> Sequence[Image] | None:
    """The volumes in a file; None for a file that is of no kind read here."""
    from medvistagym_files._reading import kind_of, read_volumes

    kind = None if path.is_dir() else kind_of(path)
    return None if kind is None else read_volumes(path, kind)


def read(path: str | Path, *, unit: str | None = None) -> list[Image]:
    """The volumes in a file: one, or one a time point.

    Args:
        path: A file of NIfTI, NRRD or MetaImage, compressed or not.
        unit: The unit of its values, such as "HU", in place of what the file says.

    Raises:
        ValueError: The file is missing, damaged, too large, or of another kind.
    """
    from medvistagym_files._reading import kind_of, read_volumes

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path.name}: no such file")
    kind = kind_of(path)
    if kind is None:
        raise ValueError(f"{path.name}: it is neither NIfTI nor NRRD nor MetaImage")
    return read_volumes(path, kind, unit=unit)


def read_one(path: str | Path, *, unit: str | None = None) -> Image:
    """The only volume in a file.

    Args:
        path: As for `read`.
        unit: As for `read`.

    Raises:
        ValueError: It holds several, or cannot be read.
    """
    images = read(path, unit=unit)
    if len(images) > 1:
        raise ValueError(f"{Path(path).name}: it holds {len(images)} volumes; choose one from read()")
    return images[0]


def write(image: Image, path: str | Path) -> None:
    """Write all values of an image, with their unit and their place in the patient.

    Args:
        image: A slice, frames or a volume.
        path: It ends in .nii, .nii.gz, .nrrd or .mha.

    Raises:
        ValueError: The ending is another, or the kind of file cannot hold the image.
        OSError: The file cannot be written.
    """
    from medvistagym_core.imaging import file_suffix

    path = Path(path)
    for kind in KINDS:
        if file_suffix(path, kind.written) is not None:
            VolumeWriter(kind).write(image, path)
            return
    suffixes = [suffix for kind in KINDS for suffix in kind.written]
    raise ValueError(f"{path.name}: a volume's name ends in one of {', '.join(suffixes)}")
