"""A server started as a program and spoken to by its stdin and stdout, one JSON message a line.

It runs in a process group of its own, which ends with the connection. Lines are bounded, so a server that floods costs the
connection and not the memory; what it says on stderr is kept, the end of it, to tell why it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from typing import Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from medvistagym_core.remote.config import RemoteServer

MOST_LINE: Final = 64 * 2**20
_TAIL: Final = 2000
_GRACE_S: Final = 2.0
_CHUNK: Final = 4096
Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]


class LastWords:
    """The end of what a server said on stderr."""

    def __init__(self) -> None:
        self._tail = ""

    def add(self, text: str) -> None:
        """Keep more of it."""
        self._tail = (self._tail + text)[-_TAIL:]

    def __str__(self) -> str:
        lines = [line.strip() for line in self._tail.splitlines() if line.strip()]
        return lines[-1][:300] if lines else ""


@contextlib.asynccontextmanager
async def process_streams(server: RemoteServer, words: LastWords) -> AsyncIterator[Streams]:
    """Messages from and to a server that is started here, and ended with the context.

    Raises:
        OSError: It cannot be started.
    """
    handed = {name: os.environ[name] for name in server.pass_env if name in os.environ}
    loop = asyncio.get_running_loop()
    (
        transport,
        protocol,
    ) = await loop.subprocess_exec(  # rather than create_subprocess_exec: the transport must be closed
        lambda: asyncio.subprocess.SubprocessStreamProtocol(limit=MOST_LINE, loop=loop),
        server.command or "",
        *server.args,
        env={**get_default_environment(), **handed, **server.env},
        cwd=server.cwd,
        start_new_session=True,
    )
    process = asyncio.subprocess.Process(transport, protocol, loop)
    arriving, received = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    sent, leaving = anyio.create_memory_object_stream[SessionMessage](0)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_read, process, arriving, words)
            tasks.start_soon(_write, process, leaving, arriving)
            tasks.start_soon(_overhear, process, words)
            try:
                yield received, sent
            finally:
                received.close()
                sent.close()
                with anyio.CancelScope(shield=True):
                    await _end(process)
                tasks.cancel_scope.cancel()
    finally:
        transport.close()
        for stream in (arriving, received, sent, leaving):
            stream.close()


async def _read(
    process: asyncio.subprocess.Process, arriving: MemoryObjectSendStream[SessionMessage | Exception], words: LastWords
) -> None:
    assert process.stdout is not None
    with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError), arriving:
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                words.add(f"\nit sent a line of more than {MOST_LINE >> 20} MiB\n")
                return
            if not line:
                return
            try:
                await arriving.send(SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False)))
            except ValueError:
                words.add(f"\nit said on stdout, which is no message: {line[:100].decode(errors='replace')}\n")


async def _write(
    process: asyncio.subprocess.Process,
    leaving: MemoryObjectReceiveStream[SessionMessage],
    arriving: MemoryObjectSendStream[SessionMessage | Exception],
) -> None:
    assert process.stdin is not None
    async with leaving:
        async for message in leaving:
            try:
                process.stdin.write(message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                await process.stdin.drain()
            except OSError:  # it no longer reads
                arriving.close()
                return


async def _overhear(process: asyncio.subprocess.Process, words: LastWords) -> None:
    assert process.stderr is not None
    while chunk := await process.stderr.read(_CHUNK):
        words.add(chunk.decode(errors="replace"))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close its stdin, then ask it to end, then end it; with all that it started."""
    assert process.stdin is not None
    process.stdin.close()
    for ask in (None, signal.SIGTERM, signal.SIGKILL):
        if ask is not None:
            _signal(process, ask)
        with anyio.move_on_after(_GRACE_S):
            await process.wait()
        if process.returncode is not None:
            break
    _signal(process, signal.SIGKILL)  # what it started and left behind


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
