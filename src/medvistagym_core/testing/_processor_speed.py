"""How slow this machine is just now: limits of seconds are meant for one of ordinary speed."""

from __future__ import annotations

import time
from typing import Final

_OBJECTS: Final = 50_000
_ORDINARY_S: Final = 0.01
"""Processor time that as many entries of a dictionary take to be made in CPython 3.11 on a core of 3 GHz."""
_TRIES: Final = 3


def measure_slowness() -> float:
    """How many times as long as on an ordinary machine Python takes to make objects, 1 at least.

    What takes longest on a machine that others use too is to get at memory, which is most of an import and of reading a file.
    """
    return max(1.0, min(_make_objects() for _ in range(_TRIES)) / _ORDINARY_S)


def _make_objects() -> float:
    began = time.process_time()
    entries = {str(number): [number] for number in range(_OBJECTS)}
    seconds = time.process_time() - began
    assert len(entries) == _OBJECTS
    return seconds
