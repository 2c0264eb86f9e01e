"""What it costs to read a file: memory and processor time, measured in a process that does nothing else.

A test that uses `assert_cheap` shows its figures in the table that `make attack` ends with.
"""

from __future__ import annotations

import atexit
import functools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from medvistagym_core.testing._processor_speed import measure_slowness

MAX_MIB = 300
MAX_SECONDS = 5
PROPERTY = "cost"
WORKER = Path(__file__).with_name("cost_worker.py")


class Cost(NamedTuple):
    """What reading a file came to.

    Attributes:
        said: The value, or the error.
        mib: Memory beyond that of the idle process; that of processes it started included.
        seconds: Of a processor.
    """

    said: str
    mib: float
    seconds: float


def processor_seconds(read: Callable[[], object], limit_s: float) -> float:
    """Processor time of a call; the least of three where it is above the limit, since others use the caches too."""
    least = float("inf")
    for _ in range(3):
        start = time.process_time()
        read()
        least = min(least, time.process_time() - start)
        if least <= limit_s:
            break
    return least


@functools.cache
def _worker() -> subprocess.Popen[str]:
    """A worker, which ends when this process does."""
    worker = subprocess.Popen([sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(worker.communicate)  # closes its streams, and waits for it
    return worker


def measure(reader: str, path: Path, warm: Path | None = None) -> Cost:
    """What it costs to read a file.

    Args:
        reader: A name of `cost_worker.READERS`.
        path: The file.
        warm: A healthy file of the kind, read before: what is imported then is not the bomb's.
    """
    worker = _worker()
    assert worker.stdin is not None
    assert worker.stdout is not None
    request = {"reader": reader, "file": str(path), "warm": None if warm is None else str(warm)}
    print(json.dumps(request), file=worker.stdin, flush=True)
    answer = json.loads(worker.stdout.readline())
    return Cost(answer["said"], answer["mib"] + answer["started_mib"], answer["seconds"])


def assert_cheap(
    record_property: Callable[[str, object], None],
    kind: str,
    name: str,
    path: Path,
    warm: Path | None = None,
    reader: str | None = None,
) -> str:
    """Read a file that asks for much, keep what it cost for the table, and hold it to the limits; what was said."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of memory is read from /proc, which this system has not")
    cost = measure(reader or kind, path, warm)
    record_property(PROPERTY, [kind, name, cost.mib, cost.seconds, cost.said[:60]])
    assert not cost.said.startswith("crash"), cost.said
    assert cost.mib <= MAX_MIB, cost.said
    assert cost.seconds <= MAX_SECONDS or cost.seconds <= MAX_SECONDS * measure_slowness(), cost.said
    return cost.said
