"""Talking to a server from any thread: one connection a server and process, kept on one event loop in the background.

A connection that breaks is made anew once for a call, if the server still offers the same tools. While a server cannot be
reached, calls fail at once for a few seconds instead of each waiting for it again. `Connection.call` raises nothing but
`ToolError`.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Final, TypeVar

import anyio
import httpx2
import pydantic
from mcp import Client, MCPError, types
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CONNECTION_CLOSED, INTERNAL_ERROR, INVALID_REQUEST, REQUEST_TIMEOUT

from medvistagym_core.remote.config import RemoteServer
from medvistagym_core.remote.process import LastWords, process_streams
from medvistagym_core.tools import ToolError

T = TypeVar("T")
_log: Final = logging.getLogger(__name__)
_PATIENCE_S: Final = 5.0
_CLOSE_S: Final = 6.0
_MOST_TOOLS: Final = 1000
_MOST_PAGES: Final = 100
_MOST_EVENT: Final = 64 * 2**20
_SILENT: Final = 3
_LOST: Final = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, httpx2.TransportError, OSError)


class Unreachable(Exception):  # noqa: N818
    """A server that cannot be started or reached, or does not speak MCP; the message is a sentence without a subject."""


class _Lost(Exception):  # noqa: N818
    """The connection broke during a request."""


class Connection:
    """The way to one server. Connects when first used."""

    def __init__(self, server: RemoteServer) -> None:
        self.server = server
        self._lock = asyncio.Lock()
        self._client: Client | None = None
        self._leave: asyncio.Event | None = None
        self._holder: asyncio.Task[None] | None = None
        self._failed: tuple[float, str] | None = None
        self._silent = 0
        self._offered: dict[str, Any] = {}

    def tools(self) -> list[types.Tool]:
        """What the server offers.

        Raises:
            Unreachable: It does not answer, or not as an MCP server does.
        """
        return _on_loop(self._tools_in_time())

    def call(self, tool: str, arguments: dict[str, Any], timeout_s: float, *, again: bool) -> types.CallToolResult:
        """The result of a call.

        Args:
            tool: The server's name for it.
            arguments: JSON values.
            timeout_s: Seconds for all of it.
            again: Whether the call may be repeated when the connection breaks while it runs.

        Raises:
            ToolError: `timeout`, or `tool_failed` with what the server did.
        """
        return _on_loop(self._call(tool, arguments, time.monotonic() + timeout_s, timeout_s, again=again))

    def close(self) -> None:
        """Disconnect, and end the server if it was started here."""
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._drop(), _loop()).result(_CLOSE_S)

    async def _tools_in_time(self) -> list[types.Tool]:
        wait = self.server.connect_s
        try:
            return await asyncio.wait_for(self._tools(), wait)
        except TimeoutError:
            raise Unreachable(f"did not answer within {wait:g} s") from None
        except _Lost:
            raise Unreachable("closed the connection") from None
        except MCPError as error:
            raise Unreachable(f"answered with the error {error.error.message[:200]!r}") from None

    async def _tools(self) -> list[types.Tool]:
        tools = await self._listed(await self._connected())
        self._offered = _schemas(tools)
        return tools

    async def _listed(self, client: Client) -> list[types.Tool]:
        found: list[types.Tool] = []
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = await self._guarded(client, partial(client.list_tools, cursor=cursor, cache_mode="bypass"))
            found += page.tools
            cursor = page.next_cursor
            if cursor is None:
                return found
            if len(found) > _MOST_TOOLS:
                break
        raise Unreachable(f"lists its tools without end ({len(found)} so far)")

    async def _call(
        self, tool: str, arguments: dict[str, Any], end: float, timeout_s: float, *, again: bool
    ) -> types.CallToolResult:
        for last in (False, True):
            try:
                client = await asyncio.wait_for(self._connected(), max(end - time.monotonic(), 0.001))
                left = max(end - time.monotonic(), 0.001)
                call = partial(client.call_tool, tool, arguments, read_timeout_seconds=left)
                result = await asyncio.wait_for(self._guarded(client, call), left + 1)
            except Unreachable as error:
                raise self._failure(f"it {error}") from None
            except _Lost:
                if last or not again:
                    raise self._failure("it closed the connection during the call") from None
            except TimeoutError:
                await self._count_silence()
                said = f"The MCP server {self.server.name} took longer than {timeout_s:g} s and was given up."
                raise ToolError("timeout", said) from None
            except MCPError as error:
                raise self._failure(f"it answered with the error {error.error.message[:300]!r}") from None
            else:
                self._silent = 0
                return result
        raise AssertionError

    async def _guarded(self, client: Client, work: Callable[[], Awaitable[T]]) -> T:
        """A request, with the ways in which it fails told apart: `_Lost`, `TimeoutError`, `MCPError` or `Unreachable`."""
        try:
            return await work()
        except MCPError as error:
            if error.code == REQUEST_TIMEOUT:
                raise TimeoutError from None
            ended = error.code == CONNECTION_CLOSED
            if ended or (self.server.url is not None and error.code in (INVALID_REQUEST, INTERNAL_ERROR)):
                await self._drop(client)
            if ended or error.error.message == "Session terminated":
                raise _Lost from None
            raise
        except TimeoutError:
            raise
        except _LOST:
            await self._drop(client)
            raise _Lost from None
        except pydantic.ValidationError as error:
            where = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"][:4])
            raise Unreachable(f"answered with something that is no result of MCP (at {where[:100]})") from None
        except RuntimeError as error:
            raise Unreachable(f"answered wrongly: {str(error).splitlines()[0][:300]}") from None

    async def _connected(self) -> Client:
        async with self._lock:
            if self._client is not None:
                return self._client
            if self._failed is not None and time.monotonic() - self._failed[0] < _PATIENCE_S:
                raise Unreachable(self._failed[1])
            ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
            leave = self._leave = asyncio.Event()
            holder = self._holder = asyncio.create_task(self._hold(ready, leave))
            try:
                client = await asyncio.wait_for(ready, self.server.connect_s)
                if self._offered:
                    now = _schemas(await self._listed(client))
                    if other := sorted(name for name, schema in self._offered.items() if now.get(name) != schema):
                        raise Unreachable(f"came back with other tools: {', '.join(other)[:200]} changed or left")
            except BaseException as error:
                leave.set()
                holder.cancel()
                if isinstance(error, TimeoutError):
                    error = Unreachable(f"did not answer within {self.server.connect_s:g} s")
                if isinstance(error, _Lost):
                    error = Unreachable("closed the connection at once")
                if isinstance(error, Unreachable):
                    self._failed = time.monotonic(), str(error)
                raise error from None
            self._failed = None
            self._client = client
            return client

    async def _hold(self, ready: asyncio.Future[Client], leave: asyncio.Event) -> None:
        """Enter and leave the connection in one task, as its cancel scopes demand."""
        words = LastWords()
        try:
            async with Client(_transport(self.server, words), mode="auto", cache=None) as client:
                if not ready.done():
                    ready.set_result(client)
                await leave.wait()
        except Exception as error:  # noqa: BLE001 whatever the server made of it
            if not ready.done():
                last = f" (it said last: {words})" if str(words) else ""
                ready.set_exception(Unreachable(_sentence(error) + last))
        else:
            if str(words):
                _log.info("the MCP server %s said last: %s", self.server.name, words)

    async def _drop(self, client: Client | None = None) -> None:
        """Give the connection up, unless it is another one than `client` by now."""
        if self._client is None or (client is not None and client is not self._client):
            return
        self._client = None
        if self._leave is not None:
            self._leave.set()
        if client is None and self._holder is not None:
            await self._holder

    async def _count_silence(self) -> None:
        """A server that answers nothing any more is started anew."""
        self._silent += 1
        if self._silent >= _SILENT:
            self._silent = 0
            await self._drop(self._client)

    def _failure(self, said: str) -> ToolError:
        return ToolError("tool_failed", f"The MCP server {self.server.name} failed: {said}.")


def _schemas(tools: Iterable[types.Tool]) -> dict[str, Any]:
    return {tool.name: tool.input_schema for tool in tools}


def _transport(server: RemoteServer, words: LastWords) -> Any:
    if server.url is not None:
        headers = {}
        if server.token_env is not None:
            token = os.environ.get(server.token_env)
            if not token:
                raise Unreachable(f"needs a token, and the variable {server.token_env} is not set")
            headers["Authorization"] = f"Bearer {token}"
        web = httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(30.0, read=300.0))
        return _closing(web, streamable_http_client(server.url, http_client=web, max_sse_event_size=_MOST_EVENT))
    return process_streams(server, words)


@contextlib.asynccontextmanager
async def _closing(web: httpx2.AsyncClient, transport: contextlib.AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    async with web, transport as streams:
        yield streams


def _sentence(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, Unreachable):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return f"cannot be started: there is no {error.filename}"
    if isinstance(error, MCPError):
        if error.code == CONNECTION_CLOSED:
            return "ended, or closed the connection, before it answered"
        return f"answered with the error {error.error.message[:200]!r}"
    said = str(error).strip().split("\n")[0][:200]
    return f"cannot be reached ({type(error).__name__}{': ' + said if said else ''})"


# -- the loop in the background

_loops: dict[int, asyncio.AbstractEventLoop] = {}
_connections: dict[tuple[int, str], Connection] = {}
_starting = threading.Lock()


def connection_to(server: RemoteServer) -> Connection:
    """This process's connection to a server."""
    with _starting:
        return _connections.setdefault((os.getpid(), server.model_dump_json()), Connection(server))


def _loop() -> asyncio.AbstractEventLoop:
    with _starting:
        loop = _loops.get(os.getpid())  # a forked process starts its own
        if loop is None:
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, daemon=True, name="medvistagym-remote").start()
        return loop


def _on_loop(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, _loop()).result()


def close_all() -> None:
    """Disconnect from every server, and end those that this process started."""
    with _starting:
        mine = [key for key in _connections if key[0] == os.getpid()]
        connections = [_connections.pop(key) for key in mine]
    for connection in connections:
        connection.close()


atexit.register(close_all)
