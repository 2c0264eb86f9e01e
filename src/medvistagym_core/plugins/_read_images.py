"""Files and folders read into images, by whichever plugin knows their kind, or as pictures where none does."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from medvistagym_core.imaging import Image
    from medvistagym_core.plugins._registry import Registry

_DICOM: Final = (".dcm", ".dicom", ".ima")
_VOLUMES: Final = {
    ".nii": "NIfTI", ".nii.gz": "NIfTI", ".nrrd": "NRRD", ".nhdr": "NRRD", ".mha": "MetaImage", ".mhd": "MetaImage",
}  # fmt: skip

_PICTURES: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif")
_UNREAD: Final = "no loaded plugin can read it, and it is not a picture either; is it the right file?"

Region = tuple[int, int, int, int]


class ImageFileError(ValueError):
    """A file that could not be read; the sentence names it and says why."""


class NoReaderError(ImageFileError):
    """There is no such file, or no plugin that reads it is loaded; the sentence says which would."""


def read_images(registry: Registry, path: Path, region: Region | None = None) -> Sequence[Image]:
    """The images that a file or folder holds, in order.

    Args:
        registry: Whose readers are asked.
        path: A file, or a folder of one or more series.
        region: `(x0, y0, x1, y1)`, the part to keep, in pixels, the last two exclusive.

    Raises:
        NoReaderError: The path does not exist, or no loaded plugin reads it.
        ImageFileError: The file is broken.
    """
    from medvistagym_core.imaging import read_raster

    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise NoReaderError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:  # a name that is too long, a link to itself, a folder that is closed
        raise NoReaderError(f"{path}: it cannot be found: {getattr(error, 'strerror', None) or error}") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ImageFileError(f"{path}: it is neither a file nor a folder; write what it gives to a file")
    try:
        for reader in registry.readers:
            images = reader(path)
            if images is not None:
                return images if region is None else [image.crop(*region) for image in images]
    except (ValueError, OSError) as error:
        raise _name_file(path, error) from error
    _refuse_unread(registry, path)
    try:
        return read_raster(path, region=region)
    except ValueError as error:
        if path.suffix.lower() in _DICOM:
            raise ImageFileError(f"{path.name}: {_UNREAD}") from error
        raise _name_file(path, error) from error


def volume_kind(path: Path) -> str | None:
    """The kind of volume file that a path is by its name, such as "NIfTI"; None where it is none."""
    from medvistagym_core.imaging import file_suffix

    return _VOLUMES.get(file_suffix(path, _VOLUMES) or "")


def missing_plugin(kind: str) -> str:
    """A sentence that says that no plugin which reads a kind of file is loaded, and how to install one."""
    from medvistagym_core.plugins._catalog import load_catalog

    entry = load_catalog().entry_for_format(kind)
    install = f": {entry.install}" if entry else ""
    return f"{kind} is read by a plugin, and none that does is loaded{install}"


def _name_file(path: Path, error: Exception) -> ImageFileError:
    sentence = str(error) if path.name in str(error) else f"{path.name}: {error}"
    return ImageFileError(f"{sentence}{_hint_of_pictures(path)}")


def _hint_of_pictures(path: Path) -> str:
    """What to name in place of a folder that holds no series but pictures; empty for any other path."""
    if not path.is_dir():
        return ""
    try:
        pictures = sorted(file.name for file in path.iterdir() if file.suffix.lower() in _PICTURES)
    except OSError:  # which the sentence before tells
        return ""
    return f"; pictures are named one by one, such as {path / pictures[0]}" if pictures else ""


def _refuse_unread(registry: Registry, path: Path) -> None:
    """Refuse what is no picture by its kind: a volume or DICOM without a plugin, and a folder."""
    kind = None if path.is_dir() else volume_kind(path)
    if kind is not None:
        raise NoReaderError(f"{path}: {missing_plugin(kind)}")
    if (path.is_dir() or _is_dicom(path)) and not registry.readers:
        raise NoReaderError(f"{path}: {missing_plugin('DICOM')}{_hint_of_pictures(path)}")
    if path.is_dir():
        raise ImageFileError(f"{path.name}: {_UNREAD}{_hint_of_pictures(path)}")


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix.lower() in _DICOM or file.read(132)[128:] == b"DICM"
