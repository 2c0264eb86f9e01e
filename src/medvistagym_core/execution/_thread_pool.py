"""A pool of threads whose jobs can be abandoned at their time limit.

Python cannot stop a thread: a job that exceeds its time limit is answered for and left behind, its thread is replaced, and
the others go on. The threads are daemons, so a tool that never returns does not keep the program from ending; that is why this
is no `concurrent.futures` executor, whose threads are joined at exit.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from time import monotonic, process_time
from typing import Any, Final, Generic, Protocol, TypeVar

from medvistagym_core.execution._fork import register_fork_reset

GROW_INTERVAL_S: Final = 0.001
CPU_COUNT: Final = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Job(Protocol):
    """What a thread runs in one go; it raises nothing."""

    @property
    def deadline(self) -> float | None:
        """When it has taken too long, on the clock of `time.monotonic`; None for no limit, or while that is not known."""
        ...

    def run(self) -> None:
        """Do the work."""
        ...

    def expire(self) -> bool:
        """Answer for the work if it has taken too long; whether it has."""
        ...


JobT = TypeVar("JobT", bound=Job)


class ThreadPool:
    """Daemon threads, started when they are needed and kept for later.

    Args:
        max_workers: Jobs at work at a time in each `JobStream`.
    """

    def __init__(self, max_workers: int = 64) -> None:
        self.max_workers = max_workers
        self._streams: queue.SimpleQueue[JobStream[Any] | None] = queue.SimpleQueue()
        self._idle = 0
        self._threads = 0
        self._lock = threading.Lock()
        register_fork_reset(self)

    def open_stream(self) -> JobStream[Any]:
        """A stream of jobs, for one thread to submit to and to wait for."""
        return JobStream(self)

    def assign(self, stream: JobStream[Any]) -> None:
        """Have one more thread take jobs from a stream until it has none.

        Raises:
            RuntimeError: The system gives no thread, and there is none.
        """
        with self._lock:
            if self._idle:
                self._idle -= 1
            else:
                thread = threading.Thread(
                    target=self._work, args=(self._streams,), daemon=True, name="medvistagym-tool"
                )
                try:
                    thread.start()
                    self._threads += 1
                except RuntimeError:  # those at work now take it when they are done
                    if not self._threads:
                        raise
            self._streams.put(stream)

    def close(self) -> None:
        """Let the threads end once they are idle."""
        with self._lock:
            for _ in range(self._threads):
                self._streams.put(None)
            self._streams, self._idle, self._threads = queue.SimpleQueue(), 0, 0

    def reset_after_fork(self) -> None:
        """Begin anew in a forked child, which has none of its parent's threads and perhaps a lock that one of them held."""
        self._lock, self._streams, self._idle, self._threads = threading.Lock(), queue.SimpleQueue(), 0, 0

    def _work(self, streams: queue.SimpleQueue[JobStream[Any] | None]) -> None:
        while (stream := streams.get()) is not None:
            stream.take_jobs()
            with self._lock:
                if streams is self._streams:
                    self._idle += 1


class JobStream(Generic[JobT]):
    """Jobs that are waited for together, by the one thread that submits them.

    It begins with one thread. While jobs wait and the processor is not busy, the number doubles every millisecond, so that
    quick work costs one hand-over and slow work overlaps; work that keeps the processor busy gets a thread a core.
    """

    def __init__(self, pool: ThreadPool) -> None:
        self._pool = pool
        self._todo: deque[JobT] = deque()
        self._running: set[JobT] = set()
        self._finished: queue.SimpleQueue[JobT] = queue.SimpleQueue()
        self._pending = 0  # submitted and not yet given back by `wait`
        self._workers = 0
        self._lock = threading.Lock()
        self._looked, self._processor_s = monotonic(), process_time()

    def submit(self, jobs: list[JobT]) -> None:
        """Have jobs run."""
        with self._lock:
            self._todo += jobs
            self._pending += len(jobs)
        if not self._workers:
            self._looked, self._processor_s = monotonic(), process_time()
            self._add_workers(1)

    def wait(self) -> list[JobT]:
        """Jobs that are done or were given up on, at least one; an empty list when none is left."""
        if not self._pending:
            return []
        while True:
            try:
                done = [self._finished.get(timeout=self._patience_s())]
            except queue.Empty:
                done = self._expire()
                self._grow()
            while not self._finished.empty():
                done.append(self._finished.get())
            if done:
                self._pending -= len(done)
                return done

    def abandon(self) -> None:
        """Begin nothing more; what runs already goes on, and nobody waits for it."""
        with self._lock:
            self._todo.clear()

    def take_jobs(self) -> None:
        """Run jobs until there are none; the body of a thread."""
        while True:
            with self._lock:
                if not self._todo:
                    self._workers -= 1
                    return
                job = self._todo.popleft()
                self._running.add(job)
            job.run()
            with self._lock:
                if job not in self._running:
                    return  # it was given up on, and this thread was replaced
                self._running.discard(job)
            self._finished.put(job)

    def _patience_s(self) -> float:
        """How long to wait before looking after those that run."""
        with self._lock:
            if self._todo and self._workers < self._pool.max_workers:
                return GROW_INTERVAL_S
            deadlines = [job.deadline for job in self._running if job.deadline is not None]
        soonest = min(deadlines, default=monotonic() + 1.0) - monotonic()
        return min(max(soonest, GROW_INTERVAL_S), 0.25 if deadlines else 0.05)

    def _expire(self) -> list[JobT]:
        """Give up on jobs that have taken too long."""
        with self._lock:
            late = [job for job in self._running if job.expire()]
            self._running.difference_update(late)
            self._workers -= len(late)
        self._add_workers(len(late))
        return late

    def _grow(self) -> None:
        now, processor_s = monotonic(), process_time()
        cores_in_use = (processor_s - self._processor_s) / max(now - self._looked, 1e-6)
        self._looked, self._processor_s = now, processor_s
        max_workers = (
            CPU_COUNT if cores_in_use > 0.5 * min(CPU_COUNT, max(1, self._workers)) else self._pool.max_workers
        )
        self._add_workers(min(self._workers, max_workers - self._workers))

    def _add_workers(self, count: int) -> None:
        for _ in range(count):
            with self._lock:
                if not self._todo or self._workers >= self._pool.max_workers:
                    return
                self._workers += 1
            self._pool.assign(self)
