"""The pictures of questions: in a folder or an archive beside the table, or inside its cells."""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import threading
import zipfile
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from cachetools import LRUCache

from medvistagym_core.environment.questions._picture_decoding import DAMAGED_ARCHIVE, ArchiveMember
from medvistagym_core.environment.questions._picture_process import PICTURE_PROCESS
from medvistagym_core.imaging import Image, Reader

MAX_PICTURE_BYTES: Final = 2**30
"""The largest file that is read as a picture."""
MAX_RECENT_BYTES: Final = 64 * 2**20
_MAX_SHOWN_CHARS: Final = 120
_MAX_LISTED: Final = 5_000_000


class PictureFolder:
    """Folders and zip archives in which pictures are found by their relative paths.

    Args:
        roots: The folders and archives, asked in this order.
        search: Whether a path may begin anywhere below a root: then the roots are listed once, and the beginnings that fit
            are remembered. Without it, paths begin at a root.

    Raises:
        ValueError: A root is neither a folder nor a zip archive.
    """

    def __init__(self, roots: Iterable[Path], *, search: bool = False) -> None:
        self.roots = tuple(roots)
        self._search = search
        self._members: dict[int, Mapping[str, int]] = {}
        self._places: dict[str, tuple[int, str] | None] = {}
        self._problems: dict[str, str | None] = {}
        self._prefixes: list[tuple[int, str]] = [(number, "") for number in range(len(self.roots))]
        self._listing: dict[str, list[tuple[int, str]]] | None = None
        for number, root in enumerate(self.roots):
            if root.is_dir():
                continue
            if not zipfile.is_zipfile(root):
                raise ValueError(f"{root.name} is neither a folder nor a zip archive")
            try:
                with zipfile.ZipFile(root) as archive:
                    entries = archive.infolist()
            except DAMAGED_ARCHIVE as error:
                raise ValueError(f"{root.name} is a damaged zip archive: {error}") from None
            self._members[number] = {entry.filename: entry.file_size for entry in entries if not entry.is_dir()}

    def problem(self, path: str) -> str | None:
        """Why a picture cannot be read from here, as far as can be told without decoding it; None when it can.

        Raises:
            ValueError: Its roots were to be listed, and one of them holds too many files.
        """
        if path not in self._problems:
            self._problems[path] = self._find_problem(path)
        return self._problems[path]

    def _find_problem(self, path: str) -> str | None:
        quoted = repr(path if len(path) <= _MAX_SHOWN_CHARS else f"{path[:_MAX_SHOWN_CHARS]}...")
        if not _stays_inside(path):
            return f"the picture {quoted} lies outside of the picture folder"
        place = self._find(path)
        if place is None:
            return f"the picture {quoted} does not exist"
        number, inside = place
        if number not in self._members and not ((file := self.roots[number] / inside).is_file() or file.is_dir()):
            return f"the picture {quoted} is neither a file nor a folder"
        size = self._members[number][inside] if number in self._members else _size(self.roots[number] / inside)
        if size > MAX_PICTURE_BYTES:
            return f"the picture {quoted} is {size / 2**30:.1f} GiB; {MAX_PICTURE_BYTES // 2**30} GiB is the most"
        return f"the picture {quoted} is an empty file" if size == 0 else None

    def open(self, path: str, readers: Sequence[Reader]) -> list[Image]:
        """The images of a file, or of a folder that is one series.

        Args:
            path: Relative to a root, or with `search` to any folder below one.
            readers: What reads files that are no raster images.

        Raises:
            ValueError: It cannot be read; a sentence names it.
        """
        problem = self.problem(path)
        if problem is not None:
            raise ValueError(problem)
        number, inside = self._find(path) or (0, path)
        root = self.roots[number]
        return PICTURE_PROCESS.decode(
            ArchiveMember(root, inside) if number in self._members else root / inside, readers, path
        )

    def _find(self, path: str) -> tuple[int, str] | None:
        """The root of a path and its name within it."""
        if path not in self._places:
            self._places[path] = self._look(path)
        return self._places[path]

    def _look(self, path: str) -> tuple[int, str] | None:
        for number, prefix in self._prefixes:
            if self._exists(number, prefix + path):
                return number, prefix + path
        if not self._search:
            return None
        wanted = PurePosixPath(path)
        for number, inside in self._listed().get(wanted.name, ()):
            if inside.endswith(f"/{path}"):
                self._prefixes.append((number, inside[: -len(path)]))
                return number, inside
        return None

    def _exists(self, number: int, inside: str) -> bool:
        if number in self._members:
            return inside in self._members[number]
        return (self.roots[number] / inside).exists()

    def _listed(self) -> dict[str, list[tuple[int, str]]]:
        """Every file below the roots, by its last name."""
        if self._listing is None:
            self._listing = {}
            count = 0
            for number, root in enumerate(self.roots):
                names: Iterable[str] = self._members.get(number, ()) or _files_below(root)
                for name in names:
                    self._listing.setdefault(PurePosixPath(name).name, []).append((number, name))
                    count += 1
                    if count > _MAX_LISTED:
                        raise ValueError(f"{root.name} holds more than {_MAX_LISTED:,} files; name a smaller folder")
        return self._listing

    def __getstate__(self) -> dict[str, Any]:
        return {"roots": self.roots, "search": self._search}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["roots"], search=state["search"])  # type: ignore[misc]


