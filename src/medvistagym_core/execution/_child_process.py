"""Child processes: how one is started, asked and ended. What can crash, hang or take all memory runs in one.

Tools run in them (`_worker_process`), and files that nobody vouches for are read in them (`answer_requests`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from math import inf
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from time import monotonic
from typing import Any, Final

from medvistagym_core.execution._module_program import module_program
from medvistagym_core.execution._pickle_channel import receive, send
from medvistagym_core.execution._worker_main import die_with_parent

_END_S: Final = 2.0
_POLL_S: Final = 0.25


class ChildEndedError(Exception):
    """The process ended before it answered, or took too long; `str` is what it did, such as "crashed (SIGSEGV)"."""


class ChildProcess:
    """A module that runs in a process of its own. It ends with this object, and with its parent however that ends.

    Args:
        module: Name of the module. Its main part is given two file descriptors, of the connection and of the lifeline, and
            hands them to `answer_requests` or to a `RequestChannel`.
        arguments: Further arguments of its command line.
        python: Its interpreter, which must have this version of the core installed; the one of this process when None.
        output: Whether what it prints goes to where this process prints; it is thrown away otherwise.
        variables: Further variables of its environment.

    Raises:
        OSError: No process can be started.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        python: str | None = None,
        output: bool = False,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        here, there = Pipe()
        watched, lifeline = os.pipe()
        stream = None if output else subprocess.DEVNULL
        try:
            self._process = subprocess.Popen(
                module_program(python or sys.executable, module, str(there.fileno()), str(watched), *arguments),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                pass_fds=(there.fileno(), watched),
                env={**_environment(python), **(variables or {})},
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

    @property
    def memory_bytes(self) -> int | None:
        """What it holds in memory; None where the system does not say."""
        try:
            pages = int(Path(f"/proc/{self._process.pid}/statm").read_text("ascii").split()[1])
        except (OSError, ValueError, IndexError):
            return None
        return pages * os.sysconf("SC_PAGE_SIZE")

    def send(self, message: Any) -> None:
        """Send a message.

        Args:
            message: What can be pickled.

        Raises:
            OSError: The process is gone.
        """
        send(self._connection, message)

    def receive(self, timeout_s: float | None = None) -> Any:
        """The next message.

        Args:
            timeout_s: How long to wait for it; without a limit when None.

        Raises:
            EOFError: The process is gone, as OSError.
            TimeoutError: There was none within the time; the process is over.
            UnpicklableMessageError: A message came that cannot be unpickled here; the process goes on.
        """
        deadline = inf if timeout_s is None else monotonic() + timeout_s
        while not self._connection.poll(max(0.0, min(_POLL_S, deadline - monotonic()))):
            if self._process.poll() is not None and not self._connection.poll(0):
                raise EOFError  # a process that it started may hold the connection open
            if monotonic() >= deadline:
                self.end(0)
                raise TimeoutError
        return receive(self._connection)

    def ask(self, request: Any, timeout_s: float) -> Any:
        """The answer to a request. When there is none the process is over.

        Args:
            request: What can be pickled.
            timeout_s: How long to wait for the answer.

        Raises:
            ChildEndedError: There is none.
            UnpicklableMessageError: There is one that cannot be unpickled here; the process is over.
        """
        try:
            self.send(request)
            return self.receive(timeout_s)
        except TimeoutError:
            raise ChildEndedError(f"took more than {timeout_s:g} s") from None
        except (EOFError, OSError):
            code = self.end()
            raise ChildEndedError(f"crashed ({name})" if (name := signal_name(code)) else "ended") from None
        except BaseException:  # an answer that comes later would be taken for that to the next request
            self.end(0)
            raise

    def wait(self) -> int:
        """Its exit code, once it has ended by itself; less than 0 for a signal."""
        return self._process.wait()

    def stop(self) -> int | None:
        """Ask it to end (SIGTERM), wait until it has, and end whatever it started.

        Returns:
            Its exit code, less than 0 for a signal.
        """
        self._process.terminate()
        self._process.wait()
        return self.end(0)

    def end(self, wait_s: float = _END_S) -> int | None:
        """End it and whatever it started, unless it ends by itself within a time.

        Returns:
            Its exit code, less than 0 for a signal; None where it was ended here.
        """
        code = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(wait_s)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.let_go()
        return code


def _environment(python: str | None) -> dict[str, str]:
    """What a child finds in its environment: the modules of this process, unless it has an interpreter of its own."""
    if python is None:
        return {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}


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


def signal_name(code: int | None) -> str:
    """The name of the signal that an exit code stands for, such as "SIGSEGV"; empty where it stands for none."""
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return ""


class RequestChannel:
    """How a child process hears its parent, with which it ends.

    Args:
        arguments: The first two of the command line.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._connection, lifeline = Connection(int(arguments[0])), int(arguments[1])
        die_with_parent(lifeline)
        for descriptor in (self._connection.fileno(), lifeline):  # not for what a reader starts
            os.set_inheritable(descriptor, False)

    def answer_next(self, answer: Callable[[Any], Any], timeout_s: float | None = None) -> None:
        """Answer the next request, if one comes in time.

        Args:
            answer: Gives the answer to a request.
            timeout_s: How long to wait for one; without a limit when None.

        Raises:
            EOFError: The parent is gone, as ConnectionError.
        """
        if self._connection.poll(timeout_s):
            send(self._connection, answer(receive(self._connection)))


def answer_requests(answer: Callable[[Any], Any], arguments: Sequence[str]) -> None:
    """Answer requests until the parent is gone; what runs in a child process.

    Args:
        answer: Gives the answer to a request; it raises nothing.
        arguments: The first two of the command line.
    """
    channel = RequestChannel(arguments)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            channel.answer_next(answer)


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
