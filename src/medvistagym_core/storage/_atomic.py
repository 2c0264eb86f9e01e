"""Writing beside a target and renaming: a reader sees all of it or nothing, and two writers never share what is unfinished."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PART: Final = re.compile(r"\.part-(\d+)-[0-9a-f]{8}-(.*?)(?:\.part)?", re.DOTALL)
_MAX_NAME: Final = 48  # characters; a file's name has 255 bytes
_IN_WORK: Final = set[str]()  # names of what this process is writing


@contextmanager
def write_atomically(path: Path, *, keep_suffix: bool = False) -> Iterator[Path]:
    """A path beside a file to write to; it takes the file's name at the end, and is gone if anything is raised before.

    Of several writers the last one's file stays, whole. Permissions are those of a new file.

    Args:
        path: The file; its folder exists.
        keep_suffix: Whether the path ends as `path` does, for a writer that chooses the format by it. Otherwise it ends in
            `.part`, so that nobody who looks for files of a kind comes upon it.

    Raises:
        OSError: It cannot be written; the error names `path`.
    """
    part = _part(path, "" if keep_suffix else ".part")
    try:
        yield part
        os.replace(part, path)  # noqa: PTH105 - a record writes thousands of pictures, and path objects take longer
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename in (None, part, str(part)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        _IN_WORK.discard(part.name)


@contextmanager
def write_folder_atomically(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` to fill; it takes that name at the end, and is gone if anything is raised before.

    What a killed writer of the same folder left behind is removed first.

    Args:
        folder: The folder; when the new one is whole it must not exist, or be empty. Its parent exists.

    Raises:
        OSError: It cannot be written, or holds something.
    """
    remove_stale_parts(folder.parent, folder.name)
    part = _part(folder, "")
    try:
        part.mkdir()
        yield part
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        _IN_WORK.discard(part.name)


def remove_stale_parts(folder: Path, name: str | None = None) -> None:
    """Remove what processes of this machine had begun to write in a folder when they were killed.

    Args:
        folder: Where; it exists.
        name: Of one file or folder alone.
    """
    for part in folder.glob(".part-*"):
        match = _PART.fullmatch(part.name)
        if match is None or part.name in _IN_WORK or (name is not None and match[2] != name[-_MAX_NAME:]):
            continue
        if int(match[1]) != os.getpid() and _is_running(int(match[1])):
            continue
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _part(path: Path, suffix: str) -> Path:
    """A name that no other writer has."""
    part = path.with_name(f".part-{os.getpid()}-{os.urandom(4).hex()}-{path.name[-_MAX_NAME:]}{suffix}")
    _IN_WORK.add(part.name)
    return part


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True
