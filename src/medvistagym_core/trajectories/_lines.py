"""The lines of a trajectory file, one a trajectory."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from pydantic import ValidationError

from medvistagym_core.tools import first_fault
from medvistagym_core.trajectories._trajectory import Trajectory

MAX_LINE_BYTES: Final = 16 * 2**20
"""Longest line of a trajectory file; the record of an episode is a few kilobytes for each call."""


class UnreadableRecordError(ValueError):
    """A trajectory that would not read back from its line, such as one whose reward is no number; it was not written."""


def open_regular(path: str | Path) -> IO[bytes]:
    """A file to read, if it is a regular one: a pipe would wait for its writer, and a device may have no end.

    Raises:
        OSError: It is none, or cannot be opened.
    """

    def opener(name: str, flags: int) -> int:
        descriptor = os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "it is not a regular file", name)
        return descriptor

    return open(path, "rb", opener=opener)


def read_line(file: IO[bytes]) -> tuple[bytes, int]:
    """The next line of a file with its end, and its length in bytes; the line is empty where none is finished.

    Of a line that is too long, only the first `MAX_LINE_BYTES` are given.
    """
    line = file.readline(MAX_LINE_BYTES)
    length, end = len(line), line[-1:]
    while end not in (b"", b"\n"):
        rest = file.readline(MAX_LINE_BYTES)
        length, end = length + len(rest), rest[-1:]
    return (line, length) if end else (b"", 0)


def read_lines(file: IO[bytes]) -> Iterator[bytes]:
    """The finished lines of a file from where it stands (`read_line`)."""
    while line := read_line(file)[0]:
        yield line


def parse_line(line: bytes) -> Trajectory:
    """The trajectory in a line.

    Raises:
        ValueError: There is none; the message names the field.
    """
    if len(line) >= MAX_LINE_BYTES:
        raise ValueError(f"the line is longer than {MAX_LINE_BYTES} bytes")
    try:
        return Trajectory.model_validate_json(line)
    except ValidationError as error:
        location, fault = first_fault(error)
        raise ValueError(f"{location or 'the line'}: {fault}") from None


def format_line(trajectory: Trajectory) -> bytes:
    """The line of a trajectory, with its end.

    Raises:
        UnreadableRecordError: It would not read back from it.
    """
    try:
        line = trajectory.model_dump_json(round_trip=True).encode() + b"\n"
        same = parse_line(line) == trajectory
    except ValueError as error:  # text that UTF-8 cannot hold, too
        raise UnreadableRecordError(f"the record of {trajectory.id} cannot be written: {error}") from None
    if not same:
        raise UnreadableRecordError(f"the record of {trajectory.id} would read back as another one")
    return line
