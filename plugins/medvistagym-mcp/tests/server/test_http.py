"""Who may connect over HTTP, and where the server listens."""

from __future__ import annotations

import contextlib

import pytest
from starlette.datastructures import Headers

from medvistagym_core.serving.http import Guard, address_of, is_loopback, listen

from .parts import TOKEN

BASE = {"host": "127.0.0.1:8765", "authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, None),
        ({"host": "localhost:1"}, None),
        ({"host": "[::1]:8765"}, None),
        ({"authorization": f"bearer {TOKEN}"}, None),
        ({"origin": "http://localhost:3000"}, None),
        ({"host": "evil.example"}, 421),
        ({"host": "localhost.evil.example"}, 421),
        ({"host": "127.0.0.1:80@evil.example"}, 421),
        ({"host": "127.0.0.1:x"}, 421),
        ({"host": ""}, 421),
        ({"host": "10.0.0.1"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "file://localhost"}, 403),
        ({"authorization": ""}, 401),
        ({"authorization": TOKEN}, 401),
        ({"authorization": f"Basic {TOKEN}"}, 401),
        ({"authorization": f"Bearer {TOKEN}x"}, 401),
        ({"authorization": f"Bearer {TOKEN[:-1]}"}, 401),
        ({"authorization": "Bearer \xff"}, 401),
    ],
)
def test_the_guard(headers: dict[str, str], status: int | None) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in {**BASE, **headers}.items()]
    refusal = Guard(TOKEN).refusal(Headers(raw=raw))
    assert (refusal and refusal[0]) == status


def test_a_server_that_others_reach_needs_a_token_and_takes_its_names() -> None:
    with pytest.raises(ValueError, match="needs a token"):
        Guard(None, loopback=False)
    with pytest.raises(ValueError, match="at least 16"):
        Guard("short")
    guard = Guard(TOKEN, frozenset({"localhost", "gpu.example"}), loopback=False)
    for host in ("gpu.example:8765", "192.0.2.7"):
        assert guard.refusal(Headers({**BASE, "host": host})) is None
    assert guard.refusal(Headers({**BASE, "host": "rebound.example"})) is not None
    twice = [(b"host", b"127.0.0.1"), (b"host", b"evil.example")]
    assert Guard(None).refusal(Headers(raw=twice)) is not None


def test_listening() -> None:
    with contextlib.closing(listen("127.0.0.1", 0)) as listener:
        assert is_loopback(listener)
        port = listener.getsockname()[1]
        assert address_of(listener) == f"http://127.0.0.1:{port}/mcp"
        listener.listen()
        with pytest.raises(ValueError, match=r"cannot listen on 127\.0\.0\.1"):
            listen("127.0.0.1", port)
    with contextlib.closing(listen("0.0.0.0", 0)) as listener:
        assert not is_loopback(listener)
