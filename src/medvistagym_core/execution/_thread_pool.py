"""Threads that run kernels and can be given up on.

`Workers.batch` is a stream of work: callables are added, and `wait` gives the values of those that finished, in any order.
It begins with as many threads as its work is known to be worth, and takes more when it turns out to be slow: quick work costs
one hand-over, slow work overlaps at once, and work that keeps the processor busy gets no more threads than there are cores.
A callable that exceeds its time limit is abandoned: its value is `TIMED_OUT`, its thread is replaced, and the others go on.
Python cannot stop a thread, so an abandoned callable may still be running.
"""

from __future__ import annotations

import math
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic, process_time
from typing import Any, Final

from medvistagym_core.execution._fork import register_fork_reset

TIMED_OUT: Final = object()
_PATIENCE_S: Final = 0.002
_LOOK_S: Final = 0.05
_NOTIFY_INTERVAL_S: Final = 0.001
_START_S: Final = 0.00005  # what one more thread costs
_PENDING: Final = object()
CPU_COUNT: Final = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ThreadPool:
    """At most `most` threads at work in each batch, besides those that were given up on; idle ones are shared."""

    def __init__(self, most: int = 64) -> None:
        self.max_workers = most
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0  # below zero while jobs wait for a thread and the system gives no more
        self._threads = 0
        register_fork_reset(self)

    def batch(self) -> TaskStream:
        """A new stream of work."""
        return TaskStream(self)

    def run(self, units: Sequence[Callable[[], Any]], limits: Sequence[float | None]) -> list[Any]:
        """The value of each callable, the exception it raised, or `TIMED_OUT`.

        Args:
            units: What to run.
            limits: Seconds allowed to each, from its own start; None for no limit.
        """
        values: list[Any] = [None] * len(units)
        batch = self.batch()
        batch.add(units, limits)
        while batch.pending:
            for k, value in batch.wait():
                values[k] = value
        return values

    def close(self) -> None:
        """Let the threads end once they are idle."""
        with self._lock:
            for _ in range(self._threads):
                self._inbox.put(None)
            self._inbox, self._idle, self._threads = queue.SimpleQueue(), 0, 0

    def submit(self, job: Callable[[], None]) -> None:
        """Have a thread run `job`, which raises nothing."""
        with self._lock:
            self._idle -= 1
            if self._idle < 0:
                name = f"medvistagym-tool-{self._threads + 1}"
                thread = threading.Thread(target=self._serve, args=(self._inbox,), daemon=True, name=name)
                try:
                    thread.start()
                except RuntimeError:  # the system gives no more: the next one that is done takes it
                    if not self._threads:
                        self._idle += 1
                        raise
                else:
                    self._threads += 1
                    self._idle += 1
            self._inbox.put(job)

    def reset_after_fork(self) -> None:
        """Begin anew in a forked child, which has none of its parent's threads and perhaps a lock that one of them held."""
        self._lock, self._inbox, self._idle, self._threads = threading.Lock(), queue.SimpleQueue(), 0, 0

    def _serve(self, inbox: queue.SimpleQueue[Callable[[], None] | None]) -> None:
        while (job := inbox.get()) is not None:
            job()
            with self._lock:
                if inbox is self._inbox:
                    self._idle += 1


