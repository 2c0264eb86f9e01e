"""docs/mcp.md: its configurations are read, its commands parse."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from medvistagym_core.cli import build_parser
from medvistagym_mcp.client import read_servers

DOCS = Path(__file__).parents[3] / "docs" / "mcp.md"


def _snippets(language: str) -> list[str]:
    return [block.partition("```")[0] for block in DOCS.read_text("utf-8").split(f"```{language}\n")[1:]]


@pytest.mark.parametrize("ending", ["toml", "json"])
def test_the_configurations_shown_are_read(tmp_path: Path, ending: str) -> None:
    (snippet,) = _snippets(ending)
    file = tmp_path / f"servers.{ending}"
    file.write_text(snippet)
    assert read_servers(file)


@pytest.mark.parametrize("line", [line for text in _snippets("sh") for line in text.splitlines() if "pip" not in line])
def test_the_commands_shown_parse(line: str) -> None:
    program, group, *arguments = shlex.split(line)
    assert program == "medvistagym"
    if arguments[0] != "call":  # its flags are those of the tool
        build_parser(group).parse_args(arguments)
