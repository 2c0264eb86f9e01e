"""A process that answers one request after another: for what can end or fill the process that does it, such as reading
files of strangers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, Final

from medvistagym_core.execution._module_program import module_program
from medvistagym_core.execution._pickle_channel import receive, send
from medvistagym_core.execution._worker_main import die_with_parent

_END_S: Final = 2.0


class ChildEndedError(Exception):
    """The process ended before it answered, or took too long; `str` says which, as what it did."""


class ChildProcess:
    """A module that is run as a process of its own. It ends with this object, and with its parent however that ends.

    Args:
        module: Name of the module, whose main part calls `answer_requests`.
        arguments: Of its command line.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        here, there = Pipe()
        watched, lifeline = os.pipe()
        try:
            self._process = subprocess.Popen(
                module_program(sys.executable, module, str(there.fileno()), str(watched), *arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(there.fileno(), watched),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
                start_new_session=True,  # Ctrl-C is for the parent
            )
        except BaseException:
            here.close()
            os.close(lifeline)
            raise
        finally:
            there.close()
            os.close(watched)
        self._connection: Connection = here
        self.let_go = weakref.finalize(self, _let_go, here, lifeline, self._process, os.getpid())

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self.let_go.alive and self._process.poll() is None

    def ask(self, request: Any, timeout_s: float) -> Any:
        """The answer to a request. When there is none the process is over.

        Args:
            request: What can be pickled.
            timeout_s: How long to wait for the answer.

        Raises:
            ChildEndedError: There is none.
        """
        try:
            send(self._connection, request)
            if not self._connection.poll(timeout_s):
                self.end(0)
                raise ChildEndedError(f"took more than {timeout_s:g} s")
            return receive(self._connection)
        except (EOFError, OSError):
            raise ChildEndedError(_describe_exit(self.end())) from None
        except BaseException:  # an answer that comes later would be taken for that to the next request
            self.end(0)
            raise

    def end(self, wait_s: float = _END_S) -> int:
        """End it, and whatever it started, unless it ends by itself within a time; its exit code."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(wait_s)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.let_go()
        return self._process.returncode


def _let_go(connection: Connection, lifeline: int, process: subprocess.Popen[bytes], owner: int) -> None:
    connection.close()
    os.close(lifeline)  # which ends it
    if owner != os.getpid():
        process.returncode = 0  # it is no child of this process, which cannot wait for it
        return
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _describe_exit(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"crashed ({signal.Signals(-code).name})"
    return "ended"


def answer_requests(answer: Callable[[Any], Any], arguments: Sequence[str]) -> None:
    """Answer requests until the parent is gone; what runs in a child process.

    Args:
        answer: Gives the answer to a request; it raises nothing.
        arguments: The first two of the command line.
    """
    connection, lifeline = Connection(int(arguments[0])), int(arguments[1])
    die_with_parent(lifeline)
    for descriptor in (connection.fileno(), lifeline):  # not for what a reader starts
        os.set_inheritable(descriptor, False)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            send(connection, answer(receive(connection)))


def limit_memory(more_bytes: int) -> None:
    """Let this process allocate so much beyond what it has; Linux keeps to it, other systems have no such limit."""
    try:
        import resource

        status = Path("/proc/self/status").read_text("ascii")
    except (ImportError, OSError):
        return
    (kibibytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmData:"))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = int(kibibytes) * 1024 + more_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
