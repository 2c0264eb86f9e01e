"""Who may connect over HTTP, and where the server listens."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from medvistagym_core import LocalExecutor, Toolbox
from medvistagym_mcp.server import (
    AccessPolicy,
    SessionLimits,
    Sessions,
    access_policy,
    bind_socket,
    is_loopback,
    url_of,
)
from medvistagym_mcp.server._http import http_app, max_connections

from .parts import TOKEN

INITIALIZE = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}},
}  # fmt: skip
JSON = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


def status(policy: AccessPolicy, headers: dict[str, str]) -> int:
    """How an initialize request with these headers is answered."""

    async def run() -> int:
        with LocalExecutor(Toolbox({}), cache_bytes=0) as executor:
            manager = StreamableHTTPSessionManager(Server[Any]("test"), json_response=True)
            app: Any = http_app(manager, Sessions(executor, [], SessionLimits()), policy)
            transport = httpx2.ASGITransport(app)
            sent = [(name.encode(), value.encode("latin-1")) for name, value in {**JSON, **headers}.items()]
            async with (
                manager.run(),
                httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8765") as client,
            ):
                answer = await client.post("/mcp", json=INITIALIZE, headers=sent)
        return answer.status_code

    return asyncio.run(run())


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with contextlib.closing(bind_socket("127.0.0.1", 0)) as listener:
        yield listener


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"host": "localhost:PORT"}, 200),
        ({"host": "127.0.0.1"}, 200),
        ({"host": "[::1]:PORT"}, 200),
        ({"authorization": f"bearer {TOKEN}"}, 200),
        ({"origin": "http://localhost:PORT"}, 200),
        ({"host": "evil.example"}, 421),
        ({"host": "localhost.evil.example"}, 421),
        ({"host": "127.0.0.1:80@evil.example"}, 421),
        ({"host": "127.0.0.1:x"}, 421),
        ({"host": "localhost:99999"}, 421),
        ({"host": ""}, 421),
        ({"host": "10.0.0.1"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1.evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "file://localhost"}, 403),
        ({"authorization": ""}, 401),
        ({"authorization": TOKEN}, 401),
        ({"authorization": f"Basic {TOKEN}"}, 401),
        ({"authorization": f"Bearer {TOKEN}x"}, 401),
        ({"authorization": f"Bearer {TOKEN[:-1]}"}, 401),
        ({"authorization": "Bearer \xff"}, 401),
        ({"host": "evil.example", "authorization": ""}, 421),
    ],
)
def test_host_origin_and_token_are_checked_in_this_order(
    listener: socket.socket, headers: dict[str, str], expected: int
) -> None:
    port = str(listener.getsockname()[1])
    policy = access_policy(listener, TOKEN)
    sent = {"host": f"127.0.0.1:{port}", "authorization": f"Bearer {TOKEN}"}
    sent |= {name: value.replace("PORT", port) for name, value in headers.items()}
    assert status(policy, sent) == expected


def test_names_are_served_with_the_ports_that_are_given(listener: socket.socket) -> None:
    policy = access_policy(listener, TOKEN, ["gpu.example", "localhost:*", "proxy.example:443"])
    port = listener.getsockname()[1]
    for host, expected in (
        (f"gpu.example:{port}", 200),
        ("gpu.example", 200),
        ("gpu.example:1", 421),
        ("localhost:9000", 200),
        ("proxy.example:443", 200),
        ("proxy.example", 421),
    ):
        assert status(policy, {"host": host, "authorization": f"Bearer {TOKEN}"}) == expected, host
    assert (
        status(policy, {"host": "gpu.example", "origin": "https://gpu.example", "authorization": f"Bearer {TOKEN}"})
        == 200
    )


def test_a_server_that_others_reach_needs_a_token(listener: socket.socket) -> None:
    assert status(access_policy(listener, None), {"host": "127.0.0.1"}) == 200
    with pytest.raises(ValueError, match="at least 16"):
        access_policy(listener, "short")
    with contextlib.closing(bind_socket("0.0.0.0", 0)) as everywhere:
        assert not is_loopback(everywhere)
        with pytest.raises(ValueError, match="needs a token"):
            access_policy(everywhere, None)
        anyone = access_policy(everywhere, TOKEN)
        assert status(anyone, {"host": "192.0.2.7:8765", "authorization": f"Bearer {TOKEN}"}) == 200
        assert status(anyone, {"host": "192.0.2.7:8765"}) == 401
        named = access_policy(everywhere, TOKEN, ["gpu.example"])
        assert status(named, {"host": "rebound.example", "authorization": f"Bearer {TOKEN}"}) == 421


def test_listening(listener: socket.socket) -> None:
    assert is_loopback(listener)
    port = listener.getsockname()[1]
    assert url_of(listener) == f"http://127.0.0.1:{port}/mcp"
    listener.listen()
    with pytest.raises(ValueError, match=r"cannot listen on 127\.0\.0\.1"):
        bind_socket("127.0.0.1", port)


def test_connections_stay_within_what_the_system_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda which: (256, 4096))
    assert max_connections(32) == 64
    monkeypatch.setattr("resource.getrlimit", lambda which: (4096, 4096))
    assert max_connections(32) == 256
    assert max_connections(1) == 64
