"""The server as it ships, in a process of its own, under more connections and handshakes than its limits allow."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import PIL.Image
import pytest

from medvistagym_mcp.server import SessionLimits

from .parts import TOKEN

HALF = b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-a: b\r\n"
CONNECTIONS, HANDSHAKES = 400, 200
HEADERS = {"Accept": "application/json, text/event-stream", "Authorization": f"Bearer {TOKEN}"}
INITIALIZE = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}},
}  # fmt: skip


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[str, int]]:
    """The address and process of `medvistagym serve --http`."""
    token = folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    picture = folder / "scan.png"
    PIL.Image.new("L", (8, 8)).save(picture)
    command = [sys.executable, "-m", "medvistagym_core.cli", "serve", "--plugins", "none"]
    more = ["--http", "--port", "0", "--token-file", str(token), "--image", str(picture)]
    with subprocess.Popen([*command, *more], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stderr is not None
            url = next(found[0] for line in server.stderr if (found := re.search(r"http://\S+/mcp", line)))
            yield url, server.pid
        finally:
            server.kill()


def resident_mib(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text("ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def handshake(web: httpx2.AsyncClient, url: str) -> int:
    return (await web.post(url, json=INITIALIZE)).status_code


@pytest.mark.attack
def test_half_sent_requests_and_handshakes_keep_nobody_out(tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("the memory of another process is read from /proc, which this system has not")
    with serving(tmp_path) as (url, process):
        port = httpx2.URL(url).port
        assert port is not None

        async def load() -> None:
            limits = httpx2.Limits(max_connections=HANDSHAKES)
            async with httpx2.AsyncClient(headers=HEADERS, timeout=120, limits=limits) as web:
                assert await handshake(web, url) == 200
                idle = resident_mib(process)
                held = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
                for connection in held:
                    with contextlib.suppress(ConnectionError):
                        connection.sendall(HALF)
                began = time.monotonic()
                async with httpx2.AsyncClient(headers=HEADERS, timeout=60) as other:
                    assert await handshake(other, url) == 200
                waited = time.monotonic() - began
                statuses = await asyncio.gather(*[handshake(web, url) for _ in range(HANDSHAKES)])
                sessions = SessionLimits().sessions
                assert set(statuses) <= {200, 503}
                assert statuses.count(200) == sessions - 2
                grown = resident_mib(process) - idle
                print(f"{CONNECTIONS} half-sent requests: another is answered in {waited:.1f} s")
                print(f"{HANDSHAKES} handshakes at once: {statuses.count(200)} sessions; {grown:.0f} MiB more")
                assert grown < 300
                assert len(os.listdir(f"/proc/{process}/fd")) < CONNECTIONS + HANDSHAKES  # noqa: PTH208
                for connection in held:
                    connection.close()

        asyncio.run(load())
