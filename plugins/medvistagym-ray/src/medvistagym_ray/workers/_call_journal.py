"""Which calls were running when a worker died, so that the next one knows.

Ray restarts a worker that died and sends it again whatever it had been sent. The worker keeps a small file in which calls stand
while they run; its successor on the same machine finds there which calls it died at, and which of them had exceeded their time
limit. A call that only waited in a dead worker, or whose machine is gone, has nothing against it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import struct
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

_SIZE: Final = struct.Struct("<I")
_OLD_S: Final = 7 * 24 * 3600.0


class CallJournal:
    """The calls that run in this process, and what befell those of the processes before it.

    Args:
        name: The worker's name, which a restarted worker has too.
        folder: Where journals lie; a folder of this user's in the system's for temporary files if None.

    Attributes:
        deaths: How many processes died at a call, by the call's key.
        late: Keys of calls that exceeded their time limit, which ended their process.
        process: Number of processes before this one.
    """

    def __init__(self, name: str, folder: Path | None = None) -> None:
        folder = folder or _default_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_old(folder)
        self._path = folder / f"{name}.json"
        self._late_path = folder / f"{name}.late"
        before = _read(self._path)
        running: dict[str, float | None] = before.get("running", {})
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
        self._lock = threading.Lock()
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        self._late_file: IO[bytes] = self._late_path.open("wb")
        # The handler is the C library's, for no Python code runs while a tool's C code holds the interpreter: it writes a
        # traceback, by which the next process knows, and lets the signal end this one.
        faulthandler.register(signal.SIGALRM, self._late_file, all_threads=False, chain=True)
        self._write()

    @contextlib.contextmanager
    def running(self, keys: Sequence[str], limit_s: float | None) -> Iterator[None]:
        """Note that calls run; the process ends if they take longer than `limit_s`, whatever they do."""
        deadline = None if limit_s is None else time.monotonic() + limit_s
        with self._lock:
            self._running.update(dict.fromkeys(keys, deadline))
            self._write()
            self._set_alarm()
        try:
            yield
        finally:
            with self._lock:
                for key in keys:
                    self._running.pop(key, None)
                    self.deaths.pop(key, None)
                self._write()
                self._set_alarm()

    def forget(self, keys: Sequence[str]) -> None:
        """Drop what is known of calls that are answered."""
        with self._lock:
            for key in keys:
                self.deaths.pop(key, None)
                self.late.discard(key)

    def remove(self) -> None:
        """Remove the files: the worker ends for good."""
        for path in (self._path, self._late_path):
            path.unlink(missing_ok=True)

    def _set_alarm(self) -> None:
        """Have the system send SIGALRM at the earliest deadline."""
        deadlines = [deadline for deadline in self._running.values() if deadline is not None]
        left_s = max(1e-3, min(deadlines) - time.monotonic()) if deadlines else 0.0
        signal.setitimer(signal.ITIMER_REAL, left_s)

    def _write(self) -> None:
        late = sorted(self.late)
        document = {"process": self.process, "running": self._running, "deaths": self.deaths, "late": late}
        body = json.dumps(document, check_circular=False).encode()
        os.pwrite(self._file, _SIZE.pack(len(body)) + body, 0)  # in one go, for the process may be killed between two


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = path.read_bytes()
        (size,) = _SIZE.unpack_from(content)
        document = json.loads(content[_SIZE.size : _SIZE.size + size])
    except (OSError, ValueError, struct.error):
        return {}
    return document if isinstance(document, dict) else {}


def _default_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"medvistagym-ray-{os.getuid()}"


def _remove_old(folder: Path) -> None:
    """Remove what workers left that were killed for good."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _OLD_S:
                path.unlink()
