"""Which servers there are, as files say it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medvistagym_mcp.client import McpServerError, read_servers


def test_toml_and_the_json_of_other_clients(tmp_path: Path) -> None:
    toml = tmp_path / "servers.toml"
    toml.write_text(
        '[servers.lab]\ncommand = "x"\nargs = ["a"]\nimages = { p = "path" }\n[servers.far]\nurl = "https://h/mcp"\n'
    )
    first, second = read_servers(toml)
    assert (first.name, first.command, first.args, first.images) == ("lab", "x", ("a",), {"p": "path"})
    assert second.url == "https://h/mcp"
    other = tmp_path / "mcp.json"
    other.write_text(json.dumps({"mcpServers": {"lab": {"type": "stdio", "command": "x", "env": {"A": "1"}}}}))
    assert read_servers(other)[0].env == {"A": "1"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "names no servers"),
        ("[servers]", "names no servers"),
        ("servers = 3", "names no servers"),
        ("[servers.lab", "is not TOML"),
        ("[servers.lab]", "server lab: give either command or url"),
        ('[servers.lab]\ncommand = "x"\nurl = "http://x"', "give either command or url"),
        ('[servers.lab]\nurl = "ftp://x"', "server lab: url: "),
        ('[servers.lab]\ncomand = "x"', "server lab has no setting comand; there are command, "),
        ('[servers."a b"]\ncommand = "x"', "server a b: name: "),
        ('[servers.lab]\ncommand = "x"\ntimeout_s = 0', "timeout_s: "),
        ('[servers.lab]\nurl = "http://x"\nimages = { p = "path" }', "only to a server that is started by command"),
        ("servers.lab = 3", "server lab must be a table"),
    ],
)
def test_a_wrong_file_is_said(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "servers.toml"
    path.write_text(text)
    with pytest.raises(McpServerError) as caught:
        read_servers(path)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value).removeprefix(str(path))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["toml", "json"])
def test_a_byte_order_mark_is_taken(tmp_path: Path, encoding: str, ending: str) -> None:
    path = tmp_path / f"servers.{ending}"
    text = '[servers.lab]\ncommand = "ü"\n' if ending == "toml" else '{"servers": {"lab": {"command": "ü"}}}'
    path.write_text(text, encoding)
    assert read_servers(path)[0].command == "ü"


def test_what_only_another_client_needs_is_left_aside(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    lab = {
        "type": "stdio",
        "command": "x",
        "autoApprove": ["a"],
        "alwaysAllow": [],
        "disabled": False,
        "description": "A lab.",
    }
    path.write_text(json.dumps({"mcpServers": {"lab": lab, "old": {"command": "y", "disabled": True}}}))
    assert [server.name for server in read_servers(path)] == ["lab"]
