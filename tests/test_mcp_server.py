"""The toolbox as an MCP server, over its parts and through the official client, over stdio and HTTP."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import httpx2
import numpy as np
import PIL.Image
import pytest
from mcp import Client, MCPError, StdioServerParameters, types
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel import Server
from pydantic import Field
from starlette.datastructures import Headers

from medvistagym_core import Box, Image, ImageStore, LocalExecutor, Toolbox, ToolCall, ToolResult, Window, tool
from medvistagym_core.cli import main
from medvistagym_core.serving.folder import folder_tools, masked
from medvistagym_core.serving.http import Guard, address_of, is_loopback, listen
from medvistagym_core.serving.server import show_image, tool_server, with_tools
from medvistagym_core.serving.session import Limits, Session, Sessions

TOKEN = "a-token-for-the-tests"
Connect = Callable[[], contextlib.AbstractAsyncContextManager[Client]]

NOISY = '''
import os
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


@tool
def cut(image: Image, box: Box, gain: Annotated[float, Field(gt=0)] = 1.0) -> tuple[Image, dict[str, float]]:
    """Cut out a part.

    Args:
        image: The image.
        box: What to cut out.
        gain: A factor.
    """
    return image.crop(*image.box_to_pixels(box)), {"mean": float("nan"), "gain": gain}


@tool
def noise(image: Image, seed: int = 0) -> Image:
    """Make another image, of 8 KB.

    Args:
        image: Any image.
        seed: Which.
    """
    return image.with_pixels(np.full((64, 128), seed, np.uint8))


@tool
def leak(image: Image) -> str:
    """Fail, and say where.

    Args:
        image: Any image.
    """
    raise RuntimeError("weights are missing at /opt/secret/place/weights.pt, or 3/4 of them")


@tool
def words(image: Image) -> str:
    """Say much.

    Args:
        image: Any image.
    """
    return "word " * 20_000


def grey(height: int = 64, width: int = 128) -> Image:
    return Image(pixels=(np.arange(height * width) % 251).astype(np.uint8).reshape(height, width))


TOOLBOX = Toolbox({t.name: t for t in (cut, noise, leak, words)})


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def executor() -> Iterator[LocalExecutor]:
    with LocalExecutor(TOOLBOX, cache_bytes=0) as local:
        yield local


def call(session: Session, name: str, **arguments: Any) -> ToolResult:
    return session.call(ToolCall(name=name, arguments=arguments))


# -- sessions


def test_a_session_weighs_what_its_images_keep_in_memory(executor: LocalExecutor) -> None:
    session = Session(executor, [grey()], Limits(session_bytes=64_000))
    for _ in range(3):
        assert call(session, "cut", image=0, box=[0, 0, 500, 500]).ok  # a view of what is there already
    assert call(session, "noise", image=0, seed=1).handles == (4,)
    assert call(session, "noise", image=0, seed=2).handles == (5,)
    refused = [call(session, "noise", image=0, seed=seed) for seed in range(3, 9)]
    errors = [result.error for result in refused if result.error is not None]
    assert errors
    assert errors[0].code == "budget_exhausted"
    assert "MiB" in errors[0].message
    assert len(session.store) == 6 + sum(result.ok for result in refused)
    assert call(session, "leak", image=5).error is not None  # still usable


def test_calls_a_minute_are_counted_over_any_minute(executor: LocalExecutor) -> None:
    clock = Clock()
    session = Session(executor, [], Limits(calls=3), clock)
    for _ in range(3):
        assert session.admit() is None
        clock.now += 15
    refused = session.admit()
    assert refused is not None
    assert refused.code == "budget_exhausted"
    assert "try again in 15 s" in refused.message
    clock.now += 15.1
    assert session.admit() is None
    assert session.admit() is not None


def test_sessions_share_nothing_end_when_idle_and_are_limited(executor: LocalExecutor) -> None:
    clock = Clock()
    sessions = Sessions(executor, [grey()], Limits(sessions=2, idle_s=60), clock)
    first, second = sessions.open("first"), sessions.open("second")
    call(first, "noise", image=0)
    assert (len(first.store), len(second.store)) == (2, 1)
    assert sessions.full()
    clock.now += 50
    assert sessions.find("first") is first
    clock.now += 50
    assert not sessions.full()
    assert sessions.find("second") is None
    assert sessions.find("first") is first
    sessions.close("first")
    assert len(sessions) == 0


def test_a_call_that_was_given_up_does_not_run_beside_the_next() -> None:
    going, end = threading.Event(), threading.Event()

    @tool(timeout_s=None)
    def wait() -> str:
        """Wait."""
        going.set()
        end.wait(20)
        return "done"

    with LocalExecutor(Toolbox({"wait": wait}), cache_bytes=0) as executor:
        session = Session(executor, [], Limits())
        first = threading.Thread(target=call, args=(session, "wait"))
        first.start()
        going.wait(20)
        error = call(session, "wait").error
        end.set()
        first.join(20)
        assert error is not None
        assert "is still running" in error.message
        assert call(session, "wait").text == "done"


def test_limits_are_positive() -> None:
    with pytest.raises(ValueError, match="side must be above 0"):
        Limits(side=0)


# -- the folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.png").write_bytes(b"")
    PIL.Image.fromarray(grey().pixels).save(tmp_path / "secret.png")
    root = tmp_path / "root"
    (root / "study" / "deep").mkdir(parents=True)
    (root / ".hidden").mkdir()
    for name in ("scan.png", "study/one.png", "study/deep/two.png", ".hidden/three.png"):
        PIL.Image.fromarray(grey().pixels).save(root / name)
    (root / "notes.txt").write_text("no picture")
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "up").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    (root / "in.png").symlink_to(root / "study" / "one.png")
    (root / "broken").mkdir()
    (root / "broken" / "away.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(root / "pipe")
    return root


def opener(root: Path, **limits: Any) -> Callable[[str], str | int]:
    """What `open_image` says of a path: its sentence, or the number of images."""

    def read(path: Path) -> list[Image]:
        if path.is_dir():
            return [Image.open(file) for file in sorted(path.rglob("*.png"))]
        return [Image.open(path)]

    tools = {t.name: t for t in folder_tools(root, read, Limits(**limits))}

    def told(path: str) -> str | int:
        with LocalExecutor(Toolbox(tools), cache_bytes=0) as executor:
            ((result,),) = executor.run([(ImageStore(), [ToolCall(name="open_image", arguments={"path": path})])])
        return len(result.images) if result.error is None else result.error.message

    return told


@pytest.mark.parametrize(
    ("path", "count"),
    [("scan.png", 1), ("study/one.png", 1), ("./study//deep/two.png", 1), ("in.png", 1), ("study", 2)],
)
def test_images_inside_the_folder_open(root: Path, path: str, count: int) -> None:
    assert opener(root)(path) == count


@pytest.mark.parametrize(
    "path",
    [
        "../secret.png", "study/../../secret.png", "/etc/passwd", "C:\\x", "C:/x", "..", "study\\one.png", "a\0b", "out.png",
        "up/secret.png", "up", "loop", "broken", "broken/away.png", ".hidden/three.png", ".hidden", "pipe", "nothing.png",
        "~/x", "", "x" * 5000, "/".join("a" * 3000), "file:///etc/passwd", "notes.txt",
    ],
)  # fmt: skip
def test_nothing_else_opens_and_no_message_says_where_things_are(root: Path, path: str) -> None:
    said = opener(root)(path)
    assert isinstance(said, str)
    assert str(root.parent) not in said
    assert len(said) < 400
    if path in ("out.png", "up/secret.png", "broken/away.png"):  # as if it did not exist
        assert said.replace(path, "nothing.png").startswith("open_image: there is nothing to open at 'nothing.png'")


def test_the_nearest_name_is_given(root: Path) -> None:
    assert "but there is 'study/one.png'" in str(opener(root)("study/one.pn"))


def test_what_is_too_large_is_not_read(root: Path) -> None:
    assert "larger than the 0 MiB" in str(opener(root, file_bytes=50)("scan.png"))
    assert "larger than" in str(opener(root, file_bytes=50)("study"))
    assert "128 x 64 pixels, more than" in str(opener(root, pixels=1000)("scan.png"))


def test_the_listing_shows_what_can_be_opened(root: Path) -> None:
    (listing,) = [t for t in folder_tools(root, lambda path: [], Limits()) if t.name == "list_folder"]
    assert listing.run({"path": "."}).data == {
        "folders": ["broken/", "study/"], "files": ["in.png", "notes.txt", "scan.png"],
    }  # fmt: skip
    assert listing.run({"path": "broken"}).data == {"folders": [], "files": []}
    assert not listing.run({"path": "up"}).ok


def test_a_reader_that_fails_names_no_place(root: Path) -> None:
    def read(path: Path) -> list[Image]:
        raise RuntimeError(f"{path}: see {root}/study and /usr/lib/thing")

    (opening,) = [t for t in folder_tools(root, read, Limits()) if t.name == "open_image"]
    error = opening.run({"path": "scan.png"}).error
    assert error is not None
    assert str(root.parent) not in error.message
    assert "/usr" not in error.message


def test_paths_are_masked_and_nothing_else() -> None:
    assert masked("at /opt/a/b.pt, file:///x/y.z or C:\\Users\\me\\f.txt") == "at b.pt, y.z or f.txt"
    for plain in ("3/4 of 12 mm/s", "a / b", "</tool> and <a/>", "http://host/path", "study/one.png"):
        assert masked(plain) == plain


# -- who may connect

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


# -- answers, through the client in this process


def served(images: list[Image], work: Callable[[Client], Awaitable[None]], mode: str = "legacy", **limits: Any) -> None:
    async def run() -> None:
        toolbox = with_tools(TOOLBOX, [show_image.described(plugin="serve")])
        with LocalExecutor(toolbox, cache_bytes=0) as executor:
            session = Session(executor, images, Limits(**limits))
            server: Server[Any] = tool_server(toolbox, images, lambda ctx: session, stateless=True)
            async with Client(server, mode=mode) as client:
                await work(client)

    asyncio.run(run())


def pictures(result: types.CallToolResult) -> list[np.ndarray]:
    blocks = [block for block in result.content if isinstance(block, types.ImageContent)]
    assert all(block.mime_type == "image/png" for block in blocks)
    return [np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(block.data)))) for block in blocks]


def said(result: types.CallToolResult) -> list[str]:
    return [block.text for block in result.content if isinstance(block, types.TextContent)]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_the_schemas_are_the_specs_and_nothing_less(mode: str) -> None:
    async def work(client: Client) -> None:
        offered = (await client.list_tools()).tools
        assert [t.name for t in offered] == [*TOOLBOX, "show_image"]
        for mine, spec in zip(offered, TOOLBOX.specs, strict=False):
            assert mine.input_schema == spec.parameters
            assert mine.description == spec.description
        assert client.instructions is not None
        assert "Image 1 is there: 128 x 64 pixels, CT, values in HU." in client.instructions

    served([grey(), grey().replace(unit="HU", modality="CT")], work, mode)


def test_images_come_as_their_view_with_their_handles() -> None:
    tall = Image(pixels=np.arange(300 * 100, dtype=np.int16).reshape(300, 100), unit="HU", window=Window(9000, 4000))

    async def work(client: Client) -> None:
        result = await client.call_tool("show_image", {"image": 0})
        assert said(result) == ["image 1:"]
        np.testing.assert_array_equal(pictures(result)[0], tall.view(150))
        (block,) = [b for b in result.content if isinstance(b, types.ImageContent)]
        assert block.meta == {
            "medvistagym/image": {
                "handle": 1, "height": 300, "width": 100, "frames": 1, "unit": "HU", "spacing": None, "modality": None,
            }
        }  # fmt: skip
        result = await client.call_tool("cut", {"image": 1, "box": [0, 0, 500, 500]})
        np.testing.assert_array_equal(pictures(result)[0], tall.crop(0, 0, 50, 150).view())
        assert result.structured_content == {"mean": None, "gain": 1.0}

    served([tall], work, side=150)


def test_errors_are_results_with_our_sentence() -> None:
    async def work(client: Client) -> None:
        for name, arguments, code, sentence in (
            ("cut", {"image": 0, "bax": [0, 0, 1, 1]}, "bad_arguments", "the argument box is missing"),
            (
                "cut",
                {"image": 0, "box": [0, 0, 9, 9], "gian": 2},
                "bad_arguments",
                "no argument gian; did you mean gain?",
            ),
            ("cut", {"image": 0, "box": [9, 9, 0, 0]}, "bad_arguments", "x0 < x1"),
            ("cut", {"image": 4, "box": [0, 0, 9, 9]}, "bad_value", "there is no image 4"),
            ("cut", None, "bad_arguments", "is missing"),
            ("cutt", {}, "unknown_tool", "did you mean cut?"),
            ("leak", {"image": 0}, "tool_failed", "missing at weights.pt, or 3/4 of them"),
        ):
            result = await client.call_tool(name, arguments)
            assert result.is_error
            (text,) = said(result)
            assert text.startswith(f"{code}: ")
            assert sentence in text
            assert result.structured_content["error"]["code"] == code

    served([grey()], work)


def test_text_is_cut_and_calls_are_limited() -> None:
    async def work(client: Client) -> None:
        (text,) = said(await client.call_tool("words", {"image": 0}))
        assert len(text) < 600
        assert "100000 characters in all" in text
        results = await asyncio.gather(*[client.call_tool("noise", {"image": 0}) for _ in range(4)])
        assert [result.is_error for result in results] == [False, False, True, True]
        assert "At most 3 calls a minute" in said(results[-1])[0]

    served([grey()], work, text=500, calls=3)


def test_a_name_taken_by_the_server_is_refused_with_a_way_out() -> None:
    @tool(name="show_image")
    def other() -> str:
        """Another tool."""
        return ""

    with pytest.raises(ValueError, match=r"other_show_image=local:show_image"):
        with_tools(Toolbox({"show_image": other}), [show_image.described(plugin="serve")])


# -- the program


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
            assert [t.name for t in (await client.list_tools()).tools] == ["hang", "invert", "show_image"]
            result = await client.call_tool("invert", {"image": 0})
            assert said(result) == ["image 1:"]
            np.testing.assert_array_equal(pictures(result)[0], 255 - grey().pixels)
            assert "no image 2; the images are 0 to 1" in said(await client.call_tool("invert", {"image": 2}))[0]

    asyncio.run(run())


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
        assert time.monotonic() - begun < 5
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
        begun = time.monotonic()
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 130
        assert time.monotonic() - begun < 5
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
        begun = time.monotonic()
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 130
        assert time.monotonic() - begun < 6
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
                assert answer.json()["error"]["message"]
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


def test_without_the_extra_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    assert main(["serve"]) == 2
    assert "pip install 'medvistagym-core[mcp]'" in capsys.readouterr().err
