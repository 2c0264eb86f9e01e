"""Running a quick tool where it is called, under a time limit, without a thread of its own.

Handing a call to another thread costs about ten times as much as everything else on its way, and a thread that hangs
cannot be stopped anyway. So a tool that has shown itself quick runs in the calling thread, the main one, and a
watchman, one daemon thread for the process, looks every 20 ms whether the call that runs now is overdue. If it is, he
sends the main thread a SIGURG, which programs ignore by default; even a `time.sleep` or a blocking read returns for it.
Its handler raises `Overdue` in the tool, if the call is still overdue then: handler and tool share a thread, so no
other code can be hit. A tool that swallows the exception meets it again a second later. While no quick tool runs, the
watchman sleeps.

What this cannot stop is C code that does not return to the interpreter; such a tool belongs into the isolating
executor. And it is for the main thread alone, for systems with this signal, and for programs that have no use of their
own for it, which is looked after too: elsewhere `Watch.ready` is False and calls go to `workers`.
"""

from __future__ import annotations

import signal
import threading
from math import inf
from threading import get_ident
from time import perf_counter, sleep
from typing import Any, Final

from medvistagym_core.execution._fork import register_fork_reset

_LOOK_S: Final = 0.02
_AGAIN_S: Final = 1.0
_SIGNAL: Final = getattr(signal, "SIGURG", None)


class DeadlineExceeded(BaseException):
    """Raised inside a tool that runs past its limit; no `Exception`, so that few tools catch it."""


class Watchdog:
    """One per process: `WATCH`.

    A caller for whom it is `ready` sets `ends`, runs the tool, and sets `ends` back to `inf` whatever comes; when `Overdue`
    comes, once more, since it may be raised just before that line runs.

    Attributes:
        ends: When the tool that runs now is overdue, on the clock of `time.perf_counter`; `inf` while none runs.
        asleep: Whether the watchman must be woken with `wake`.
    """

    def __init__(self) -> None:
        self.deadline = inf
        self.asleep = True
        self._wakeup = threading.Event()
        self._able: bool | None = None  # None: not tried yet
        self._main = 0

    def is_available(self) -> bool:
        """Whether it can watch here and now: in the main thread, and not from within a tool that it watches."""
        if self._able is None and threading.current_thread() is threading.main_thread():
            self._begin()
        return self._able is True and self.deadline is inf and get_ident() == self._main

    def wake(self) -> None:
        """Have the watchman look. He is called once: it may be milliseconds before he gets to say that he has heard."""
        self._wakeup.set()
        self.asleep = False

    def _begin(self) -> None:
        """Install the handler and start the watchman, where that can be done."""
        self._able, self._main = False, get_ident()
        if _SIGNAL is not None and hasattr(signal, "pthread_kill") and signal.getsignal(_SIGNAL) is signal.SIG_DFL:
            try:
                signal.signal(_SIGNAL, self._interrupt)
            except ValueError:  # an interpreter within another program, whose main thread is not Python's
                return
            threading.Thread(target=self._loop, daemon=True, name="medvistagym-watch").start()
            self._able = True

    def _interrupt(self, number: int, frame: Any) -> None:
        now = perf_counter()
        if now >= self.deadline:
            self.deadline = now + _AGAIN_S
            raise DeadlineExceeded

    def _loop(self) -> None:
        assert _SIGNAL is not None
        while True:
            sleep(_LOOK_S)
            if self._able and signal.getsignal(_SIGNAL) != self._interrupt:
                self._able = False  # the program has a use of its own for the signal by now
            if self._able and perf_counter() >= self.deadline:
                signal.pthread_kill(self._main, _SIGNAL)
            elif self.deadline is inf:
                self.asleep = True
                if self.deadline is inf:  # else a call began before it could see that nobody watches
                    self._wakeup.wait()
                self._wakeup.clear()
                self.asleep = False

    def reset_after_fork(self) -> None:
        """Begin anew in a forked child, which has no watchman."""
        if _SIGNAL is not None and signal.getsignal(_SIGNAL) == self._interrupt:
            signal.signal(_SIGNAL, signal.SIG_DFL)
        self.deadline, self.asleep, self._wakeup, self._able = inf, True, threading.Event(), None


WATCHDOG: Final = Watchdog()
register_fork_reset(WATCHDOG)