class TaskStream:
    """Work that is waited for together; made by `Workers.batch` and used by one thread.

    Attributes:
        left: How many values are still to come.
    """

    def __init__(self, workers: ThreadPool) -> None:
        self.pending = 0
        self._workers = workers
        self._units: list[Callable[[], Any]] = []
        self._limits: list[float | None] = []
        self._values: list[Any] = []
        self._started: list[float] = []
        self._todo: deque[int] = deque()
        self._finished: list[int] = []
        self._running: set[int] = set()
        self._active = 0  # threads that take work from `todo`
        self._done = 0
        self._begun, self._busy = monotonic(), process_time()
        self._told = 0.0
        self._changed = threading.Condition()

    def add(
        self,
        units: Sequence[Callable[[], Any]],
        limits: Sequence[float | None],
        *,
        expected_s: float = 0.0,
        busy: bool = True,
    ) -> range:
        """Have callables run; the numbers under which `wait` gives their values.

        Args:
            units: What to run.
            limits: Seconds allowed to each, from its own start; None for no limit.
            expected_s: How long one of them takes; 0 when that is not known.
            busy: Whether they keep the processor busy while they run.
        """
        numbers = range(len(self._units), len(self._units) + len(units))
        with self._changed:
            first = not self.pending
            self._units += units
            self._limits += limits
            self._values += [_PENDING] * len(units)
            self._started += [0.0] * len(units)
            self._todo += numbers
            self.pending += len(units)
            self._ensure_threads(self._optimal_threads(expected_s, busy) if expected_s else 1)
            if first:
                self._begun, self._busy, self._done = monotonic(), process_time(), 0
        return numbers

    def wait(self) -> list[tuple[int, Any]]:
        """The numbers and values of callables that finished since the last time: what each gave, the exception it raised, or
        `TIMED_OUT`. Waits until there is one; empty only when nothing is left.
        """
        with self._changed:
            while self.pending and not self._finished:
                now = monotonic()
                ends = [self._started[k] + limit for k in self._running if (limit := self._limits[k]) is not None]
                growing = bool(self._todo) and self._active < self._workers.max_workers
                starting = len(self._running) < self._active  # whose ends are not known yet
                look = _PATIENCE_S if growing else _LOOK_S if self._todo or starting else 1.0
                self._changed.wait(max(0.0, min([*ends, now + look]) - now))
                if self._finished:
                    break
                self._expire(monotonic())
                if self._todo:
                    self._ensure_threads(self._optimal_threads(*self._observed()))
            numbers, self._finished = self._finished, []
            self.pending -= len(numbers)
            return [(k, self._values[k]) for k in numbers]

    def abandon(self) -> None:
        """Begin nothing more; what runs already goes on, and nobody waits for it."""
        with self._changed:
            self._todo.clear()

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._todo:
                    self._active -= 1
                    return
                k = self._todo.popleft()
                self._started[k] = monotonic()
                self._running.add(k)
            try:
                value = self._units[k]()
            except BaseException as error:  # noqa: BLE001 even SystemExit is a result here
                value = error
            with self._changed:
                if self._values[k] is not _PENDING:
                    return  # it was given up on, and this thread was replaced
                self._settle(k, value)
                self._done += 1
                now = monotonic()
                # To wake the waiting thread for each would take longer than quick work.
                if not self._todo or now - self._told > _NOTIFY_INTERVAL_S:
                    self._told = now
                    self._changed.notify()

    def _settle(self, k: int, value: Any) -> None:
        self._values[k] = value
        self._running.discard(k)
        self._finished.append(k)

    def _expire(self, now: float) -> None:
        for k in list(self._running):
            limit = self._limits[k]
            if limit is not None and now - self._started[k] > limit:
                self._settle(k, TIMED_OUT)
                self._active -= 1
                self._ensure_threads(self._active + 1)

    def _observed(self) -> tuple[float, bool]:
        """How long one callable takes, by what was seen since the batch began, and whether they keep the processor busy."""
        wall = monotonic() - self._begun
        at_work = max(1, self._active)
        return wall * at_work / max(1, self._done), process_time() - self._busy > 0.5 * wall * min(at_work, CPU_COUNT)

    def _optimal_threads(self, seconds: float, busy: bool) -> int:
        """The number of threads with which the work left takes the least time, when each costs `_START_S` to have."""
        if busy and seconds * len(self._todo) < _PATIENCE_S:
            return 1
        most = min(CPU_COUNT, self._workers.max_workers) if busy else self._workers.max_workers
        return min(most, 1 + math.ceil(math.sqrt(len(self._todo) * seconds / _START_S)))

    def _ensure_threads(self, threads: int) -> None:
        """Have at least `threads` at work, or one for each callable that waits."""
        for _ in range(min(threads - self._active, len(self._todo))):
            self._active += 1
            self._workers.submit(self._work)
