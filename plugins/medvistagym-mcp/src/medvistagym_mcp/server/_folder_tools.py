"""Tools that read the files of one folder and of nothing else.

A path is relative, without `..`, hidden parts or links that lead out of the folder; what lies outside is answered as if
it did not exist, and no message names a place outside.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

from medvistagym_core.imaging import Image
from medvistagym_core.tools import Tool, ToolError, closest_match, tool
from medvistagym_mcp.server._results import redact_paths
from medvistagym_mcp.server._session import SessionLimits

ReadImages = Callable[[Path], Sequence[Image]]
_MAX_FILES: Final = 20_000
_MAX_LISTED: Final = 500
_WAIT_S: Final = 60.0  # for a process that reads, besides the time that reading may take


def folder_tools(root: Path, read: ReadImages, limits: SessionLimits) -> list[Tool]:
    """The tools `open_image` and `list_folder` over a folder.

    Args:
        root: The folder.
        read: Images of a file or folder, such as a `FileReader`; raises an exception whose message says why it cannot be read.
        limits: Sizes beyond which nothing is read, and how long reading may take.

    Raises:
        ValueError: It is not a folder.
    """
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder")
    folder = _Folder(root.resolve(), limits)

    @tool(deterministic=False, timeout_s=limits.read_s + _WAIT_S)
    def open_image(path: str) -> list[Image]:
        """Open an image of the folder that is served; it gets the next handle. A folder that holds a series opens as a stack.

        Args:
            path: Where it is below the folder that is served, with slashes, such as "study/scan.dcm".
        """
        place = folder.resolve(path)
        folder.check_size(place, path)
        return list(folder.read(read, place, path))

    @tool(deterministic=False)
    def list_folder(path: str = ".") -> dict[str, Any]:
        """List the files and folders that open_image can open.

        Args:
            path: A folder below the folder that is served; that folder itself when left out.
        """
        return folder.names_in(path)

    return [open_image, list_folder]


class _Folder:
    def __init__(self, root: Path, limits: SessionLimits) -> None:
        self._root = root
        self._limits = limits

    def resolve(self, path: str) -> Path:
        """The real place of a path.

        Raises:
            ValueError: It does not exist inside the folder.
        """
        pure = PurePosixPath(path)
        if pure.is_absolute() or PureWindowsPath(path).drive or "\\" in path or "\0" in path or ".." in pure.parts:
            raise ValueError("path must be relative to the folder that is served, with slashes and without ..")
        place = self._visible(pure)
        if place is not None:
            return place
        message = f"there is nothing to open at {path[:200]!r}"
        parent = self._visible(pure.parent)
        if parent is None or not parent.is_dir():
            raise ValueError(f"{message}; list_folder shows what there is")
        folders, files, _ = self._names(parent)
        suggestion = closest_match(pure.name, [name.rstrip("/") for name in folders + files])
        hint = (
            f", but there is {str(pure.parent / suggestion)!r}" if suggestion else "; list_folder shows what there is"
        )
        raise ValueError(f"{message}{hint}")

    def _visible(self, pure: PurePosixPath) -> Path | None:
        try:
            place = (self._root / pure).resolve(strict=True)
            parts = (*pure.parts, *place.relative_to(self._root).parts)
            kind = stat.S_IFMT(place.stat().st_mode)
        except (OSError, RuntimeError, ValueError):
            return None
        visible = kind in (stat.S_IFREG, stat.S_IFDIR) and not any(part.startswith(".") for part in parts)
        return place if visible else None

    def names_in(self, path: str) -> dict[str, Any]:
        """Names of the visible folders (with a slash at the end) and files of a folder, in order."""
        place = self.resolve(path)
        if not place.is_dir():
            raise ValueError(f"{path[:200]!r} is not a folder")
        try:
            folders, files, nameless = self._names(place)
        except OSError as error:
            raise ValueError(f"{path[:200]!r} cannot be listed: {error.strerror}") from None
        listed: dict[str, Any] = {"folders": folders[:_MAX_LISTED], "files": files[:_MAX_LISTED]}
        if left := max(len(folders) - _MAX_LISTED, 0) + max(len(files) - _MAX_LISTED, 0) + nameless:
            listed["left_out"] = left
        return listed

    def _names(self, folder: Path) -> tuple[list[str], list[str], int]:
        """Folders, files, and how many have a name that is not UTF-8, by which no client could ask for them."""
        folders: list[str] = []
        files: list[str] = []
        nameless = 0
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.name.startswith(".") or not self._leads_inside(entry):
                continue
            if not _is_utf8(entry.name):
                nameless += 1
            else:
                folders.append(f"{entry.name}/") if entry.is_dir() else files.append(entry.name)
        return folders, files, nameless

    def _leads_inside(self, entry: os.DirEntry[str]) -> bool:
        if not entry.is_symlink():
            return entry.is_file() or entry.is_dir()
        try:
            target = Path(entry.path).resolve(strict=True)
        except (OSError, RuntimeError):
            return False
        return target.is_relative_to(self._root) and (target.is_file() or target.is_dir())

    def check_size(self, resolved: Path, path: str) -> None:
        """Refuse what is too large, or a folder with links out of it.

        Raises:
            ValueError: It is too large or not to be followed.
        """
        size = count = 0
        for folder, folders, files in (
            os.walk(resolved) if resolved.is_dir() else [(str(resolved.parent), [], [resolved.name])]
        ):
            for name in (*folders, *files):
                part = Path(folder, name)
                if part.is_symlink() and not part.resolve().is_relative_to(self._root):
                    raise ValueError(f"{path[:200]!r} holds a link to another place, which is not followed")
            for name in files:
                count += 1
                size += Path(folder, name).stat().st_size
            if size > self._limits.file_bytes or count > _MAX_FILES:
                limit = f"{self._limits.file_bytes / 2**20:.0f} MiB in {_MAX_FILES} files"
                raise ValueError(f"{path[:200]!r} is larger than the {limit} that may be opened")

    def read(self, read: ReadImages, resolved: Path, path: str) -> Sequence[Image]:
        """`read`, with errors that name the path as the client gave it."""
        try:
            images = read(resolved)
        except OSError as error:
            raise ValueError(f"{path[:200]!r} cannot be read: {error.strerror or type(error).__name__}") from None
        except Exception as error:  # noqa: BLE001 whatever a reader says goes to the client without our paths
            code = error.code if isinstance(error, ToolError) else "bad_value"
            message = error.message if isinstance(error, ToolError) else str(error)
            message = message.strip().split("\n")[0].replace(str(resolved), resolved.name).replace(str(self._root), "")
            message = redact_paths(message.removeprefix(f"{resolved.name}: ")).rstrip(".") or type(error).__name__
            raise ToolError(code, f"open_image: {path[:200]!r} cannot be read: {message}.") from None
        if not images:
            raise ValueError(f"{path[:200]!r} holds no image")
        return images


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
