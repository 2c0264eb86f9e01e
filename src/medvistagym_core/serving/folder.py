"""Tools that read the files of one folder and of nothing else.

A path is relative, without `..`, hidden parts or links that lead out of the folder; what lies outside is answered as if
it did not exist, and no message names a place outside.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

from medvistagym_core.imaging import Image
from medvistagym_core.serving.session import Limits
from medvistagym_core.tools import Tool, closest_match, tool

Read = Callable[[Path], Sequence[Image]]
_MOST_FILES: Final = 20_000
_MOST_LISTED: Final = 500
_DIRECTORIES: Final = re.compile(
    r"(?<![\w:/.~<-])(?:file:(?://)?)?(?:/|~/|[A-Za-z]:[\\/])(?=[^\s/])(?:[^\s\\/'\"<>|:]+[\\/])*"
)


def masked(text: str) -> str:
    """The text with the folders cut off absolute paths, so that it names no place on this machine."""
    return _DIRECTORIES.sub("", text)


def folder_tools(root: Path, read: Read, limits: Limits) -> list[Tool]:
    """The tools `open_image` and `list_folder` over a folder.

    Args:
        root: The folder.
        read: Images of a file or folder; raises an exception whose message says why it cannot be read.
        limits: Sizes beyond which nothing is read.

    Raises:
        ValueError: It is not a folder.
    """
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder")
    inside = _Folder(root.resolve(), limits)

    @tool(deterministic=False, timeout_s=120.0)
    def open_image(path: str) -> list[Image]:
        """Open an image of the folder that is served; it gets the next handle. A folder that holds a series opens as a stack.

        Args:
            path: Where it is below the folder that is served, with slashes, such as "study/scan.dcm".
        """
        place = inside.place(path)
        inside.weigh(place, path)
        return list(inside.reading(read, place, path))

    @tool(deterministic=False)
    def list_folder(path: str = ".") -> dict[str, Any]:
        """List the files and folders that open_image can open.

        Args:
            path: A folder below the folder that is served; that folder itself when left out.
        """
        return inside.listing(path)

    return [open_image.with_metadata(plugin="serve"), list_folder.with_metadata(plugin="serve")]


class _Folder:
    def __init__(self, root: Path, limits: Limits) -> None:
        self._root = root
        self._limits = limits

    def place(self, path: str) -> Path:
        """The real place of a path.

        Raises:
            ValueError: It does not exist inside the folder.
        """
        pure = PurePosixPath(path)
        if pure.is_absolute() or PureWindowsPath(path).drive or "\\" in path or "\0" in path or ".." in pure.parts:
            raise ValueError("path must be relative to the folder that is served, with slashes and without ..")
        found = self._visible(pure)
        if found is not None:
            return found
        said = f"there is nothing to open at {path[:200]!r}"
        parent = self._visible(pure.parent)
        if parent is None or not parent.is_dir():
            raise ValueError(f"{said}; list_folder shows what there is")
        folders, files = self._names(parent)
        near = closest_match(pure.name, [name.rstrip("/") for name in folders + files])
        hint = f", but there is {str(pure.parent / near)!r}" if near else "; list_folder shows what there is"
        raise ValueError(f"{said}{hint}")

    def _visible(self, pure: PurePosixPath) -> Path | None:
        try:
            found = (self._root / pure).resolve(strict=True)
            parts = (*pure.parts, *found.relative_to(self._root).parts)
            kind = stat.S_IFMT(found.stat().st_mode)
        except (OSError, RuntimeError, ValueError):
            return None
        shown = kind in (stat.S_IFREG, stat.S_IFDIR) and not any(part.startswith(".") for part in parts)
        return found if shown else None

    def listing(self, path: str) -> dict[str, Any]:
        """Names of the visible folders (with a slash at the end) and files of a folder, in order."""
        place = self.place(path)
        if not place.is_dir():
            raise ValueError(f"{path[:200]!r} is not a folder")
        try:
            folders, files = self._names(place)
        except OSError as error:
            raise ValueError(f"{path[:200]!r} cannot be listed: {error.strerror}") from None
        listed: dict[str, Any] = {"folders": folders[:_MOST_LISTED], "files": files[:_MOST_LISTED]}
        if left := max(len(folders) - _MOST_LISTED, 0) + max(len(files) - _MOST_LISTED, 0):
            listed["left_out"] = left
        return listed

    def _names(self, place: Path) -> tuple[list[str], list[str]]:
        folders: list[str] = []
        files: list[str] = []
        for entry in sorted(os.scandir(place), key=lambda entry: entry.name):
            if not entry.name.startswith(".") and self._leads_inside(entry):
                folders.append(f"{entry.name}/") if entry.is_dir() else files.append(entry.name)
        return folders, files

    def _leads_inside(self, entry: os.DirEntry[str]) -> bool:
        if not entry.is_symlink():
            return entry.is_file() or entry.is_dir()
        try:
            found = Path(entry.path).resolve(strict=True)
        except (OSError, RuntimeError):
            return False
        return found.is_relative_to(self._root) and (found.is_file() or found.is_dir())

    def weigh(self, place: Path, path: str) -> None:
        """Refuse what is too large, or a folder with links out of it.

        Raises:
            ValueError: It is too large or not to be followed.
        """
        size = count = 0
        for folder, folders, files in os.walk(place) if place.is_dir() else [(str(place.parent), [], [place.name])]:
            for name in (*folders, *files):
                found = Path(folder, name)
                if found.is_symlink() and not found.resolve().is_relative_to(self._root):
                    raise ValueError(f"{path[:200]!r} holds a link to another place, which is not followed")
            for name in files:
                count += 1
                size += Path(folder, name).stat().st_size
            if size > self._limits.file_bytes or count > _MOST_FILES:
                most = f"{self._limits.file_bytes / 2**20:.0f} MiB in {_MOST_FILES} files"
                raise ValueError(f"{path[:200]!r} is larger than the {most} that may be opened")
        if place.is_file():
            self._weigh_picture(place, path)

    def _weigh_picture(self, place: Path, path: str) -> None:
        import PIL.Image

        try:
            with place.open("rb") as file:
                if file.read(132)[128:] == b"DICM":
                    return  # its preamble may look like a picture's
            with PIL.Image.open(place) as picture:
                width, height = picture.size
        except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError, Warning):
            return  # no picture, or one that its reader will refuse with a better sentence
        if width * height > self._limits.pixels:
            most = f"{self._limits.pixels / 1e6:g} million pixels"
            raise ValueError(f"{path[:200]!r} has {width} x {height} pixels, more than the {most} that may be opened")

    def reading(self, read: Read, place: Path, path: str) -> Sequence[Image]:
        """`read`, with errors that name the path as the client gave it."""
        try:
            images = read(place)
        except OSError as error:
            raise ValueError(f"{path[:200]!r} cannot be read: {error.strerror or type(error).__name__}") from None
        except Exception as error:  # noqa: BLE001 whatever a reader says goes to the client without our paths
            said = str(error).strip().split("\n")[0].replace(str(place), place.name).replace(str(self._root), "")
            said = said.removeprefix(f"{place.name}: ")
            raise ValueError(f"{path[:200]!r} cannot be read: {masked(said) or type(error).__name__}") from None
        if not images:
            raise ValueError(f"{path[:200]!r} holds no image")
        return images
