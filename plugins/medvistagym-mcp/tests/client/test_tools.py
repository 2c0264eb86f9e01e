"""Tools of MCP servers in a toolbox: what is imported, what is checked, and what a server can do wrong."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import psutil
import pytest

from medvistagym_core import Image, ImageStore, LocalExecutor, Registry, Tool, Toolbox, ToolCall, ToolResult
from medvistagym_core.cli import main
from medvistagym_mcp.client import McpServerConfig, McpServerError, close_all, mcp_tools
from medvistagym_mcp.client._connection import connection_to

LAB = Path(__file__).with_name("lab_server.py")
PICTURE = Image(pixels=np.arange(64, dtype=np.uint8).reshape(8, 8))


@pytest.fixture(autouse=True, scope="module")
def _disconnected() -> Iterator[None]:
    yield
    close_all()


def lab(*arguments: str | Path, **settings: Any) -> McpServerConfig:
    started: dict[str, Any] = {"command": sys.executable, "args": (str(LAB), *map(str, arguments))}
    return McpServerConfig(**{"name": "lab", "images": {"picture": "base64"}, **started, **settings})


def toolbox(server: McpServerConfig) -> Toolbox:
    registry = Registry()
    for tool in mcp_tools([server]):
        registry.add_tool(tool, tool.plugin)
    return registry.toolbox("*")


@pytest.fixture(scope="module")
def tools() -> Toolbox:
    return toolbox(lab())


def run(tools: Toolbox, name: str, images: tuple[Image, ...] = (), **arguments: Any) -> ToolResult:
    with LocalExecutor(tools, cache_bytes=0) as executor:
        ((result,),) = executor.run([(ImageStore(images), [ToolCall(name=name, arguments=arguments)])])
    return result


def failure(result: ToolResult) -> str:
    assert result.error is not None
    return str(result.error)


# -- what is imported


def test_names_become_identifiers_and_schemas_keep_what_they_say(tools: Toolbox) -> None:
    assert list(tools) == ["add_numbers", "copy", "invert_picture", "work"]
    spec = tools["add_numbers"].spec
    assert spec.id == "lab:add_numbers"
    assert spec.parameters["properties"]["a"] == {"type": "integer", "maximum": 100}
    assert spec.parameters["properties"]["how"] == {"enum": ["plain", "carry"]}
    assert spec.parameters["required"] == ["a", "b"]
    assert spec.parameters["additionalProperties"] is False
    assert not spec.deterministic


def test_an_image_argument_is_a_handle_and_an_image_answer_is_an_image(tools: Toolbox) -> None:
    spec = tools["invert_picture"].spec
    assert spec.images == ("picture",)
    assert spec.parameters["properties"]["picture"] == {"type": "integer", "minimum": 0, "description": "A picture."}
    result = run(tools, "invert_picture", (PICTURE,), picture=0)
    assert result.handles == (1,)
    assert result.text == "inverted"
    np.testing.assert_array_equal(result.images[0].pixels, 255 - PICTURE.pixels)


def test_data_and_text_come_through(tools: Toolbox) -> None:
    result = run(tools, "add_numbers", a=2, b=3)
    assert (result.text, result.data) == ("5", {"a": 2, "b": 3})
    assert run(tools, "work", what="data").data == {"mean": 3.5}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"a": 1}, "the argument b is missing; it takes a, b, how."),
        ({"a": 1, "b": 2, "haw": 3}, "there is no argument haw; did you mean how?"),
        ({"a": 1, "b": 101}, "b: the value is greater than the maximum of 100, got 101."),
        ({"a": 1, "b": "x"}, "b: the value is not of type 'integer', got \"x\"."),
        ({"a": 1, "b": 2, "how": "odd"}, "how: the value is not one of ['plain', 'carry']"),
        ({"a": float("nan"), "b": 2}, "NaN"),
    ],
)
def test_arguments_are_checked_before_they_are_sent(tools: Toolbox, arguments: dict[str, Any], sentence: str) -> None:
    said = failure(run(tools, "add_numbers", **arguments))
    assert said.startswith("bad_arguments: add_numbers: ")
    assert sentence in said


def test_handles_are_checked_like_those_of_any_tool(tools: Toolbox) -> None:
    assert "there is no image 3" in failure(run(tools, "invert_picture", (PICTURE,), picture=3))
    assert "bad_arguments" in failure(run(tools, "invert_picture", (PICTURE,), picture="iVBOR"))


def test_an_imported_tool_keeps_working_under_an_alias_and_in_another_process(tools: Toolbox) -> None:
    renamed = tools["work"].with_metadata(name="labour")
    assert renamed.run(renamed.validate({"what": "data"})).data == {"mean": 3.5}
    with pytest.raises(Exception, match="labour: there is no argument wat"):
        renamed.validate({"wat": 1})
    copy: Tool = pickle.loads(pickle.dumps(tools["invert_picture"]))
    assert copy.spec == tools["invert_picture"].spec
    assert copy.run({"picture": PICTURE}).ok


def test_a_selection_leaves_tools_out_and_gives_names() -> None:
    server = lab("nameless", tools=("*", "!InvertPicture", "!work", "!copy"), rename={"2D?": "flat"})
    assert [tool.id for tool in mcp_tools([server])] == ["lab:add_numbers", "lab:flat"]
    with pytest.raises(McpServerError, match="has no tool 'wrok'; it offers 'InvertPicture'"):
        mcp_tools([lab(tools=("wrok",))])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (
            {"rename": {"wrok": "labour"}},
            "rename names 'wrok', and the MCP server lab has no such tool; did you mean 'work'",
        ),
        ({"images": {"pictur": "base64"}}, "images names 'pictur', .* no such argument; did you mean 'picture'"),
        (
            {"images": {"work.picture": "base64"}},
            "images names 'work.picture', and the MCP server lab has no such argument",
        ),
    ],
)
def test_a_setting_for_what_the_server_does_not_have_is_refused(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(McpServerError, match=said):
        mcp_tools([lab(**setting)])


# -- what a server can do wrong


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("no-schema", 'the tool "bad" of the MCP server lab has a schema that is not JSON Schema'),
        ("dangling", "refers to '#/$defs/none', which it does not define"),
        ("outside", "refers to another document, 'http://127.0.0.1:9/x'"),
        ("twice", "offers two tools named 'add-numbers'"),
        ("clash", "'add-numbers' and 'add_numbers', which both become add_numbers"),
        ("nameless", 'offers "2D?", of which no tool name can be made'),
        ("huge", "describes itself in more than 64 KiB"),
        ("endless", "lists its tools without end"),
        ("silent", "did not answer within 0.5 s"),
        ("dead", "ended, or closed the connection, before it answered (it said last: no \\x1b[31mlicence)"),
    ],
)
def test_what_cannot_be_imported_is_said(fault: str, sentence: str) -> None:
    with pytest.raises(McpServerError) as caught:
        mcp_tools([lab(fault, connect_s=0.5 if fault == "silent" else 20)])
    assert sentence in str(caught.value)


def test_a_program_that_does_not_exist_is_said() -> None:
    with pytest.raises(McpServerError, match="cannot be started: there is no lab-server-of-nobody"):
        mcp_tools([McpServerConfig(name="lab", command="lab-server-of-nobody")])
    with pytest.raises(McpServerError, match=r"cannot be started: .*lab_server\.py: Permission denied"):
        mcp_tools([McpServerConfig(name="lab", command=str(LAB))])


@pytest.mark.parametrize("manner", ["chatty", "junk", "bom", "crlf", "talkative"])
def test_a_server_of_other_manners_is_understood(manner: str, caplog: pytest.LogCaptureFixture) -> None:
    manners = toolbox(lab(manner))
    assert run(manners, "add_numbers", a=2, b=3).text == "5"
    assert run(manners, "work", what="nothing").text == "did nothing"
    assert "Traceback" not in caplog.text


def test_arguments_are_sent_under_the_names_that_the_server_has_for_them(tools: Toolbox) -> None:
    assert list(tools["copy"].spec.parameters["properties"]) == ["from_", "study_id", "the_image"]
    sent = run(tools, "copy", (PICTURE,), from_="here", study_id=3, the_image=0).data
    assert sent is not None
    assert sent.keys() == {"from", "study-id", "the.image"}
    assert (sent["from"], sent["study-id"]) == ("here", 3)
    picture = PIL.Image.open(io.BytesIO(base64.b64decode(sent["the.image"])))
    np.testing.assert_array_equal(np.asarray(picture), PICTURE.pixels)


def test_whatever_an_answer_holds_comes_through_or_is_named(tools: Toolbox) -> None:
    assert run(tools, "work", what="resources").text == "the body\n[a link: file:///y]\n[audio, which is not read]"
    nothing = run(tools, "work", what="nothing at all")
    assert (nothing.ok, nothing.text, nothing.data) == (True, "", None)
    alone = run(tools, "work", what="data alone")
    assert (alone.text, alone.data) == ('{"mean": 3.5}', {"mean": 3.5})


@pytest.mark.parametrize("end", ["close", "die"])
def test_what_a_server_started_ends_with_it(end: str) -> None:
    server = lab(timeout_s=18)
    mine = toolbox(server)
    child = psutil.Process(int(run(mine, "work", what="child").text))
    if end == "die":
        assert "closed the connection" in failure(run(mine, "work", what="die"))
    else:
        connection_to(server).close()
    deadline = time.monotonic() + 10
    while is_alive(child):
        assert time.monotonic() < deadline, "what the server started goes on"
        time.sleep(0.05)


def is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("shape", "tool_failed: The MCP server lab failed: it answered with something that is no result of MCP"),
        ("flood", "tool_failed: work returned more than the 200000 characters"),
        ("huge-data", "tool_failed: work returned more than the 200000 characters of data"),
        ("bomb", "tool_failed: work returned an image that is too large: "),
        ("not-image", "tool_failed: work returned an image that cannot be read."),
        ("not-base64", "tool_failed: work returned an image that cannot be read."),
        ("error", "tool_failed: work failed: the lung was not found."),
        ("our-error", "bad_value: work: there is no lung."),
    ],
)
def test_a_lying_server_is_a_typed_error(tools: Toolbox, what: str, error: str) -> None:
    assert failure(run(tools, "work", what=what)).startswith(error)
    assert run(tools, "work", what="nothing special").ok


def test_a_server_that_dies_is_started_again_for_the_next_call(tools: Toolbox) -> None:
    before = run(tools, "work", what="pid").text
    assert failure(run(tools, "work", what="die")) == (
        "tool_failed: The MCP server lab failed: it closed the connection during the call."
    )
    after = run(tools, "work", what="pid").text
    assert before != after
    os.kill(int(after), signal.SIGKILL)  # between two calls
    assert run(tools, "work", what="pid").text not in (before, after)


def test_a_call_is_repeated_once(tmp_path: Path) -> None:
    assert run(toolbox(lab("", tmp_path / "died")), "work", what="die-once").text == "did die-once"


def test_a_server_that_comes_back_with_other_tools_is_not_trusted(tmp_path: Path) -> None:
    changing = toolbox(lab("changing", tmp_path / "died"))
    for what in ("die-once", "nothing"):  # the second fails at once, without starting it again
        said = failure(run(changing, "work", what=what))
        assert "it came back with other tools: InvertPicture, add-numbers, copy, work changed or left" in said


def test_a_slow_server_is_given_up_and_started_anew_when_it_stays_silent() -> None:
    slow = toolbox(lab(timeout_s=0.4))
    begun = time.monotonic()
    assert failure(run(slow, "work", what="sleep")).startswith("timeout: The MCP server lab took longer than 0.38 s")
    for _ in range(2):
        assert failure(run(slow, "work", what="nothing")).startswith("timeout")
    assert time.monotonic() - begun < 30  # a minute each, if they were waited for
    quick = next(x for x in (run(slow, "work", what="nothing") for _ in range(10)) if x.ok)
    assert quick.text == "did nothing"


def test_an_endless_line_costs_the_connection_and_not_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medvistagym_mcp.client._process.MAX_LINE", 1 << 20)
    flooding = toolbox(lab(timeout_s=19))
    assert "closed the connection" in failure(run(flooding, "work", what="endless-line"))
    assert run(flooding, "work", what="nothing").ok


def test_calls_of_one_server_overlap_in_their_threads(tools: Toolbox) -> None:
    calls = [ToolCall(name="add_numbers", arguments={"a": k, "b": 1}) for k in range(20)]
    with LocalExecutor(tools, cache_bytes=0) as executor:
        results = executor.run([(ImageStore(), [call]) for call in calls])
    assert [row[0].text for row in results] == [str(k + 1) for k in range(20)]


# -- over HTTP, to this project's own server


def test_over_http_with_a_token_and_through_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = tmp_path / "scan.png"
    PIL.Image.fromarray(PICTURE.pixels).save(picture)
    monkeypatch.setenv("MEDVISTAGYM_SERVE_TOKEN", "a-token-for-the-tests")
    monkeypatch.setattr("medvistagym_mcp.client._connection._RETRY_AFTER_S", 0.2)
    command = [
        sys.executable,
        "-m",
        "medvistagym_core.cli",
        "serve",
        "--plugins",
        "none",
        "--http",
        "--image",
        str(picture),
    ]

    def start(port: str) -> tuple[subprocess.Popen[str], str]:
        server = subprocess.Popen([*command, "--port", port], stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        url = next(line for line in server.stderr if " at http" in line).rpartition(" ")[2].strip()
        return server, url

    def stop(server: subprocess.Popen[str]) -> None:
        server.kill()
        server.communicate()

    server, url = start("0")
    try:
        with pytest.raises(McpServerError, match="the variable NO_SUCH_TOKEN is not set"):
            mcp_tools([McpServerConfig(name="own", url=url, token_env="NO_SUCH_TOKEN")])
        with pytest.raises(
            McpServerError,
            match=r"\(HTTP 401\): name the variable that holds its token",
        ):
            mcp_tools([McpServerConfig(name="own", url=url)])
        monkeypatch.setenv("WRONG_TOKEN", "not-the-token-of-the-tests")
        with pytest.raises(McpServerError, match="the token in WRONG_TOKEN is not accepted"):
            mcp_tools([McpServerConfig(name="own", url=url, token_env="WRONG_TOKEN")])
        remote = toolbox(McpServerConfig(name="own", url=url, token_env="MEDVISTAGYM_SERVE_TOKEN", timeout_s=20))
        result = run(remote, "show_image", image=0)
        np.testing.assert_array_equal(result.images[0].pixels, PICTURE.pixels)
        assert failure(run(remote, "show_image", image=9)).startswith("bad_value: show_image: there is no image 9")
    finally:
        stop(server)
    assert failure(run(remote, "show_image", image=0)).startswith("tool_failed: The MCP server own failed: it")
    server, _ = start(url.rpartition(":")[2].removesuffix("/mcp"))
    try:
        time.sleep(0.3)  # while it is known to be away, nobody asks
        assert run(remote, "show_image", image=0).ok
    finally:
        stop(server)


# -- the command line


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture, servers = tmp_path / "scan.png", tmp_path / "servers.toml"
    PIL.Image.fromarray(PICTURE.pixels).save(picture)
    servers.write_text(
        f"[servers.lab]\ncommand = {json.dumps(sys.executable)}\nargs = [{json.dumps(str(LAB))}]\n"
        'images = { picture = "base64" }\n'
    )
    out = tmp_path / "out.png"
    given = ["--tools-from-mcp", str(servers), "--plugins", "none"]
    assert main(["tools", "list", *given]) == 0
    assert "lab:invert_picture" in capsys.readouterr().out
    assert main(["tools", "call", "invert_picture", *given, "--image", str(picture), "--out", str(out)]) == 0
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(out)), 255 - PICTURE.pixels)
    assert main(["tools", "call", "add_numbers", *given, "--a", "1", "--b", "101"]) == 2
    assert "greater than the maximum of 100" in capsys.readouterr().err
    assert main(["prompt", "--tools", "lab:*", *given]) == 0
    assert '"maximum": 100' in capsys.readouterr().out
    servers.write_text('[servers.lab]\ncommand = "lab-server-of-nobody"\n')
    assert main(["tools", "list", *given]) == 2
    assert "there is no lab-server-of-nobody" in capsys.readouterr().err
