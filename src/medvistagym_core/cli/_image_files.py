"""Image files, read through whichever plugin knows them and written as pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medvistagym_core.cli._errors import CommandError, UsageError
from medvistagym_core.imaging import Image

if TYPE_CHECKING:
    from medvistagym_core.plugins import Registry


__all__ = ["check_picture_name", "read_images", "write_images"]

_PICTURES: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
_DICOM: Final = (".dcm", ".dicom", ".ima")


def read_images(registry: Registry, paths: Iterable[Path]) -> list[Image]:
    """Read files in order; a file or folder may hold several images.

    Raises:
        UsageError: A path does not exist, or no installed plugin reads it.
        WorkError: A file is broken.
    """
    return [image for path in paths for image in _read(registry, path)]


def _read(registry: Registry, path: Path) -> Sequence[Image]:
    if not path.exists():
        raise UsageError(f"{path}: there is no such file")
    for reader in registry.readers:
        try:
            images = reader(path)
        except (ValueError, OSError) as error:
            raise CommandError(str(error) if path.name in str(error) else f"{path.name}: {error}") from error
        if images is not None:
            return images
    if (path.is_dir() or _is_dicom(path)) and not registry.readers:
        raise UsageError(f"{path}: {_missing_reader()}")
    if path.is_dir() or path.suffix.lower() in _DICOM:
        raise CommandError(
            f"{path.name}: no loaded plugin can read it, and it is not a picture either; is it the right file?"
        )
    try:
        return [Image.open(path)]
    except ValueError as error:
        raise CommandError(str(error)) from error


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix.lower() in _DICOM or file.read(132)[128:] == b"DICM"


def _missing_reader() -> str:
    from medvistagym_core.plugins import load_catalog

    entry = load_catalog().entry_for_format("DICOM")
    install = f": {entry.install}" if entry else ""
    return f"DICOM is read by a plugin, and none that does is loaded{install}"


def check_picture_name(path: Path) -> None:
    """Refuse, before any work, a name under which no picture can be written.

    Raises:
        UsageError: The ending is not that of a picture, or the folder does not exist.
    """
    if path.suffix.lower() not in _PICTURES:
        raise UsageError(f"{path}: a picture's name ends in one of {', '.join(_PICTURES)}")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: the folder {path.parent} does not exist")


def write_images(images: Sequence[Image], path: Path) -> list[Path]:
    """Write the 8-bit view of each image; several are numbered, `out-0.png`, `out-1.png`."""
    several = len(images) > 1
    paths = [path.with_stem(f"{path.stem}-{position}") if several else path for position in range(len(images))]
    for image, target in zip(images, paths, strict=True):
        image.save(target)
    return paths
