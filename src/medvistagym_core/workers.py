"""Threads that run kernels and can be given up on.

`Workers.run` runs callables on daemon threads, one thread at first and more only while work waits, so that quick work costs one
hand-over and slow work overlaps. A callable that exceeds its time limit is abandoned: its slot gets `TIMED_OUT`, its thread is
replaced, and the others go on. Python cannot stop a thread, so an abandoned callable may still be running.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

TIMED_OUT: Final = object()
_PATIENCE_S: Final = 0.002
_QUICK_S: Final = 0.0001  # work quicker than this is done before another thread is awake
_PENDING: Final = object()


class Workers:
    """At most `most` threads at work, besides those that were given up on."""

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._threads = 0

    def run(self, units: Sequence[Callable[[], Any]], limits: Sequence[float | None]) -> list[Any]:
        """The value of each callable, the exception it raised, or `TIMED_OUT`.

        Args:
            units: What to run.
            limits: Seconds allowed to each, from its own start; None for no limit.
        """
        count = len(units)
        todo = deque(range(count))
        values: list[Any] = [_PENDING] * count
        started = [0.0] * count
        left = count
        changed = threading.Condition()

        def work() -> None:
            nonlocal left
            while True:
                try:
                    k = todo.popleft()
                except IndexError:
                    return
                started[k] = time.monotonic()
                try:
                    value = units[k]()
                except BaseException as error:  # noqa: BLE001 even SystemExit is a result here
                    value = error
                with changed:
                    if values[k] is _PENDING:
                        values[k] = value
                        left -= 1
                        if left == 0:
                            changed.notify()

        active = 1
        begun = time.monotonic()
        self._submit(work)
        with changed:
            while left:
                now = time.monotonic()
                running = [k for k in range(count) if values[k] is _PENDING and started[k]]
                ends = [started[k] + limit - now for k in running if (limit := limits[k]) is not None]
                growing = bool(todo) and active < self._most
                waits = [*ends, _PATIENCE_S] if growing else ends
                if not waits and todo:
                    waits = [0.05]
                if not running and not growing:
                    waits = [0.05]
                changed.wait(max(0.0, min(waits)) if waits else 0.05)
                if not left:
                    break
                now = time.monotonic()
                for k in running:
                    limit = limits[k]
                    if values[k] is _PENDING and limit is not None and now - started[k] > limit:
                        values[k] = TIMED_OUT
                        left -= 1
                        if todo:
                            self._submit(work)
                quick = now - begun < _QUICK_S * (count - left)
                more = min(len(todo), active, self._most - active) if growing and not quick else 0
                for _ in range(more):
                    self._submit(work)
                active += more
        return values

    def close(self) -> None:
        """Let the idle threads end."""
        with self._lock:
            for _ in range(self._threads):
                self._inbox.put(None)

    def _submit(self, job: Callable[[], None]) -> None:
        with self._lock:
            self._inbox.put(job)
            if self._idle > 0:
                self._idle -= 1
            else:
                self._threads += 1
                threading.Thread(target=self._serve, daemon=True, name=f"medvistagym-tool-{self._threads}").start()

    def _serve(self) -> None:
        while True:
            job = self._inbox.get()
            if job is None:
                break
            job()
            with self._lock:
                self._idle += 1
        with self._lock:
            self._threads -= 1
