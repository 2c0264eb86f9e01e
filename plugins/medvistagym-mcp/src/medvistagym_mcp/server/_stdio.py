"""MCP over the process's own stdin and stdout.

Framing is that of `mcp.server.stdio.stdio_server`, which is given the streams below. With its own (mcp 2.3) an interrupt
waits for the next line of stdin, answers that a client does not read pile up in memory, the end of input does not end a
server that is waiting to write, and a byte-order mark costs the first message.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import anyio
from anyio import to_thread
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

_CHUNK: Final = 65536
_MAX_LINE: Final = 2**20  # arguments name images by handle, so that no message comes near it
_LOOK_S: Final = 0.1
_FLUSH_S: Final = 2.0
StdioFds = tuple[int, int]


@contextlib.contextmanager
def claim_stdio() -> Iterator[StdioFds]:
    """Descriptors of the process's stdin and stdout for the protocol alone.

    Meanwhile what plugins, tools and their child processes print goes to stderr, and what they read from stdin is empty.
    To be entered before plugins are imported, since these may print as well.
    """
    sys.stdout.flush()
    claimed = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield claimed
    finally:
        sys.stdout.flush()
        os.dup2(claimed[0], 0)  # the copies stay open: a thread may still be writing
        os.dup2(claimed[1], 1)


async def serve_stdio(server: Server[Any], fds: StdioFds) -> None:
    """Answer one client until it closes its end; what it does not read within 2 s from then on is dropped."""
    output = _Output(fds[1])
    try:
        with anyio.CancelScope() as scope:
            async with stdio_server(_Input(fds[0], output), output) as (received, sent):
                await server.run(received, sent, server.create_initialization_options())
                scope.deadline = anyio.current_time() + _FLUSH_S
    except* OSError:
        pass  # the client is gone


class _Output(anyio.AsyncFile[str]):
    """A descriptor to write to, whose slowness can be told.

    Attributes:
        written: Set unless something is being written.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(os.fdopen(fd, "w", encoding="utf-8", closefd=False))
        os.set_blocking(fd, True)
        self._fd = fd
        self.written = anyio.Event()
        self.written.set()

    async def write(self, text: str) -> int:
        """Write all of a text. When the wait is cancelled, the thread that writes is left to itself."""
        self.written = anyio.Event()
        try:
            await to_thread.run_sync(_write_all, self._fd, text.encode(), abandon_on_cancel=True)
        finally:
            self.written.set()
        return len(text)

    async def flush(self) -> None:
        """Do nothing: `write` keeps nothing back."""


class _Input(anyio.AsyncFile[str]):
    """A descriptor to read lines from, while the answers to those before are read by the client.

    Lines are read without a thread, so that waiting for one can be cancelled. A byte-order mark is dropped, and so is a
    line of more than `_MAX_LINE` bytes, with a note on stderr.
    """

    def __init__(self, fd: int, output: _Output) -> None:
        super().__init__(os.fdopen(fd, encoding="utf-8", closefd=False))
        self._fd = fd
        self._output = output
        self._lines: deque[str] = deque()
        self._rest = b""
        self._too_long = False

    async def readline(self) -> str:
        """The next line, with its end; nothing once the client has closed its side."""
        while not self._output.written.is_set():
            if _is_hung_up(self._fd):
                return ""
            with anyio.move_on_after(_LOOK_S):
                await self._output.written.wait()
        while not self._lines:
            try:
                await anyio.wait_readable(self._fd)
            except PermissionError:  # a file, which can be read at any time
                await anyio.sleep(0)
            chunk = os.read(self._fd, _CHUNK)
            if not chunk:
                rest, self._rest = self._rest, b""
                return _decode(rest)
            self._take(chunk)
        return self._lines.popleft()

    def _take(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if self._too_long and lines:
            self._too_long = False
            del lines[0]
        self._lines.extend(_decode(line) + "\n" for line in lines)
        if len(self._rest) > _MAX_LINE:
            self._rest = b""
            if not self._too_long:
                sys.stderr.write(f"medvistagym: left out a message of more than {_MAX_LINE >> 20} MiB\n")
            self._too_long = True


def _decode(line: bytes) -> str:
    return line.decode("utf-8", "replace").lstrip("\ufeff")


def _is_hung_up(fd: int) -> bool:
    """Whether the other side of a pipe or socket has been closed, though there may be more to read."""
    half_closed = getattr(select, "POLLRDHUP", 0)  # of a socket, on Linux
    poll = select.poll()
    poll.register(fd, half_closed)
    return any(event & (select.POLLHUP | select.POLLERR | half_closed) for _, event in poll.poll(0))


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
