"""Connections that are not used, or not read, keep nobody out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from medvistagym_core import LocalExecutor
from medvistagym_mcp.server import SessionLimits, Sessions, access_policy, bind_socket, build_server, url_of
from medvistagym_mcp.server import _connections as connections
from medvistagym_mcp.server import _http as http

from .parts import TOKEN, TOOLBOX, grey, said

HALF = b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-a: b\r\n"
BODY_TO_COME = (
    f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
    "Accept: application/json, text/event-stream\r\nContent-Length: 500\r\n\r\n{"
).encode()
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def served(**limits: Any) -> AsyncIterator[str]:
    """The address of a server in this process."""
    images, ready = [grey()], asyncio.Event()
    with LocalExecutor(TOOLBOX, cache_bytes=0) as executor, contextlib.closing(bind_socket("127.0.0.1", 0)) as listener:
        sessions = Sessions(executor, images, SessionLimits(**limits))
        server = build_server(TOOLBOX, images, http.session_resolver(sessions), stateless=False)
        policy = access_policy(listener, TOKEN)
        program = asyncio.create_task(http.serve_http(server, sessions, policy, listener, ready.set))
        await asyncio.wait_for(ready.wait(), 20)
        try:
            yield url_of(listener)
        finally:
            program.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await program


async def connect(url: str, first: bytes) -> Stream:
    port = httpx2.URL(url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)
    await writer.drain()
    return reader, writer


async def call(url: str) -> str:
    """What a client gets for a call."""
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}) as web,
        Client(streamable_http_client(url, http_client=web), mode="legacy") as client,
    ):
        return said(await client.call_tool("noise", {"image": 0}))[0]


async def is_closed(stream: Stream, within_s: float) -> bool:
    """Whether the server has closed a connection by then."""
    with contextlib.suppress(ConnectionError):
        try:
            return await asyncio.wait_for(stream[0].read(), within_s) is not None
        except TimeoutError:
            return False
    return True


@pytest.mark.parametrize("first", [HALF, BODY_TO_COME, b""], ids=("headers", "body", "nothing"))
def test_a_request_that_is_not_completed_in_time_is_given_up(first: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.5)

    async def run() -> None:
        async with served() as url:
            stream = await connect(url, first)
            for _ in range(8):  # a byte now and then does not help
                await asyncio.sleep(0.1)
                stream[1].write(b"X")
            assert await is_closed(stream, 5)
            assert await call(url) == "image 1:"

    asyncio.run(run())


def test_a_request_in_time_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.5)

    async def run() -> None:
        async with (
            served() as url,
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}) as web,
            Client(streamable_http_client(url, http_client=web), mode="legacy") as client,
        ):
            for handle in range(1, 4):
                assert said(await client.call_tool("noise", {"image": 0})) == [f"image {handle}:"]
                await asyncio.sleep(0.4)

    asyncio.run(run())


def test_many_half_sent_requests_do_not_shut_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "max_connections", lambda sessions: 20)

    async def run() -> None:
        async with served() as url:
            streams = [await connect(url, HALF) for _ in range(100)]
            assert await asyncio.wait_for(call(url), 10) == "image 1:"
            closed = await asyncio.gather(*[is_closed(stream, 0.5) for stream in streams])
            assert sum(closed) >= 80
            assert not closed[-1]  # the newest are kept
            for _, writer in streams:
                writer.close()

    asyncio.run(run())


def test_a_client_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "RESPONSE_S", 0.5)

    async def run() -> None:
        async with served(result_bytes=10_000_000) as url:
            listing = BODY_TO_COME.replace(b"Content-Length: 500", b"Content-Length: 2")[:-1] + b"{}"
            reader, writer = await connect(url, listing * 3000)  # each is answered with an error
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.sleep(2)
            assert await asyncio.wait_for(call(url), 10) == "image 1:"
            writer.close()

    asyncio.run(run())


def test_sessions_are_limited_however_many_are_opened_at_once() -> None:
    async def open_session(web: httpx2.AsyncClient, url: str) -> int:
        headers = {"Accept": "application/json, text/event-stream", "Authorization": f"Bearer {TOKEN}"}
        params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
        request = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
        return (await web.post(url, json=request, headers=headers)).status_code

    async def run() -> None:
        async with served(sessions=5) as url, httpx2.AsyncClient(timeout=30) as web:
            statuses = await asyncio.gather(*[open_session(web, url) for _ in range(60)])
            assert sorted(set(statuses)) == [200, 503]
            assert statuses.count(200) == 5

    asyncio.run(run())


def test_a_websocket_is_refused_like_anything_else() -> None:
    upgrade = (
        "GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )

    async def run() -> None:
        async with served() as url:
            for more, status in (("", b"401"), (f"Authorization: Bearer {TOKEN}\r\n", b"406")):
                reader, writer = await connect(url, f"{upgrade}{more}\r\n".encode())
                assert (await reader.readline()).split()[1] == status
                writer.close()

    asyncio.run(run())
