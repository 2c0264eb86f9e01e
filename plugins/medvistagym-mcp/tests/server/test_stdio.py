"""Clients on stdin and stdout that are careless, silent or gone."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

pytestmark = pytest.mark.e2e

INITIALIZE = {
    "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"},
}  # fmt: skip


def message(number: int | None, method: str, **params: Any) -> bytes:
    identified = {} if number is None else {"id": number}
    return json.dumps({"jsonrpc": "2.0", **identified, "method": method, "params": params}).encode()


OPENING = message(1, "initialize", **INITIALIZE) + b"\n" + message(None, "notifications/initialized") + b"\n"


@contextlib.contextmanager
def serving(*more: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-W", "error", "-m", "medvistagym_core.cli", "serve", "--plugins", "none", *more]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0) as server:
        try:
            yield server
        finally:
            server.kill()


def pipe_of(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def answers(server: subprocess.Popen[bytes], count: int) -> list[Any]:
    return [json.loads(pipe_of(server.stdout).readline()) for _ in range(count)]


@pytest.mark.parametrize(
    ("before", "end"),
    [
        (b"\xef\xbb\xbf", b"\n"),
        (b"", b"\r\n"),
        (b"\n\r\n  \n", b"\n"),
        (b"not json\n{\n\xff\xfe\n[]\n\x00\n", b"\n"),
        (b'{"jsonrpc":"2.0"}\n\xef\xbb\xbf', b"\n"),
        (b"x" * 3_000_000 + b"\n", b"\n"),
    ],
    ids=("byte-order mark", "CRLF", "blank lines", "junk", "mark on a later line", "an overlong line"),
)
def test_what_is_no_message_is_passed_over(before: bytes, end: bytes) -> None:
    with serving() as server:
        pipe_of(server.stdin).write(before + OPENING.replace(b"\n", end) + message(2, "ping") + end)
        first, second = answers(server, 2)
        assert first["result"]["serverInfo"]["name"] == "medvistagym"
        assert second == {"jsonrpc": "2.0", "id": 2, "result": {}}


def test_an_overlong_message_costs_itself_alone_and_is_told_of() -> None:
    with serving() as server:
        pipe_of(server.stdin).write(
            OPENING + message(2, "ping", text="x" * 2_000_000) + b"\n" + message(3, "ping") + b"\n"
        )
        assert [answer["id"] for answer in answers(server, 2)] == [1, 3]
        pipe_of(server.stdin).close()
        assert server.wait(20) == 0
        assert b"left out a message of more than 1 MiB" in pipe_of(server.stderr).read()


def resident(process: int) -> int:
    """Bytes of memory that a process has."""
    (kibibytes,) = (
        line.split()[1] for line in Path(f"/proc/{process}/status").read_text().splitlines() if "VmRSS" in line
    )
    return int(kibibytes) * 1024


def fill(server: subprocess.Popen[bytes]) -> int:
    """Send requests without reading an answer, until the server takes no more; how many bytes it took."""
    descriptor = pipe_of(server.stdin).fileno()
    os.set_blocking(descriptor, False)
    sent, number, quiet_since = 0, 2, time.monotonic()
    while time.monotonic() - quiet_since < 1.5:
        try:
            sent += os.write(descriptor, message(number, "tools/call", name="x" * 2000) + b"\n")
        except BlockingIOError:
            time.sleep(0.02)
        else:
            number, quiet_since = number + 1, time.monotonic()
    return sent


def test_a_client_that_never_reads_makes_nothing_pile_up_and_the_end_of_input_ends_the_server() -> None:
    with serving() as server:
        pipe_of(server.stdin).write(OPENING)
        time.sleep(2)
        before = resident(server.pid)
        assert fill(server) < 2_000_000
        assert resident(server.pid) - before < 30 * 2**20
        pipe_of(server.stdin).close()
        assert server.wait(20) == 0


def test_a_client_that_reads_late_gets_every_answer() -> None:
    with serving() as server:
        pipe_of(server.stdin).write(OPENING)
        count = 40
        pipe_of(server.stdin).write(b"".join(message(k + 2, "tools/list") + b"\n" for k in range(count)))
        time.sleep(1)
        assert [answer["id"] for answer in answers(server, count + 1)] == list(range(1, count + 2))


def test_a_client_that_is_gone_ends_the_server() -> None:
    with serving() as server:
        pipe_of(server.stdin).write(OPENING)
        answers(server, 1)
        pipe_of(server.stdout).close()
        pipe_of(server.stdin).write(message(2, "ping") + b"\n")
        assert server.wait(20) == 0
        assert b"Traceback" not in pipe_of(server.stderr).read()


def test_requests_in_a_file_are_answered(tmp_path: Path) -> None:
    requests = tmp_path / "requests.jsonl"
    requests.write_bytes(OPENING + message(2, "ping") + b"\n" + message(3, "tools/list"))
    command = [sys.executable, "-m", "medvistagym_core.cli", "serve", "--plugins", "none"]
    with requests.open("rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, timeout=30, check=True)
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()][:2] == [1, 2]
