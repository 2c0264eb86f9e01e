"""`medvistagym serve` as a program, through the official client and by hand, over stdio and HTTP; and mistakes on its line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import PIL.Image
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from medvistagym_core.cli import main

from .parts import TOKEN, grey, pictures, said

Connect = Callable[[], contextlib.AbstractAsyncContextManager[Client]]

NOISY = '''
import os
from typing import Annotated
import numpy as np
from pydantic import Field
from medvistagym_core import Box, Image, tool

print("noise while it is imported")


@tool
def invert(image: Image) -> Image:
    """Invert.

    Args:
        image: The image.
    """
    print("noise on stdout")
    os.write(1, b"noise on the descriptor\\n")
    os.system("echo noise of a child")
    assert os.read(0, 1) == b""
    return image.with_pixels(255 - image.pixels)


@tool
def speckle(image: Image, amount: Annotated[float, Field(gt=0)], at: tuple[int, int] = (0, 0)) -> Image:
    """Make noise.

    Args:
        image: The image.
        amount: How much.
        at: Where.
    """
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3)).astype(np.uint8)
    return Image(pixels=noise, photometric="RGB")


@tool(timeout_s=None)
def hang(image: Image) -> str:
    """Take for ever.

    Args:
        image: The image.
    """
    import time

    time.sleep(600)
    return ""
'''


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    (folder / "noisy.py").write_text(NOISY)
    PIL.Image.fromarray(grey().pixels).save(folder / "scan.png")
    return folder


def command(files: Path, *more: str) -> list[str]:
    tools = ["--plugins", "none", "--tools-from", str(files / "noisy.py"), "--image", str(files / "scan.png")]
    return [sys.executable, "-W", "error", "-m", "medvistagym_core.cli", "serve", *tools, *more]


def test_stdio(files: Path) -> None:
    program, *arguments = command(files)

    async def run() -> None:
        async with Client(StdioServerParameters(command=program, args=arguments), mode="auto") as client:
            assert [t.name for t in (await client.list_tools()).tools] == ["hang", "invert", "speckle", "show_image"]
            result = await client.call_tool("invert", {"image": 0})
            assert said(result) == ["image 1:"]
            np.testing.assert_array_equal(pictures(result)[0], 255 - grey().pixels)
            assert "no image 2; the images are 0 to 1" in said(await client.call_tool("invert", {"image": 2}))[0]

    asyncio.run(run())


async def acceptable(connect: Connect) -> None:
    """What clients with limits see: schemas without keywords that they refuse, results of less than a megabyte."""
    async with connect() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools["speckle"].input_schema["properties"] == {
            "image": {"type": "integer", "minimum": 0, "description": "The image."},
            "amount": {"type": "number", "minimum": 0, "description": "How much (greater than 0)."},
            "at": {
                "type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2, "default": [0, 0],
                "description": "Where.",
            },
        }  # fmt: skip
        result = await client.call_tool("speckle", {"image": 0, "amount": 1.5, "at": [3, 4]})
        assert len(result.model_dump_json(by_alias=True)) < 2**20
        assert said(result)[0].startswith("image 1: (JPEG of quality ")
        refused = await client.call_tool("speckle", {"image": 0, "amount": 0})
        assert "amount must be greater than 0" in said(refused)[0]


def test_schemas_and_results_over_stdio_are_those_that_clients_take(files: Path) -> None:
    program, *arguments = command(files)
    server = StdioServerParameters(command=program, args=arguments)
    asyncio.run(acceptable(lambda: Client(server, mode="legacy")))


def _lines(*requests: dict[str, Any]) -> bytes:
    return b"".join(json.dumps({"jsonrpc": "2.0", **request}).encode() + b"\n" for request in requests)


OPENING = _lines(
    {"id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}},
    {"method": "notifications/initialized"},
)  # fmt: skip


def _calling(name: str) -> bytes:
    return _lines({"id": 2, "method": "tools/call", "params": {"name": name, "arguments": {"image": 0}}})


def _started(arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_stdout_carries_the_protocol_alone_and_the_end_of_stdin_ends_the_server_though_a_tool_hangs(
    files: Path,
) -> None:
    with _started(command(files, "--root", str(files))) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stderr is not None
        server.stdin.write(OPENING + b"this is no JSON\n" + _calling("invert"))
        server.stdin.flush()
        answers = [json.loads(server.stdout.readline()) for _ in range(2)]
        assert [answer["id"] for answer in answers] == [1, 2]
        assert not answers[1]["result"]["isError"]
        for path, wrong in (("scan.png", False), ("../served/scan.png", True)):
            params = {"name": "open_image", "arguments": {"path": path}}
            server.stdin.write(_lines({"id": 3, "method": "tools/call", "params": params}))
            server.stdin.flush()
            assert json.loads(server.stdout.readline())["result"].get("isError", False) is wrong
        server.stdin.write(_calling("hang"))
        server.stdin.close()
        begun = time.monotonic()
        rest = [json.loads(line) for line in server.stdout.read().splitlines()]
        assert all("error" in answer for answer in rest)
        assert server.wait(20) == 0
        assert time.monotonic() - begun < 20
        noise = server.stderr.read().decode()
    for part in ("noise while it is imported", "noise on stdout", "noise on the descriptor", "noise of a child"):
        assert part in noise


def test_an_interrupt_ends_the_server_though_a_tool_hangs(files: Path) -> None:
    with _started(command(files)) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stderr is not None
        server.stdin.write(OPENING + _calling("hang"))
        server.stdin.flush()
        server.stdout.readline()
        time.sleep(0.3)
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 130
        said = server.stderr.read().decode()
    assert "Traceback" not in said
    assert "interrupted: the server has stopped" in said


@pytest.fixture(scope="module")
def address(files: Path) -> Iterator[str]:
    more = ["--http", "--port", "0", "--sessions", "6", "--calls", "100"]
    with subprocess.Popen(
        command(files, *more),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MEDVISTAGYM_SERVE_TOKEN": TOKEN},
    ) as server:
        assert server.stderr is not None
        url = ""
        for line in server.stderr:
            assert TOKEN not in line
            if " at http" in line:
                url = line.rpartition(" ")[2].strip()
                break
        yield url
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 130
        rest = server.stderr.read()
        assert "Traceback" not in rest
        assert "the server has stopped" in rest


def web(**headers: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}", **headers})


@contextlib.asynccontextmanager
async def over_http(address: str, mode: str) -> AsyncIterator[Client]:
    async with web() as client, Client(streamable_http_client(address, http_client=client), mode=mode) as connected:
        yield connected


async def isolated(connect: Connect) -> None:
    async with connect() as one, connect() as other:
        first = await one.call_tool("invert", {"image": 0})
        assert said(first) == ["image 1:"]
        np.testing.assert_array_equal(pictures(first)[0], 255 - grey().pixels)
        assert "there is no image 1; the only image is 0" in said(await other.call_tool("invert", {"image": 1}))[0]
        twice = await one.call_tool("invert", {"image": 1})
        np.testing.assert_array_equal(pictures(twice)[0], grey().pixels)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_http(address: str, mode: str) -> None:
    asyncio.run(isolated(partial(over_http, address, mode)))


def test_schemas_and_results_over_http_are_those_that_clients_take(address: str) -> None:
    asyncio.run(acceptable(partial(over_http, address, "legacy")))


def test_a_client_without_sessions_is_told_which_versions_have_them(address: str) -> None:
    async def run() -> None:
        async with over_http(address, "2026-07-28") as client:
            with pytest.raises(MCPError) as caught:
                await client.call_tool("invert", {"image": 0})
            assert caught.value.code == -32022
            assert "2025-11-25" in caught.value.error.data["supported"]

    asyncio.run(run())


def test_http_refuses_strangers_and_ended_sessions(address: str) -> None:
    post = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}

    async def run() -> None:
        async with web(**post) as client:
            opened = await client.post(address, content=OPENING.splitlines()[0])
            assert opened.status_code == 200
            session = {"Mcp-Session-Id": opened.headers["mcp-session-id"]}
            listing = _lines({"id": 5, "method": "tools/list"})
            assert (await client.post(address, content=listing, headers=session)).status_code == 200
            for headers, status in (
                ({"Authorization": "Bearer wrong-wrong-wrong-wrong"}, 401),
                ({"Host": "evil.example"}, 421),
                ({"Origin": "http://evil.example"}, 403),
                ({"Mcp-Session-Id": "made-up"}, 404),
            ):
                answer = await client.post(address, content=listing, headers={**session, **headers})
                assert answer.status_code == status
                assert answer.text
            assert (await client.get(address.replace("/mcp", "/etc/passwd"))).status_code == 404
            assert (await client.post(address, content=b"x" * 5_000_000, headers=session)).status_code == 413
            assert (await client.delete(address, headers=session)).status_code == 200
            assert (await client.post(address, content=listing, headers=session)).status_code == 404
            keys = []
            for _ in range(8):
                answer = await client.post(address, content=OPENING.splitlines()[0])
                keys.append(answer.headers.get("mcp-session-id"))
                if answer.status_code != 200:
                    assert answer.status_code == 503
                    break
            assert len([key for key in keys if key]) == 6
            for key in filter(None, keys):
                await client.delete(address, headers={"Mcp-Session-Id": key})

    asyncio.run(run())


# -- mistakes on the command line


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--http", "--host", "0.0.0.0", "--port", "0"], "a token is needed: --token-file"),
        (["--http", "--host", "no.such.host.invalid"], "is not an address"),
        (["--http", "--port", "99999"], "from 0 to 65535"),
        (["--http", "--no-token", "--token-file", "x"], "exclude each other"),
        (["--http", "--port", "0", "--token-file", "nowhere"], "nowhere: No such file"),
        (["--no-token"], "goes with --http"),
        (["--port", "0"], "--port goes with --http"),
        (["--host", "127.0.0.1"], "--host goes with --http"),
        (["--side", "0"], "side must be above 0"),
        (["--http", "--port", "0", "--tools", "nothing_like_it"], "no tool matches"),
        (["--http", "--port", "0", "--root", "nowhere"], "nowhere is not a folder"),
        (["--http", "--port", "0", "--image", "nowhere.png"], "no such file"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDVISTAGYM_SERVE_TOKEN", raising=False)
    assert main(["serve", "--plugins", "none", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err
    assert "Traceback" not in captured.err
