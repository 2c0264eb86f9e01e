"""Trajectory files: one writer a file, appended line by line, readable at any moment."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Final, Self

from pydantic import ValidationError

from medvistagym_core.imaging import RenderedImage
from medvistagym_core.storage import remove_stale_parts, write_atomically
from medvistagym_core.tools import Toolbox, ToolboxLock, first_fault

if TYPE_CHECKING:
    import PIL.Image

from medvistagym_core.trajectories._html import EpisodeDisplay
from medvistagym_core.trajectories._lines import format_line, open_regular, parse_line, read_lines
from medvistagym_core.trajectories._trajectory import Trajectory

_NAMED_LINES: Final = 10
_FAILED: Final = b'"policy_failed"'
_PNG_END: Final = b"\0\0\0\0IEND\xaeB`\x82"
_log: Final = logging.getLogger(__name__)


class FileInUseError(ValueError):
    """A trajectory file that another run is writing."""


@dataclasses.dataclass(frozen=True)
class BadLine:
    """A line of a trajectory file that is no trajectory.

    Attributes:
        file: Name of the file.
        number: The line, from 1.
        reason: What is wrong with it.
    """

    file: str
    number: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.number}: {self.reason}"


class TrajectoryWriter:
    """Appends trajectories to a file; what another run left there stays.

    A line that a killed run left unfinished is dropped when the file is opened. Whatever happens later, every line but the last
    is whole, and every line that was written reads back as what was written.

    Args:
        path: The file, ending in `.jsonl`; its folder is made.
        toolbox: The toolbox of the run; its lock is written beside a new file.

    Raises:
        LockMismatchError: The file was begun with another toolbox.
        FileInUseError: Another writer has the file.
        ValueError: The lock beside the file cannot be read.
    """

    def __init__(self, path: str | Path, toolbox: Toolbox) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.images = self.path.parent / "images"
        self.images.mkdir(exist_ok=True)
        self._have = {entry.stem for entry in self.images.glob("*.png") if _is_whole(entry)}
        self._rejected_path = self.path.with_suffix(".rejected")
        self._file = _open_exclusive(self.path)
        try:
            _write_lock(self.path.with_suffix(".lock.json"), toolbox)
            _truncate_partial_line(self.path)
            _truncate_partial_line(self._rejected_path)
            remove_stale_parts(self.images)
            file = self.path.resolve()
            remove_stale_parts(file.parent, file.name)
        except BaseException:
            self._file.close()
            raise

    @property
    def recorded_ids(self) -> set[str]:
        """Ids of the episodes that are in the file, or were rejected."""
        rejected = self._rejected_path.read_text().split("\n") if self._rejected_path.exists() else []
        return {t.id for t in TrajectoryReader(self.path)} | {line for line in rejected if line}

    def recorded_positions(self, task: str, split: str, seed: int) -> set[tuple[int, int]]:
        """Index and sample of the episodes of a split that are in the file.

        Args:
            task: Name of the task.
            split: Split of the cases.
            seed: Seed of the cases.
        """
        ours = (task, split, seed)
        return {(t.index, t.sample) for t in TrajectoryReader(self.path) if (t.task, t.split, t.seed) == ours}

    def write(self, trajectory: Trajectory, pictures: Mapping[str, RenderedImage]) -> None:
        """Append an episode; its pictures first, so that no line names a picture that is not there.

        Args:
            trajectory: The episode.
            pictures: What its policy was shown, by SHA-256; those that are there already are not written again.

        Raises:
            UnreadableRecordError: The record does not read back from its line; nothing is written.
            OSError: There is no room, or no more right; nothing of the line is left.
        """
        line = memoryview(format_line(trajectory))
        for sha, picture in pictures.items():
            if sha not in self._have:
                with write_atomically(self.images / f"{sha}.png") as part:
                    part.write_bytes(picture.png)
                self._have.add(sha)
        begin = os.fstat(self._file.fileno()).st_size
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:  # one of a write names no file
            self._file.truncate(begin)
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        except BaseException:
            self._file.truncate(begin)
            raise

    def reject(self, trajectory: Trajectory) -> None:
        """Note that an episode was run and is not kept, so that a resumed run does not repeat it."""
        self.reject_id(trajectory.id)

    def reject_id(self, episode: str) -> None:
        """`reject` by the episode's name, for one of which there is no record."""
        with self._rejected_path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(episode.replace("\n", " ") + "\n")

    def remove_failed(self, unwanted: Callable[[Trajectory], bool]) -> int:
        """Take episodes in which the policy failed out of the file, so that they can be played again; how many there were.

        The file is written anew aside and renamed: killed on the way, it is as it was.

        Args:
            unwanted: Says of an episode in which the policy failed whether it goes.

        Raises:
            OSError: There is no room for a second file; nothing was changed.
            FileInUseError: Another writer has taken the file meanwhile.
        """
        path, removed = self.path.resolve(), set[int]()
        with path.open("rb") as file:
            for number, line in enumerate(read_lines(file)):
                if _FAILED in line and (t := _try_parse(line)) and t.outcome.ended == "policy_failed" and unwanted(t):
                    removed.add(number)
        if not removed:
            return 0
        with contextlib.ExitStack() as undo:
            with write_atomically(path) as part:
                with path.open("rb") as file, part.open("wb") as new:
                    new.writelines(line for number, line in enumerate(file) if number not in removed)
                    new.flush()
                    os.fsync(new.fileno())
                shutil.copymode(path, part)
                kept = undo.enter_context(part.open("ab", buffering=0))
                _claim(kept, path)
            undo.pop_all()
        self._file.close()
        self._file = kept
        return len(removed)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class TrajectoryReader:
    """Reads the trajectories of a file, one at a time; a last line that was never finished is left out.

    A line that is no trajectory is left out too, and kept in `bad_lines`. The first ten are logged as warnings, and at the end
    the number of the others.

    Args:
        path: The file.

    Attributes:
        bad_lines: The lines that the reading begun last has left out so far.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.bad_lines: list[BadLine] = []

    def __iter__(self) -> Iterator[Trajectory]:
        self.bad_lines = []
        with open_regular(self.path) as file:
            for number, line in enumerate(read_lines(file), 1):
                try:
                    yield parse_line(line)
                except ValueError as error:
                    bad = BadLine(self.path.name, number, str(error))
                    self.bad_lines.append(bad)
                    if len(self.bad_lines) <= _NAMED_LINES:
                        _log.warning("%s; it is left out", bad)
        if (others := len(self.bad_lines) - _NAMED_LINES) > 0:
            _log.warning("%s: %s further lines are left out", self.path.name, f"{others:,}")

    def load_image(self, sha256: str) -> PIL.Image.Image:
        """A picture by its hash, in RGB.

        Raises:
            ValueError: Its file is missing.
        """
        import PIL.Image

        path = self.path.parent / "images" / f"{sha256}.png"
        try:
            with PIL.Image.open(path) as image:
                return image.convert("RGB")
        except FileNotFoundError:
            raise ValueError(f"{path.name} is missing from {path.parent.name}/ beside {self.path.name}") from None

    def show(self, trajectory: Trajectory) -> EpisodeDisplay:
        """An episode of the file for a notebook, with its pictures; shown by itself it has none."""
        return EpisodeDisplay(trajectory, self.load_image)

    def lock(self) -> ToolboxLock:
        """The lock of the toolbox that the file was made with.

        Raises:
            FileNotFoundError: There is none.
            ValueError: It is not the lock of a toolbox; the message names the file.
        """
        return _read_lock(self.path.with_suffix(".lock.json"))


def _try_parse(line: bytes) -> Trajectory | None:
    try:
        return parse_line(line)
    except ValueError:  # which a reader will name
        return None


def _read_lock(path: Path) -> ToolboxLock:
    try:
        return ToolboxLock.model_validate_json(path.read_bytes())
    except ValidationError as error:
        fault = ": ".join(filter(None, first_fault(error)))
        raise ValueError(f"{path.name} is not the lock of a toolbox: {fault}") from None


def _write_lock(path: Path, toolbox: Toolbox) -> None:
    if path.exists():
        _read_lock(path).check(toolbox)
        return
    with write_atomically(path) as part:
        part.write_text(toolbox.lock().model_dump_json(indent=2) + "\n", encoding="utf-8")


def _open_exclusive(path: Path) -> IO[bytes]:
    """A file to append to that nobody else writes."""
    while True:
        with contextlib.ExitStack() as undo:
            file = undo.enter_context(path.open("ab", buffering=0))
            _claim(file, path)
            # A run that had the file may have put another in its place before it let go of this one.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    undo.pop_all()
                    return file


def _claim(file: IO[bytes], path: Path) -> None:
    """Let no other process, and no other writer of this one, write the file until it is closed; a killed run lets go of it."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FileInUseError(
            f"{path.name} is being written by another run; wait for it, or write to another folder"
        ) from None


def _truncate_partial_line(path: Path) -> None:
    """Drop a last line without its end."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        at = end
        while at > 0:
            begin = max(0, at - 65536)
            file.seek(begin)
            newline = file.read(at - begin).rfind(b"\n")
            if newline >= 0:
                at = begin + newline + 1
                break
            at = begin
        if at != end:
            file.truncate(at)


def _is_whole(picture: Path) -> bool:
    """Whether a PNG file has its end; after a loss of power one may be empty, or cut off, under its name."""
    try:
        with open_regular(picture) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - len(_PNG_END)))
            return file.read() == _PNG_END
    except OSError:
        return False
