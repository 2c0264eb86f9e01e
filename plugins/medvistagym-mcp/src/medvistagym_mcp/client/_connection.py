"""Talking to a server from any thread: one connection a server and process, kept on one event loop in the background.

A connection that breaks is made anew once for a call, if the server still offers the same tools. While a server cannot be
reached, calls fail at once for a few seconds instead of each waiting for it again. `McpConnection.call` raises nothing but
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

from medvistagym_core.tools import ToolError, first_line
from medvistagym_mcp.client._config import McpServerConfig
from medvistagym_mcp.client._http import MAX_ANSWER, HttpStatus
from medvistagym_mcp.client._process import StderrTail, process_streams

T = TypeVar("T")
_log: Final = logging.getLogger(__name__)
logging.getLogger("mcp.client").addHandler(logging.NullHandler())  # what it logs is told as an error of the call
_RETRY_AFTER_S: Final = 5.0
_CLOSE_S: Final = 6.0
_MAX_TOOLS: Final = 1000
_MAX_PAGES: Final = 100
_NO_REASON: Final = "Server returned an error response"  # the `mcp` package's word for any HTTP status
_MAX_TIMEOUTS: Final = 3
_BROKEN: Final = (
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    httpx2.TransportError,
    OSError,
)


class ServerUnreachableError(Exception):
    """A server that cannot be started or reached, or does not speak MCP; the message is a sentence without a subject."""


class _ConnectionLostError(Exception):
    """The connection broke during a request."""


class McpConnection:
    """The way to one server. Connects when first used."""

    def __init__(self, server: McpServerConfig) -> None:
        self.server = server
        self._lock = asyncio.Lock()
        self._client: Client | None = None
        self._leave: asyncio.Event | None = None
        self._session_task: asyncio.Task[None] | None = None
        self._failed: tuple[float, str] | None = None
        self._timeouts = 0
        self._http = HttpStatus(server)
        self._offered: dict[str, Any] = {}

    def tools(self) -> list[types.Tool]:
        """What the server offers.

        Raises:
            ServerUnreachableError: It does not answer, or not as an MCP server does.
        """
        return _run_sync(self._tools_in_time())

    def call(self, tool: str, arguments: dict[str, Any], timeout_s: float, *, retryable: bool) -> types.CallToolResult:
        """The result of a call.

        Args:
            tool: The server's name for it.
            arguments: JSON values.
            timeout_s: Seconds for all of it.
            retryable: Whether the call may be repeated when the connection breaks while it runs.

        Raises:
            ToolError: `timeout`, or `tool_failed` with what the server did.
        """
        return _run_sync(self._call(tool, arguments, time.monotonic() + timeout_s, timeout_s, retryable=retryable))

    def close(self) -> None:
        """Disconnect, and end the server if it was started here."""
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._drop(), _loop()).result(_CLOSE_S)

    async def _tools_in_time(self) -> list[types.Tool]:
        wait = self.server.connect_s
        try:
            return await asyncio.wait_for(self._tools(), wait)
        except TimeoutError:
            raise ServerUnreachableError(f"did not answer within {wait:g} s") from None
        except _ConnectionLostError:
            raise ServerUnreachableError("closed the connection") from None
        except MCPError as error:
            raise ServerUnreachableError(self._describe(error)) from None

    async def _tools(self) -> list[types.Tool]:
        tools = await self._listed(await self._connect())
        self._offered = _schemas(tools)
        return tools

    async def _listed(self, client: Client) -> list[types.Tool]:
        tools: list[types.Tool] = []
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            page = await self._request(client, partial(client.list_tools, cursor=cursor, cache_mode="bypass"))
            tools += page.tools
            cursor = page.next_cursor
            if cursor is None:
                return tools
            if len(tools) > _MAX_TOOLS:
                break
        raise ServerUnreachableError(f"lists its tools without end ({len(tools)} so far)")

    async def _call(
        self, tool: str, arguments: dict[str, Any], end: float, timeout_s: float, *, retryable: bool
    ) -> types.CallToolResult:
        for last in (False, True):
            try:
                client = await asyncio.wait_for(self._connect(), max(end - time.monotonic(), 0.001))
                left = max(end - time.monotonic(), 0.001)
                call = partial(client.call_tool, tool, arguments, read_timeout_seconds=left)
                result = await asyncio.wait_for(self._request(client, call), left + 1)
            except ServerUnreachableError as error:
                raise self._failure(f"it {error}") from None
            except _ConnectionLostError:
                if last or not retryable:
                    raise self._failure("it closed the connection during the call") from None
            except TimeoutError:
                await self._count_timeout()
                message = f"The MCP server {self.server.name} took longer than {timeout_s:g} s and was given up."
                raise ToolError("timeout", message) from None
            except MCPError as error:
                raise self._failure(f"it {self._describe(error)}") from None
            else:
                self._timeouts = 0
                return result
        raise AssertionError

    async def _request(self, client: Client, work: Callable[[], Awaitable[T]]) -> T:
        """A request, with the ways in which it fails told apart.

        Raises:
            MCPError: The server answered with an error.
            ServerUnreachableError: It answered with something that is no answer.
            TimeoutError: It took too long.
            _ConnectionLostError: The connection broke.
        """
        try:
            return await work()
        except MCPError as error:
            if error.code == REQUEST_TIMEOUT:
                raise TimeoutError from None
            ended = error.code == CONNECTION_CLOSED
            if ended or (self.server.url is not None and error.code in (INVALID_REQUEST, INTERNAL_ERROR)):
                await self._drop(client)
            if ended or error.error.message == "Session terminated":
                raise _ConnectionLostError from None
            raise
        except TimeoutError:
            raise
        except _BROKEN:
            await self._drop(client)
            raise _ConnectionLostError from None
        except pydantic.ValidationError as error:
            location = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"][:4])
            message = f"answered with something that is no result of MCP (at {location[:100]})"
            raise ServerUnreachableError(message) from None
        except RuntimeError as error:
            raise ServerUnreachableError(f"answered wrongly: {first_line(error)}") from None

    async def _connect(self) -> Client:
        async with self._lock:
            if self._client is not None:
                return self._client
            if self._failed is not None and time.monotonic() - self._failed[0] < _RETRY_AFTER_S:
                raise ServerUnreachableError(self._failed[1])
            ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
            leave = self._leave = asyncio.Event()
            task = self._session_task = asyncio.create_task(self._run_session(ready, leave))
            try:
                client = await asyncio.wait_for(ready, self.server.connect_s)
                if self._offered:
                    now = _schemas(await self._listed(client))
                    if other := sorted(name for name, schema in self._offered.items() if now.get(name) != schema):
                        message = f"came back with other tools: {', '.join(other)[:200]} changed or left"
                        raise ServerUnreachableError(message)
            except BaseException as error:
                leave.set()
                task.cancel()
                if isinstance(error, TimeoutError):
                    error = ServerUnreachableError(f"did not answer within {self.server.connect_s:g} s")
                if isinstance(error, _ConnectionLostError):
                    error = ServerUnreachableError("closed the connection at once")
                if isinstance(error, ServerUnreachableError):
                    self._failed = time.monotonic(), str(error)
                raise error from None
            self._failed = None
            self._client = client
            return client

    async def _run_session(self, ready: asyncio.Future[Client], leave: asyncio.Event) -> None:
        """Enter and leave the connection in one task, as its cancel scopes demand."""
        tail = StderrTail()
        try:
            async with Client(self._transport(tail), mode="auto", cache=None) as client:
                if not ready.done():
                    ready.set_result(client)
                await leave.wait()
        except Exception as error:  # noqa: BLE001 whatever the server made of it
            if not ready.done():
                last = f" (it said last: {tail})" if str(tail) else ""
                ready.set_exception(ServerUnreachableError(self._sentence(error) + last))
        else:
            if str(tail):
                _log.info("the MCP server %s said last: %s", self.server.name, tail)

    async def _drop(self, client: Client | None = None) -> None:
        """Give the connection up, unless it is another one than `client` by now."""
        if self._client is None or (client is not None and client is not self._client):
            return
        self._client = None
        if self._leave is not None:
            self._leave.set()
        if client is None and self._session_task is not None:
            await self._session_task

    async def _count_timeout(self) -> None:
        """A server that answers nothing any more is started anew."""
        self._timeouts += 1
        if self._timeouts >= _MAX_TIMEOUTS:
            self._timeouts = 0
            await self._drop(self._client)

    def _transport(self, tail: StderrTail) -> Any:
        if self.server.url is None:
            return process_streams(self.server, tail)
        try:
            web = self._http.client()
        except LookupError as error:
            raise ServerUnreachableError(str(error.args[0])) from None
        transport = streamable_http_client(self.server.url, http_client=web, max_sse_event_size=MAX_ANSWER)
        return _closing(web, transport)

    def _sentence(self, error: BaseException) -> str:
        """Why the connection was not made, as a sentence without a subject."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, ServerUnreachableError):
            return str(error)
        if isinstance(error, FileNotFoundError):
            return f"cannot be started: there is no {error.filename}"
        if isinstance(error, OSError) and self.server.command is not None:
            return f"cannot be started: {error.filename or self.server.command}: {error.strerror or error}"
        if isinstance(error, MCPError):
            if error.code == CONNECTION_CLOSED:
                return "ended, or closed the connection, before it answered"
            return self._describe(error)
        message = str(error).strip().split("\n")[0][:200]
        return f"cannot be reached ({type(error).__name__}{': ' + message if message else ''})"

    def _describe(self, error: MCPError) -> str:
        """What the server answered, as a sentence without a subject."""
        message = error.error.message
        reason = self._http.describe() if message == _NO_REASON else None
        return reason or f"answered with the error {message[:300]!r}"

    def _failure(self, message: str) -> ToolError:
        return ToolError("tool_failed", f"The MCP server {self.server.name} failed: {message}.")


def _schemas(tools: Iterable[types.Tool]) -> dict[str, Any]:
    return {tool.name: tool.input_schema for tool in tools}


@contextlib.asynccontextmanager
async def _closing(web: httpx2.AsyncClient, transport: contextlib.AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    async with web, transport as streams:
        yield streams


# -- the loop in the background

_loops: dict[int, asyncio.AbstractEventLoop] = {}
_connections: dict[tuple[int, str], McpConnection] = {}
_starting = threading.Lock()


def connection_to(server: McpServerConfig) -> McpConnection:
    """This process's connection to a server."""
    with _starting:
        return _connections.setdefault((os.getpid(), server.model_dump_json()), McpConnection(server))


def _loop() -> asyncio.AbstractEventLoop:
    with _starting:
        loop = _loops.get(os.getpid())  # a forked process starts its own
        if loop is None:
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, daemon=True, name="medvistagym-remote").start()
        return loop


def _run_sync(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(work, _loop()).result()


def close_all() -> None:
    """Disconnect from every server, and end those that this process started."""
    with _starting:
        mine = [key for key in _connections if key[0] == os.getpid()]
        connections = [_connections.pop(key) for key in mine]
    for connection in connections:
        connection.close()


atexit.register(close_all)
