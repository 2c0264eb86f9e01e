"""What reads files into images, and what writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from medvistagym_core.imaging._image import Image


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

        Raises:
            ValueError: The kind cannot hold this image; a sentence says why.
            OSError: The file cannot be written.
        """
        ...
