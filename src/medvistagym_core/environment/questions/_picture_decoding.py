"""From a file, a member of an archive or the bytes of a cell to images, in whatever process does it."""

from __future__ import annotations

import contextlib
import lzma
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Final, NamedTuple

from medvistagym_core.environment.questions._plain_pictures import HEAD_BYTES, is_plain_picture
from medvistagym_core.imaging import Image, Reader, check_decoded_size

_COPY_BYTES: Final = 2**20
_PLAIN_PACKING: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_PLAIN_BYTES: Final = 2**25
DAMAGED_ARCHIVE: Final = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, KeyError,
    NotImplementedError, ValueError,
)  # fmt: skip
"""What `zipfile` raises for archives that are damaged, encrypted, or packed in a way that it does not know."""


class ArchiveMember(NamedTuple):
    """A file in a zip archive."""

    archive: Path
    name: str


class Decoded(NamedTuple):
    """What another process makes of a picture.

    Attributes:
        images: The images, unless something is wrong.
        error: What is wrong, a sentence.
        warnings: What readers broke their promise by.
        unreadable: Whether the child cannot import the readers.
    """

    images: list[Image]
    error: str = ""
    warnings: Sequence[str] = ()
    unreadable: bool = False


def decode_picture(
    picture: Path | ArchiveMember | bytes, readers: Sequence[Reader], label: str, folder: Path | None = None
) -> list[Image]:
    """The images of a picture, by the first reader that knows it, else as a raster image.

    Args:
        picture: A file, or a folder that is one series, which exists; a member of an archive; or the bytes of a file.
        readers: What reads DICOM and other files (`Registry.readers`).
        label: What sentences call it; its ending is taken for that of bytes.
        folder: Where bytes are written for as long as they are read; the system's folder for temporary files when None.

    Raises:
        ValueError: It cannot be read.
    """
    if isinstance(picture, Path):
        return _read_images(picture, readers, label)
    if isinstance(picture, bytes):
        if not picture:
            raise ValueError(f"{label}: the picture is empty")
        # Readers take paths, since some formats need the file's name or a look at several places of it.
        with _temporary_file(picture, label, folder) as file:
            file.write(picture)
            file.flush()
            return _read_images(Path(file.name), readers, label)
    with contextlib.ExitStack() as undo:
        try:
            file = undo.enter_context(_inflate_member(picture, folder))
        except DAMAGED_ARCHIVE as error:
            raise ValueError(f"{label} in {picture.archive.name} cannot be read: {error}") from None
        return _read_images(Path(file.name), readers, label)


def is_plain(picture: Path | ArchiveMember | bytes, label: str) -> bool:
    """Whether a picture is plainly small and ordinary (`is_plain_picture`); of an archive, in a member that is so as well."""
    try:
        if isinstance(picture, bytes):
            return is_plain_picture(picture[:HEAD_BYTES], label)
        if isinstance(picture, Path):
            if not picture.is_file():
                return False
            with picture.open("rb") as file:
                return is_plain_picture(file.read(HEAD_BYTES), picture.name)
        archive, entry = _find_member(picture)
        if entry.compress_type not in _PLAIN_PACKING or entry.file_size > _PLAIN_BYTES:
            return False
        with archive.open(entry) as member:
            return is_plain_picture(member.read(HEAD_BYTES), picture.name)
    except DAMAGED_ARCHIVE:  # which is said where it is decoded
        return False


def _read_images(path: Path, readers: Sequence[Reader], label: str) -> list[Image]:
    try:
        for reader in readers:
            images = reader(path)
            if images is not None:
                return list(images)
        if path.is_dir():
            raise ValueError("no loaded plugin reads this folder")
        if not readers and _is_dicom(path):
            raise ValueError("DICOM is read by a plugin, and none is loaded: pip install medvistagym-dicom")
        return [Image.open(path)]
    except (ValueError, OSError) as error:
        raise ValueError(f"{label}: {_reason(error, path)}") from error


@contextlib.contextmanager
def _inflate_member(member: ArchiveMember, folder: Path | None) -> Iterator[IO[bytes]]:
    """A temporary file with a member of an archive, which is inflated no further than it says.

    Raises:
        ValueError: It would grow out of proportion.
        zipfile.BadZipFile: It is damaged.
    """
    archive, entry = _find_member(member)
    check_decoded_size(entry.file_size, entry.compress_size, "it is compressed")
    with archive.open(entry) as packed:
        block = packed.read(_COPY_BYTES)
        with _temporary_file(block, member.name, folder) as file:
            while block:
                file.write(block)
                block = packed.read(_COPY_BYTES)
            file.flush()
            yield file


def _find_member(member: ArchiveMember) -> tuple[zipfile.ZipFile, zipfile.ZipInfo]:
    status = member.archive.stat()
    archive = _open_archive(member.archive, status.st_mtime_ns, status.st_size, os.getpid())
    return archive, archive.getinfo(member.name)


@lru_cache(8)
def _open_archive(path: Path, modified_ns: int, size: int, process: int) -> zipfile.ZipFile:
    """The open archive; each process has its own, since they share their place in a file otherwise."""
    return zipfile.ZipFile(path)


def _temporary_file(data: bytes, name: str, folder: Path | None) -> IO[bytes]:
    return tempfile.NamedTemporaryFile(prefix="medvistagym-", suffix=_suffix(data, name), dir=folder)


def _suffix(data: bytes, name: str) -> str:
    """The ending of a file's name, which some readers go by."""
    if data[128:132] == b"DICM":
        return ".dcm"
    name = PurePosixPath(name.replace("\\", "/")).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else PurePosixPath(name).suffix[:10] if name.isprintable() else ""


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _reason(error: Exception, path: Path) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.replace(f"{path.name}: ", "").replace(str(path), "the file").replace(path.name, "the file")
