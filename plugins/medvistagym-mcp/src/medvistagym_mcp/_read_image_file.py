"""Reading a file in a process of its own: what runs there.

It stands outside of the rooms, so that such a process imports neither them nor the `mcp` SDK.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from pathlib import Path

from medvistagym_core.execution import limit_memory
from medvistagym_core.imaging import Image
from medvistagym_core.plugins import PluginWarning, Registry
from medvistagym_core.tools import tool


@tool(deterministic=False)
def read_image_file(
    path: str, max_pixels: int, max_bytes: int, memory_bytes: int, plugins: str | None = None
) -> list[Image]:
    """Read a file or folder; run in a process of its own.

    Args:
        path: Where it is.
        max_pixels: Width times height of a picture file.
        max_bytes: Memory of the images.
        memory_bytes: Memory that reading may take beyond what the process has.
        plugins: Which plugins are loaded; all when left out.
    """
    registry = _registry(plugins)
    limit_memory(memory_bytes)
    place = Path(path)
    if place.is_file():
        _check_pixels(place, max_pixels)
    with warnings.catch_warnings(record=True) as broken_readers:
        warnings.simplefilter("always", PluginWarning)
        try:
            images = list(_read(registry, place))
        except (ValueError, OSError) as error:
            reason = str(error).strip() or type(error).__name__
            raise ValueError("; ".join([*(str(one.message) for one in broken_readers), reason])) from error
    size = sum(image.pixels.nbytes for image in images)
    if size > max_bytes:
        limit = f"{max_bytes / 2**20:.0f} MiB that a session may hold"
        raise ValueError(f"its images take {size / 2**20:.0f} MiB, more than the {limit}")
    return images


@tool(deterministic=False)
def read_picture_file(path: str, max_pixels: int, memory_bytes: int) -> Image:
    """Read a picture that another program sent; run in a process of its own.

    Args:
        path: Where it is.
        max_pixels: Width times height.
        memory_bytes: Memory that reading may take beyond what the process has.
    """
    limit_memory(memory_bytes)
    _check_pixels(Path(path), max_pixels)
    return Image.open(path, page=0)


def _read(registry: Registry, path: Path) -> Sequence[Image]:
    for reader in registry.readers:
        images = reader(path)
        if images is not None:
            return images
    if path.is_dir():
        raise ValueError("no plugin that is loaded reads this folder")
    if _is_dicom(path):
        raise ValueError("it is DICOM, and no plugin that is loaded reads that")
    return [Image.open(path)]


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


@functools.cache
def _registry(plugins: str | None) -> Registry:
    return Registry.discover(plugins)


def _check_pixels(path: Path, max_pixels: int) -> None:
    """Refuse a picture file that is too large, by its header.

    Raises:
        ValueError: It has more pixels than allowed.
    """
    import PIL.Image

    try:
        if _is_dicom(path):
            return  # its preamble may look like a picture's
        with PIL.Image.open(path) as picture:
            width, height = picture.size
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError, Warning):
        return  # no picture, or one that its reader will refuse with a better sentence
    if width * height > max_pixels:
        raise ValueError(
            f"it has {width} x {height} pixels, more than the {max_pixels / 1e6:g} million that may be opened"
        )
