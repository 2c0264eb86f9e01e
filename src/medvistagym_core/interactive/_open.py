"""Files opened as images, by the readers of the installed plugins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medvistagym_core.imaging import image_caption
from medvistagym_core.interactive._registry import installed_registry
from medvistagym_core.plugins import ImageFileError, read_images

if TYPE_CHECKING:
    from medvistagym_core.imaging import Image
    from medvistagym_core.plugins import Registry

_MAX_LISTED = 20


class SeveralImagesError(ValueError):
    """A file or folder that holds several images, of which none was chosen; the message lists them."""


def open(  # noqa: A001 what `mv.open` is called
    path: str | Path,
    *,
    index: int | None = None,
    region: tuple[int, int, int, int] | None = None,
    registry: Registry | None = None,
) -> Image:
    """The image that a file or folder holds: DICOM, NIfTI, NRRD, MetaImage, NumPy, TIFF, PNG, JPEG, ...

    Args:
        path: A file, or a folder of one series.
        index: Which of its images, from 0, where it holds several.
        region: `(x0, y0, x1, y1)`, the part to keep, in pixels, the last two exclusive.
        registry: Whose readers are asked; those of the installed plugins when None.

    Raises:
        SeveralImagesError: It holds several images, and `index` says none of them; they are listed.
        NoReaderError: There is no such file, or the plugin that reads it is not installed.
        ImageFileError: The file is broken.
        IndexError: It holds no image of this index.
    """
    images = open_all(path, region=region, registry=registry)
    if index is not None:
        if not 0 <= index < len(images):
            raise IndexError(f"{path} holds {len(images)} images, counted from 0; there is no image {index}")
        return images[index]
    if len(images) > 1:
        raise SeveralImagesError(
            f"{path} holds {len(images)} images; choose one with index=0, 1, ...\n{list_images(images)}"
        )
    return images[0]


def open_all(
    path: str | Path,
    *,
    region: tuple[int, int, int, int] | None = None,
    registry: Registry | None = None,
) -> list[Image]:
    """All images that a file or folder holds, in order: one a series, a picture, a time point.

    Args:
        path: As for `open`.
        region: As for `open`.
        registry: As for `open`.

    Raises:
        NoReaderError: There is no such file, or the plugin that reads it is not installed.
        ImageFileError: The file is broken, or holds no image.
    """
    images = list(read_images(registry or installed_registry(), Path(path), region))
    if not images:
        raise ImageFileError(f"{path} holds no image")
    return images


def list_images(images: Sequence[Image]) -> str:
    """Images in a line each, with their numbers."""
    lines = [f"  {number}  {image_caption(image)}" for number, image in enumerate(images[:_MAX_LISTED])]
    more = [f"  ... and {len(images) - _MAX_LISTED} more"] if len(images) > _MAX_LISTED else []
    return "\n".join(lines + more)
