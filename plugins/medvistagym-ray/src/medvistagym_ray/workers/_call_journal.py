"""Which calls were running when a worker died, so that the next one knows.

Ray restarts a worker that died and sends it again whatever it had been sent. The worker keeps a small file in which calls stand
while they run; its successor on the same machine finds there which calls it died at, and which of them had exceeded their time
limit. A call that only waited in a dead worker, or whose machine is gone, has nothing against it.

The file is written at every call, so it is small: its length, a line of JSON with what befell earlier processes, and for each
running call a line with its key and its deadline (or nothing).
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import stat
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

_SIZE: Final = struct.Struct("<I")
_OLD_S: Final = 7 * 24 * 3600.0


NoteCalls = Callable[[Sequence[str], float | None], None]


class CallJournal:
    """The calls that run in this process, and what befell those of the processes before it.

    Args:
        name: The worker's name, which a restarted worker has too.
        folder: Where journals lie; a folder of this user's among the system's files in memory, or temporary ones, if None.

    Attributes:
        deaths: How many processes died at a call, by the call's key.
        late: Keys of calls that exceeded their time limit, which ended their process.
        process: Number of processes before this one.
    """

    def __init__(self, name: str, folder: Path | None = None) -> None:
        folder = folder or _default_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_own(folder)
        _remove_old(folder)
        self._path = folder / f"{name}.calls"
        self._late_path = folder / f"{name}.late"
        before, running = _read(self._path)
        self.process: int = before["process"] + 1 if before else 0
        self.deaths: dict[str, int] = before.get("deaths", {})
        self.late: set[str] = set(before.get("late", ()))
        expired = self._late_path.exists() and self._late_path.stat().st_size > 0
        first = min((limit for limit in running.values() if limit is not None), default=None)
        for key, deadline in running.items():
            if expired and deadline is not None and deadline == first:
                self.late.add(key)
            elif not expired:  # those beside a call that exceeded its limit did nothing wrong
                self.deaths[key] = self.deaths.get(key, 0) + 1
        self._running: dict[str, float | None] = {}
        self._before = b""  # the file's first line
        self._lock = threading.Lock()
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        self._late_file: IO[bytes] = self._late_path.open("wb")
        # The handler is the C library's, for no Python code runs while a tool's C code holds the interpreter: it writes a
        # traceback, by which the next process knows, and lets the signal end this one.
        faulthandler.register(signal.SIGALRM, self._late_file, all_threads=False, chain=True)
        self._note_before()
        self._write()

    @contextlib.contextmanager
    def running(self) -> Iterator[NoteCalls]:
        """Run calls one after another, or some together; at the end none runs.

        Yields:
            A function that notes which calls run from now on, in place of those that ran before, and how long they may take
            in all: the process ends if they take longer, whatever they do.
        """
        noted: tuple[str, ...] = ()

        def note(keys: Sequence[str], limit_s: float | None) -> None:
            nonlocal noted
            deadline = None if limit_s is None else time.monotonic() + limit_s
            with self._lock:
                self._end(noted)
                noted = tuple(keys)
                alone = not self._running
                self._running.update(dict.fromkeys(noted, deadline))
                self._write()
                if alone:
                    signal.setitimer(signal.ITIMER_REAL, 0.0 if limit_s is None else max(1e-3, limit_s))
                else:
                    self._set_alarm()

        try:
            yield note
        finally:
            with self._lock:
                self._end(noted)
                self._write()
                self._set_alarm()

    def _end(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._running.pop(key, None)
        if self.deaths:
            self._drop_deaths(keys)

    def forget(self, keys: Sequence[str]) -> None:
        """Drop what is known of calls that are answered."""
        with self._lock:
            if self.deaths or self.late:
                self.late.difference_update(keys)
                self._drop_deaths(keys)

    def remove(self) -> None:
        """Remove the files: the worker ends for good."""
        for path in (self._path, self._late_path):
            path.unlink(missing_ok=True)

    def _set_alarm(self) -> None:
        """Have the system send SIGALRM at the earliest deadline."""
        deadlines = [deadline for deadline in self._running.values() if deadline is not None]
        left_s = max(1e-3, min(deadlines) - time.monotonic()) if deadlines else 0.0
        signal.setitimer(signal.ITIMER_REAL, left_s)

    def _drop_deaths(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.deaths.pop(key, None)
        self._note_before()

    def _note_before(self) -> None:
        document = {"process": self.process, "deaths": self.deaths, "late": sorted(self.late)}
        self._before = json.dumps(document, check_circular=False).encode()

    def _write(self) -> None:
        running = "".join(f"\n{key}\t{'' if deadline is None else deadline}" for key, deadline in self._running.items())
        body = self._before + running.encode()
        os.pwrite(self._file, _SIZE.pack(len(body)) + body, 0)  # in one go, for the process may be killed between two


def _read(path: Path) -> tuple[Mapping[str, Any], dict[str, float | None]]:
    """What befell the processes before, and the calls that ran in the last of them with their deadlines."""
    try:
        content = path.read_bytes()
        (size,) = _SIZE.unpack_from(content)
        before, *lines = content[_SIZE.size : _SIZE.size + size].decode().split("\n")
        document = json.loads(before)
        running = {
            key: float(deadline) if deadline else None for key, _, deadline in (one.partition("\t") for one in lines)
        }
    except (OSError, ValueError, struct.error):
        return {}, {}
    return (document, running) if isinstance(document, dict) else ({}, {})


def _default_folder() -> Path:
    """In memory where the system has files there: one on a disk may have to wait while it is written out."""
    memory = Path("/dev/shm")
    return (memory if memory.is_dir() else Path(tempfile.gettempdir())) / f"medvistagym-ray-{os.getuid()}"


def _require_own(folder: Path) -> None:
    """Refuse a folder that another user may write to, such as one that was put there under a name known beforehand.

    Raises:
        PermissionError: It is a link, belongs to another user, or others may use it.
    """
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid() or state.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a folder of this user alone (mode 700); remove it")


def _remove_old(folder: Path) -> None:
    """Remove what workers left that were killed for good."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _OLD_S:
                path.unlink()
