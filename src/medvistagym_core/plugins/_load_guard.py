"""The guard inside which foreign code is loaded, so that it cannot stall, garble or outlive the command that loads it.

`run_with_timeout` runs a callable in a daemon thread with a time limit. Meanwhile stdout is stderr and stdin is empty, for
Python code and for the file descriptors that C code and child processes use. What no guard within a process can stop is code
that ends the process or never lets go of the interpreter lock; that is found in a process of its own (`_load_trial`).
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

T = TypeVar("T")
_turn: Final = threading.Lock()
_inside = threading.local()


class LoadTimeoutError(Exception):
    """The callable was given up.

    Attributes:
        stack: Where it was, outermost frame first.

    Args:
        limit_s: Seconds that it was given.
    """

    def __init__(self, limit_s: float, stack: traceback.StackSummary) -> None:
        super().__init__(f"it was not loaded within {limit_s:g} s")
        self.stack = stack


def run_with_timeout(work: Callable[[], T], limit_s: float) -> T:
    """The value of `work()`, or the exception it raised, even `SystemExit` and `KeyboardInterrupt`.

    Args:
        work: Runs in a daemon thread; given up, it goes on there, and nobody waits for it.
        limit_s: Seconds allowed.

    Raises:
        LoadTimeoutError: It took longer.
        RuntimeError: It is called from within `work`.
    """
    ensure_not_nested()
    outcome: list[tuple[T | None, BaseException | None]] = []

    def run() -> None:
        _inside.now = True
        try:
            outcome.append((work(), None))
        except BaseException as error:  # noqa: BLE001 handed to the caller
            outcome.append((None, error))

    thread = threading.Thread(target=run, name="medvistagym-load", daemon=True)
    with _turn, _redirected_stdio(), _kept_directory():
        thread.start()
        thread.join(limit_s)
        if not outcome:
            frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 public but for its name
            stack = traceback.extract_stack(frame) if frame else traceback.StackSummary()
            raise LoadTimeoutError(limit_s, stack)
    value, error = outcome[0]
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


def ensure_not_nested() -> None:
    """Refuse to be called by code that is being loaded, which would wait for itself.

    Raises:
        RuntimeError: It is.
    """
    if getattr(_inside, "now", False):
        raise RuntimeError("plugins cannot be discovered by a plugin that is being loaded")


@contextlib.contextmanager
def _redirected_stdio() -> Iterator[None]:
    stdin = sys.stdin
    _flush()
    with contextlib.ExitStack() as stack:
        nowhere = os.open(os.devnull, os.O_RDWR)
        stack.callback(os.close, nowhere)
        for descriptor, other in ((0, nowhere), (1, 2 if _is_open(2) else nowhere)):
            if _is_open(descriptor):
                saved = os.dup(descriptor)
                stack.callback(os.close, saved)
                stack.callback(os.dup2, saved, descriptor)
                os.dup2(other, descriptor)
        stack.callback(_flush)
        sys.stdin = io.StringIO()
        stack.callback(setattr, sys, "stdin", stdin)
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield


@contextlib.contextmanager
def _kept_directory() -> Iterator[None]:
    """Stay in the folder that relative paths of the command are meant for."""
    try:
        folder = Path.cwd()
    except OSError:  # it was removed
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if Path.cwd() != folder:
                os.chdir(folder)


def _flush() -> None:
    for stream in (sys.stdout, sys.__stdout__):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()  # type: ignore[union-attr]
    if "ctypes" in sys.modules:  # else nothing but the interpreter is likely to have printed through C
        c: Any = sys.modules["ctypes"]
        with contextlib.suppress(AttributeError, OSError, TypeError):
            c.CDLL(None).fflush(None)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
