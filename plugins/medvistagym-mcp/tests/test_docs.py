"""docs/mcp.md: its configurations are read, its commands parse."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from medvistagym_core.cli import build_parser
from medvistagym_mcp.client import close_all, read_servers

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


def test_the_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = Path(__file__).parents[1] / "README.md"
    program = readme.read_text("utf-8").split("```python\n")[1].partition("```")[0]
    lab = Path(__file__).with_name("client") / "lab_server.py"
    (tmp_path / "servers.toml").write_text(
        f"[servers.lab]\ncommand = {json.dumps(sys.executable)}\nargs = [{json.dumps(str(lab))}]"
    )
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    try:
        exec(compile(program, str(readme), "exec"), names)
        assert "lab:add_numbers" in names["registry"].tools
    finally:
        close_all()
