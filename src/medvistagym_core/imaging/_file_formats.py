"""What reads files into images, and what writes them; and the choice of a writer by a file's ending."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Final, Protocol, runtime_checkable

from medvistagym_core.imaging._image import Image
from medvistagym_core.imaging._picture_files import PICTURE_SUFFIXES, write_picture

_VALUE_SUFFIXES: Final = (".tif", ".tiff", ".npy")


@runtime_checkable
class Reader(Protocol):
    """Reads files or folders of a kind; a plugin offers some by the hook `medvistagym_readers`."""

    def __call__(self, path: Path) -> Sequence[Image] | None:
        """The images in a file or folder, in order.

        Args:
            path: It exists.

        Returns:
            The images; None for a file that is not of this reader's kind, so that another one is asked.

        Raises:
            ValueError: The file is of the kind and cannot be read; a sentence says why.
        """
        ...


@runtime_checkable
class Writer(Protocol):
    """Writes images to files of a kind; a plugin offers some by the hook `medvistagym_writers`."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the names of its files, in lower case with the dot, such as (".nii", ".nii.gz")."""
        ...

    def write(self, image: Image, path: Path) -> None:
        """Write an image, aside first and then renamed, so that no file is ever half written.

        Args:
            image: One frame, or a stack.
            path: The file, whose ending is one of the writer's.

        Raises:
            ValueError: The kind cannot hold this image; a sentence says why.
            OSError: The file cannot be written.
        """
        ...


def read_raster(source: str | Path | bytes | IO[bytes], region: tuple[int, int, int, int] | None = None) -> list[Image]:
    """The images of a picture file: that of `Image.open`; or, where its pages differ in size or kind, one a page.

    Args:
        source: A path, the bytes of a file, or a file that is open for reading.
        region: As for `Image.open`.

    Raises:
        ValueError: The file is missing, broken, too large, or not a picture, or the region leaves it.
    """
    from medvistagym_core.imaging._raster_files import read_raster_file

    return read_raster_file(Image, source, None, region)


def writable_suffixes(writers: Iterable[Writer] = ()) -> tuple[str, ...]:
    """Endings of the names under which images can be written, pictures first."""
    offered = (suffix for writer in writers for suffix in writer.suffixes)
    return tuple(dict.fromkeys((*PICTURE_SUFFIXES, *_VALUE_SUFFIXES, *offered)))


def file_suffix(path: Path, suffixes: Iterable[str]) -> str | None:
    """The longest of the endings that a file's name has, as `.nii.gz` of `head.nii.gz`; None if it has none of them.

    Args:
        path: The file, which need not exist.
        suffixes: Endings in lower case, each with its dot.
    """
    name = path.name.lower()
    return max((suffix for suffix in suffixes if name.endswith(suffix) and name != suffix), key=len, default=None)


def write_image(image: Image, path: Path, writers: Iterable[Writer] = ()) -> None:
    """Write an image: as a picture of what it shows, or its values with what they mean, as the file's ending says.

    Args:
        image: What to write.
        path: It ends in one of `writable_suffixes`. Pictures (`.png`, `.jpg`, ...) hold the 8-bit view, of a stack the frame
            that is displayed; `.npy`, `.tif` and the kinds of the writers hold all values.
        writers: Those of plugins.

    Raises:
        ValueError: The ending is none of them, or the kind of file cannot hold the image.
        OSError: The file cannot be written.
    """
    from medvistagym_core.imaging._array_files import write_array, write_tiff

    writers = tuple(writers)
    suffix = file_suffix(path, writable_suffixes(writers))
    for writer in writers:
        if suffix in writer.suffixes:
            writer.write(image, path)
            return
    if suffix == ".npy":
        write_array(image, path)
    elif suffix in (".tif", ".tiff"):
        write_tiff(image, path)
    elif suffix is not None:
        write_picture(image, path, described=True)
    else:
        raise ValueError(
            f"{path.name}: the name of an image file ends in one of {', '.join(writable_suffixes(writers))}"
        )


def holds_values(path: Path) -> bool:
    """Whether a file of this name holds all the values of an image, and not a picture of them."""
    return file_suffix(path, PICTURE_SUFFIXES) is None
