"""What is printed is shown by a terminal, never obeyed, wherever the text comes from."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import medvistagym_core.cli
from medvistagym_core.cli import main
from medvistagym_core.cli._console import printable

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eFAKE\r\x08"
SHOWN = "\\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\u202eFAKE\\r\\b"

TOOLS = f'''
from medvistagym_core import Image, tool

@tool
def says(image: Image) -> str:
    """Say something {HOSTILE!r:.40}.

    Args:
        image: The image to look at.
    """
    return {HOSTILE!r}

@tool
def fails(image: Image) -> str:
    """Fail with a message.

    Args:
        image: The image to look at.
    """
    raise ValueError({HOSTILE!r})
'''


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "hostile_tools.py").write_text(TOOLS, "utf-8")
    PIL.Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "picture.png")
    return ["--tools-from", str(tmp_path / "hostile_tools.py"), "--image", str(tmp_path / "picture.png")]


def controls(text: str) -> set[str]:
    return {letter for letter in text if letter in HOSTILE and not letter.isprintable()}


def test_control_characters_are_written_as_escapes() -> None:
    assert printable(HOSTILE) == SHOWN
    assert printable("a\tb\r\nc é µ 日本") == "a\tb\nc é µ 日本"
    assert printable("\ud800") == "\\ud800"


def test_a_tools_text_and_error_are_shown(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tools", "call", "says", *files]) == 0
    assert capsys.readouterr().out == SHOWN + "\n"
    assert main(["tools", "call", "fails", *files]) == 1
    err = capsys.readouterr().err
    assert not controls(err)
    assert "\\x1b[2J" in err


def test_json_holds_the_text_itself_and_no_control_character(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tools", "call", "says", "--json", *files]) == 0
    out = capsys.readouterr().out
    assert not controls(out)
    assert json.loads(out)["text"] == HOSTILE


def test_names_of_files_commands_and_plugins_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (
        ["tools", "call", "measure", "--image", str(tmp_path / f"{HOSTILE}.dcm")],
        ["tools", "call", HOSTILE],
        [HOSTILE],
        ["tools", "list", f"--{HOSTILE}"],
        ["tools", HOSTILE],
        ["tools", "list", "--plugins", HOSTILE],
        ["tools", "list", "--tools-from", str(tmp_path / f"{HOSTILE}.py")],
        ["tools", "show", HOSTILE, "--debug"],
    ):
        assert main(argv) == 2
        out, err = capsys.readouterr()
        assert not controls(out + err), argv


def test_every_command_prints_through_the_console() -> None:
    folder = Path(medvistagym_core.cli.__file__).parent
    for file in folder.glob("*.py"):
        if file.name == "_console.py":
            continue
        calls = [node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call)]
        assert not [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"], file
