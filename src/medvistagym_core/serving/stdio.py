"""MCP over the process's own stdin and stdout.

The protocol gets private copies of both; what tools, libraries and child processes print goes to stderr, and what they read is
empty. Reading and writing happen on daemon threads, so that Ctrl-C ends the server at once, whatever the client does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any, Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server.lowlevel import Server
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from medvistagym_core.serving.threads import in_thread

_CHUNK: Final = 65536
_MOST_LINE: Final = 16 * 2**20
_FLUSH_S: Final = 2.0
Wire = tuple[int, int]
Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]


@contextlib.contextmanager
def private_wire() -> Iterator[Wire]:
    """File descriptors of the process's stdin and stdout for the protocol alone, while anything printed goes to stderr."""
    sys.stdout.flush()
    wire = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield wire
    finally:
        sys.stdout.flush()
        os.dup2(wire[0], 0)  # the copies stay open: a thread may still be waiting on them
        os.dup2(wire[1], 1)


async def serve_stdio(server: Server[Any], wire: Wire) -> None:
    """Answer one client until it closes its end."""
    async with _streams(wire) as (received, sent):
        await server.run(received, sent, server.create_initialization_options())


@contextlib.asynccontextmanager
async def _streams(wire: Wire) -> AsyncIterator[Streams]:
    arriving, received = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    sent, leaving = anyio.create_memory_object_stream[SessionMessage](0)
    loop = asyncio.get_running_loop()

    def pump() -> None:
        # Whatever ends the loop or the stream ends the pump: nobody listens any more.
        with contextlib.suppress(
            RuntimeError, anyio.BrokenResourceError, anyio.ClosedResourceError, asyncio.CancelledError
        ):
            for line in _lines(wire[0]):
                delivery = arriving.send(_message(line))
                try:
                    asyncio.run_coroutine_threadsafe(delivery, loop).result()
                except RuntimeError:
                    delivery.close()
                    raise
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(arriving.close)

    async def write() -> None:
        async with leaving:
            async for message in leaving:
                line = message.message.model_dump_json(by_alias=True, exclude_unset=True) + "\n"
                try:
                    await in_thread(partial(_write, wire[1], line.encode()))
                except OSError:  # the client is gone
                    arriving.close()
                    return

    threading.Thread(target=pump, daemon=True, name="medvistagym-serve-stdin").start()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        try:
            yield received, sent
        finally:
            sent.close()
            received.close()
            tasks.cancel_scope.deadline = anyio.current_time() + _FLUSH_S


def _lines(descriptor: int) -> Iterator[bytes]:
    rest = bytearray()
    while chunk := os.read(descriptor, _CHUNK):
        *lines, tail = chunk.split(b"\n")
        for line in lines:
            yield bytes(rest + line)
            rest.clear()
        rest += tail
        if len(rest) > _MOST_LINE:
            return  # longer than any message: what follows could not be read
    if rest.strip():
        yield bytes(rest)


def _message(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
