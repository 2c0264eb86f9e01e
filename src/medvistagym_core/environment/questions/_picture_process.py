"""The pictures of questions, decoded in a process of their own.

Tables and their pictures come from strangers. A picture that makes its decoder crash, hang or take gigabytes costs the question
that shows it, and that process; a run goes on. One process is started for all tables when the first such picture is shown.
Those that are plainly small and ordinary are decoded here: to hand one over takes about as long as to decode it.
"""

from __future__ import annotations

import atexit
import os
import pickle
import shutil
import sys
import tempfile
import threading
import warnings
import weakref
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from medvistagym_core.environment.questions._picture_decoding import ArchiveMember, Decoded, decode_picture, is_plain
from medvistagym_core.execution import (
    ChildEndedError,
    ChildProcess,
    answer_requests,
    limit_memory,
    register_fork_reset,
)
from medvistagym_core.imaging import MAX_DECODED_BYTES, Image, Reader
from medvistagym_core.plugins import PluginWarning
from medvistagym_core.tools import first_line

MAX_SECONDS: Final = 120.0
"""For a picture: a series of thousands of files takes half of it."""
MAX_BYTES: Final = 3 * MAX_DECODED_BYTES
"""Memory that a picture may take: for the file, its values as they are decoded, and the image."""


class PictureProcess:
    """The child, started when it is first asked, and again after it ended; a forked process starts its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: ChildProcess | None = None
        self._only_readable_here: set[bytes] = set()
        register_fork_reset(self)

    def decode(self, picture: Path | ArchiveMember | bytes, readers: Sequence[Reader], label: str) -> list[Image]:
        """The images of a picture, as `decode_picture` gives them.

        Small PNG and baseline JPEG files are decoded here, and so is everything with readers that another process cannot
        import, such as those that a program defines in its main part.

        Raises:
            ValueError: It cannot be read, or takes too much time or memory.
        """
        if is_plain(picture, label):
            return decode_picture(picture, readers, label)
        try:
            packed = _pack(tuple(readers))
        except Exception:  # noqa: BLE001 - of whatever a plugin gives for a reader
            return decode_picture(picture, readers, label)
        with self._lock:
            answer = None if packed in self._only_readable_here else self._ask(picture, packed, label)
            if answer is None or answer.unreadable:
                self._only_readable_here.add(packed)
        if answer is None or answer.unreadable:
            return decode_picture(picture, readers, label)
        for message in answer.warnings:
            warnings.warn(message, PluginWarning, stacklevel=2)
        if answer.error:
            raise ValueError(answer.error)
        return answer.images

    def _ask(self, picture: Path | ArchiveMember | bytes, packed: bytes, label: str) -> Decoded:
        if self._child is None or not self._child.alive:
            self._close()
            try:
                folder = tempfile.mkdtemp(prefix="medvistagym-")
                self._child = ChildProcess(__name__, folder)
            except OSError as error:
                return Decoded([], f"{label}: no process can be started to read it: {error.strerror}")
            weakref.finalize(self._child, _remove, folder, os.getpid())
        try:
            answer: Decoded = self._child.ask((picture, packed, label), MAX_SECONDS)
        except ChildEndedError as ended:
            self._close()
            return Decoded([], f"{label}: its reader {ended} while it was read")
        except BaseException:
            self._close()
            raise
        return answer

    def reset_after_fork(self) -> None:
        """Leave the child to the process that this one was forked from, a thread of which may hold the lock."""
        if self._child is not None:
            self._child.let_go()
        self._lock, self._child = threading.Lock(), None

    def close(self) -> None:
        """End the child; the next picture starts another."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._child is not None:
            self._child.end(0)
        self._child = None


def _remove(folder: str, owner: int) -> None:
    """Remove what a child that was ended has left, unless that is for the process that this one was forked from."""
    if owner == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)


PICTURE_PROCESS: Final = PictureProcess()
atexit.register(PICTURE_PROCESS.close)


@lru_cache(16)
def _pack(readers: tuple[Reader, ...]) -> bytes:
    return pickle.dumps(readers)


# -- the child's side


class _Decoder:
    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def answer(self, request: tuple[Any, ...]) -> Decoded:
        picture, packed, label = request
        try:
            readers = _unpack(packed)
        except Exception:  # noqa: BLE001 - of the modules that they are from
            return Decoded([], unreadable=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", PluginWarning)
            images, error = self._decode(picture, readers, label)
        return Decoded(images, error, [str(each.message) for each in caught])

    def _decode(
        self, picture: Path | ArchiveMember | bytes, readers: tuple[Reader, ...], label: str
    ) -> tuple[list[Image], str]:
        try:
            return decode_picture(picture, readers, label, self._folder), ""
        except ValueError as error:
            return [], str(error)
        except MemoryError:
            return [], f"{label}: it takes more than {MAX_BYTES >> 30} GiB to read"
        except Exception as error:  # noqa: BLE001 - of a decoder
            return [], f"{label}: it cannot be read ({type(error).__name__}: {first_line(error)})"


@lru_cache(16)
def _unpack(packed: bytes) -> tuple[Reader, ...]:
    readers: tuple[Reader, ...] = pickle.loads(packed)
    limit_memory(MAX_BYTES)  # beyond what their modules take
    return readers


def _main(arguments: Sequence[str]) -> None:
    answer_requests(_Decoder(arguments[2]).answer, arguments)


if __name__ == "__main__":
    _main(sys.argv[1:])
