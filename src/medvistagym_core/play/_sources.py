"""What there is to open below a path: single files that hold images, and folders whose files are slices of series."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from medvistagym_core.imaging import Image, Reader, read_raster

MAX_SOURCES: Final = 2000
MAX_FILES: Final = 50_000
_ONE_BY_ONE: Final = (
    ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".jp2", ".avif", ".pgm", ".ppm", ".npy",
    ".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd",
)  # fmt: skip
_NO_IMAGES: Final = (
    ".json", ".jsonl", ".txt", ".md", ".csv", ".tsv", ".py", ".html", ".pdf", ".xml", ".zip", ".gz", ".raw", ".yaml", ".yml",
    ".toml", ".log", ".exe", ".inf",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """A file or folder that a reader is asked for images.

    Attributes:
        name: Its place below the path that was asked for.
        path: Where it is.
        files: The files of a folder, in order of their names; empty for a single file.
    """

    name: str
    path: Path
    files: tuple[Path, ...] = ()

    @property
    def preview_path(self) -> Path | None:
        """A file in the middle of a folder, which is read sooner than all of them; None for a single file."""
        return self.files[len(self.files) // 2] if len(self.files) > 1 else None


def find_sources(path: Path) -> list[ImageSource]:
    """The sources at a path, in order of their names; at most `MAX_SOURCES` of them.

    Below a folder, pictures and volumes are a source each, and the other files of a folder one together, since a series is
    often a file a slice. Hidden files and folders are passed over, and links to folders are not followed.

    Raises:
        ValueError: There is no such path, or nothing below it that may hold images.
    """
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder")
    if path.is_file():
        return [ImageSource(path.name, path)]
    sources: list[ImageSource] = []
    seen = 0
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = sorted(name for name in names if not name.startswith("."))
        seen += len(names)
        place = Path(folder)
        label = place.relative_to(path).as_posix()
        alone = [name for name in names if name.lower().endswith(_ONE_BY_ONE)]
        together = [name for name in names if not name.lower().endswith((*_ONE_BY_ONE, *_NO_IMAGES))]
        sources += [ImageSource(name if label == "." else f"{label}/{name}", place / name) for name in alone]
        if len(together) == 1:
            sources.append(ImageSource(together[0] if label == "." else f"{label}/{together[0]}", place / together[0]))
        elif together:
            name = path.resolve().name if label == "." else label
            sources.append(ImageSource(f"{name}/", place, tuple(place / one for one in together)))
        if len(sources) >= MAX_SOURCES or seen > MAX_FILES:
            break
    if not sources:
        raise ValueError(f"{path}: there is no file that may hold images")
    return sorted(sources[:MAX_SOURCES], key=lambda source: source.name)


def read_source(path: Path, readers: Sequence[Reader]) -> list[Image]:
    """The images of a file or folder.

    Raises:
        ValueError: No reader knows it and it is no picture, or it cannot be read; a sentence says why.
        OSError: It cannot be opened.
    """
    for reader in readers:
        images = reader(path)
        if images is not None:
            return list(images)
    if path.is_dir():
        raise ValueError(
            f"{path.name}: no installed plugin reads the files of this folder (DICOM is read by medvistagym-dicom)"
        )
    return read_raster(path)