class RecentPictures:
    """Pictures that were decoded lately: several questions about one picture, and the episodes of a group, share it.

    Args:
        max_bytes: Most bytes of pixels that are kept.
    """

    def __init__(self, max_bytes: int = MAX_RECENT_BYTES) -> None:
        self._cache: LRUCache[Hashable, list[Image]] = LRUCache(max_bytes, getsizeof=_pixel_bytes)
        self._lock = threading.Lock()

    def get(self, key: Hashable, decode: Callable[[], list[Image]]) -> list[Image]:
        """The images of a picture, decoded unless they are at hand."""
        with self._lock:
            picture = self._cache.get(key)
        if picture is None:
            picture = decode()
            with self._lock, contextlib.suppress(ValueError):  # larger than the whole cache
                self._cache[key] = picture
        return picture


def picture_bytes(cell: Any) -> list[bytes]:
    """The files' bytes in a cell: bytes, base64 text or a data URL, a dict with "bytes", or a list of those.

    Raises:
        ValueError: The cell holds something else.
    """
    if isinstance(cell, list | tuple):
        return [data for part in cell for data in picture_bytes(part)]
    if isinstance(cell, dict):
        return picture_bytes(cell.get("bytes"))
    if cell is None:
        return []
    if isinstance(cell, bytes | bytearray | memoryview):
        return [bytes(cell)]
    if isinstance(cell, str):
        text = cell.partition("base64,")[2] if cell.startswith("data:") else cell
        try:
            return [base64.b64decode(text, validate=True)]
        except (binascii.Error, ValueError):
            raise ValueError("the picture's text is neither a path nor base64") from None
    raise ValueError(f"a picture cannot be a {type(cell).__name__}")


def _pixel_bytes(images: list[Image]) -> int:
    return sum(image.pixels.nbytes for image in images) + 1


def _stays_inside(path: str) -> bool:
    parts = PurePosixPath(path.replace("\\", "/"))
    return bool(path) and not parts.is_absolute() and ".." not in parts.parts and "\0" not in path


def _size(path: Path) -> int:
    """Bytes of a file; those of a folder's files are not counted, since a series is bounded by its reader."""
    status = path.stat()
    return status.st_size if not path.is_dir() else 1


def _files_below(root: Path) -> Iterable[str]:
    for folder, _, files in os.walk(root):
        inside = Path(folder).relative_to(root).as_posix()
        for name in files:
            yield name if inside == "." else f"{inside}/{name}"
