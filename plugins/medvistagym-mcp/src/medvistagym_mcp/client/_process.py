"""A server started as a program and spoken to by its stdin and stdout, one JSON message a line.

In place of `mcp.client.stdio.stdio_client` (mcp 2.3), which keeps a line that does not end in memory for as long as it
grows, leaves behind what a server has started when the server itself is gone, loses the first message to a byte-order
mark, and logs a traceback for each line that is no message. Environment and ending are those of the `mcp` package.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator
from typing import Final

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.os.posix.utilities import terminate_posix_process_tree
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from medvistagym_mcp.client._config import McpServerConfig

MAX_LINE: Final = 64 * 2**20
_TAIL: Final = 2000
_GRACE_S: Final = 2.0
_LOOK_S: Final = 0.2
_LAST_S: Final = 1.0
Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]


class StderrTail:
    """The end of what a server said on stderr, to tell why it ended."""

    def __init__(self) -> None:
        self._tail = ""

    def add(self, text: str) -> None:
        """Keep more of it."""
        self._tail = (self._tail + text)[-_TAIL:]

    def __str__(self) -> str:
        lines = [line.strip() for line in self._tail.splitlines() if line.strip()]
        last = lines[-1][:300] if lines else ""
        return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in last)  # a terminal must not obey it


@contextlib.asynccontextmanager
async def process_streams(server: McpServerConfig, tail: StderrTail) -> AsyncIterator[Streams]:
    """Messages from and to a server that is started here, and ended with the context, in a process group of its own.

    Raises:
        OSError: It cannot be started.
    """
    handed_on = {name: os.environ[name] for name in server.pass_env if name in os.environ}
    process = await anyio.open_process(
        [server.command or "", *server.args],
        env={**get_default_environment(), **handed_on, **server.env},
        cwd=server.cwd,
        start_new_session=True,
    )
    arriving, received = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    sent, leaving = anyio.create_memory_object_stream[SessionMessage](0)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_read, process, arriving, tail)
            tasks.start_soon(_write, process, leaving, arriving)
            tasks.start_soon(_drain_stderr, process, tail)
            tasks.start_soon(_watch, process, arriving)
            try:
                yield received, sent
            finally:
                received.close()
                sent.close()
                with anyio.CancelScope(shield=True):
                    await _end(process)
                tasks.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await process.aclose()
        for stream in (arriving, received, sent, leaving):
            stream.close()


async def _read(
    process: Process, arriving: MemoryObjectSendStream[SessionMessage | Exception], tail: StderrTail
) -> None:
    assert process.stdout is not None
    lines = BufferedByteReceiveStream(process.stdout)
    with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.IncompleteRead), arriving:
        while True:
            try:
                line = await lines.receive_until(b"\n", MAX_LINE)
            except anyio.DelimiterNotFound:
                tail.add(f"\nit sent a line of more than {MAX_LINE >> 20} MiB\n")
                return
            try:
                message = jsonrpc_message_adapter.validate_json(line.removeprefix(b"\xef\xbb\xbf"), by_name=False)
            except ValueError:
                if line.strip():
                    tail.add(f"\nit said on stdout, which is no message: {line[:100].decode(errors='replace')}\n")
                continue
            await arriving.send(SessionMessage(message))


async def _write(
    process: Process,
    leaving: MemoryObjectReceiveStream[SessionMessage],
    arriving: MemoryObjectSendStream[SessionMessage | Exception],
) -> None:
    assert process.stdin is not None
    async with leaving:
        async for message in leaving:
            try:
                await process.stdin.send(
                    message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
                )
            except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):  # it no longer reads
                arriving.close()
                return


async def _drain_stderr(process: Process, tail: StderrTail) -> None:
    assert process.stderr is not None
    with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async for chunk in process.stderr:
            tail.add(chunk.decode(errors="replace"))


async def _watch(process: Process, arriving: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
    """End the messages when the process has ended, though what it started may hold its stdout open."""
    while process.returncode is None:
        await anyio.sleep(_LOOK_S)
    await anyio.sleep(_LAST_S)  # for what it said last
    arriving.close()


async def _end(process: Process) -> None:
    """Close its stdin, and after a while end it; in any case end what it has started and left behind."""
    assert process.stdin is not None
    with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await process.stdin.aclose()
    with anyio.move_on_after(_GRACE_S):
        while process.returncode is None:  # `wait` waits for its children, too, where they hold its pipes open
            await anyio.sleep(0.01)
    if process.returncode is None:
        await terminate_posix_process_tree(process, _GRACE_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
