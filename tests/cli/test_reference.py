"""The printed reference is what the commands say of themselves."""

from __future__ import annotations

import re
from pathlib import Path

from medvistagym_core.cli import GROUPS
from medvistagym_core.cli._reference import reference

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def test_the_reference_has_not_drifted() -> None:
    assert DOCUMENT.read_text("utf-8") == reference(), "run `make docs`"


def test_every_command_shows_an_example_of_itself() -> None:
    sections = re.split(r"^#{2,3} (medvistagym [a-z ]+)$", reference(), flags=re.MULTILINE)
    commands = {name: body for name, body in zip(sections[1::2], sections[2::2], strict=True) if "```" in body}
    assert {name.split()[1] for name in commands} == set(GROUPS)
    for name, body in commands.items():
        assert f"example:\n  {name}" in body, name
        assert "--help" in body, name
