"""The kinds of files: their names, their endings, and the modules that know them."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from medvistagym_core.imaging import Image


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: What people call it.
        written: Endings that are written.
        read: Endings that are read, besides what the first bytes tell.
        module: Where `read_header(path)` and `write(image, path)` are.
    """

    name: str
    written: tuple[str, ...]
    read: tuple[str, ...]
    module: str

    def load(self) -> Any:
        """The module, which imports a library."""
        return importlib.import_module(f"medvistagym_files.{self.module}")


KINDS: Final = (
    Kind("NIfTI", (".nii", ".nii.gz"), (".nii", ".nii.gz", ".hdr", ".img", ".img.gz"), "_nifti"),
    Kind("NRRD", (".nrrd",), (".nrrd", ".nhdr"), "_nrrd"),
    Kind("MetaImage", (".mha",), (".mha", ".mhd"), "_metaimage"),
)


@dataclasses.dataclass(frozen=True)
class VolumeWriter:
    """Writes files of a kind."""

    kind: Kind

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the names of its files."""
        return self.kind.written

    def write(self, image: Image, path: Path) -> None:
        """Write all values of an image, aside first and then renamed.

        Raises:
            ValueError: The kind cannot hold the image.
            OSError: The file cannot be written.
        """
        from medvistagym_core.storage import write_atomically

        with write_atomically(path, keep_suffix=True) as part:
            self.kind.load().write(image, part)
