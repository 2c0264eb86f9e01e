"""Each promise of SECURITY.md names the tests that hold it, and what it says of limits is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medvistagym_core.environment.grading import MAX_ANSWER_CHARS
from medvistagym_core.protocol import _template_process as template

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text("utf-8")
ROWS = [row for row in re.findall(r"^\| (.+) \|$", TEXT, re.MULTILINE) if not row.startswith(("who |", "---"))]
SPLIT = re.compile(r"(?<!\\) \| ")


def test_there_are_promises() -> None:
    assert len(ROWS) >= 15


@pytest.mark.parametrize("row", ROWS, ids=[re.sub(r"\W+", " ", row)[:40].strip() for row in ROWS])
def test_a_promise_names_tests_that_exist(row: str) -> None:
    _, promise, held = SPLIT.split(row)
    tests = re.findall(r"`([^`]+\.py)`", held)
    assert promise
    assert tests
    for test in tests:
        source = (ROOT / test).read_text("utf-8")
        assert re.search(r"^(async )?def test_", source, re.MULTILINE), test


def test_the_limits_are_those_of_the_code() -> None:
    assert f"each time with {template.MAX_SECONDS} s, {template.MAX_BYTES >> 20} MiB" in TEXT
    assert f"more than {MAX_ANSWER_CHARS:,} characters" in TEXT


def test_make_attack_runs_what_is_promised_of_hostile_input() -> None:
    """What SECURITY.md names, of files, texts, tools and clients that are hostile, is in the selection of `make attack`."""
    selection = re.search(r"^ATTACKS := ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert selection is not None
    chosen = selection[1].replace("\\\n", " ").split()
    assert all((ROOT / name).exists() for name in chosen)
    marked = {
        path.relative_to(ROOT).as_posix()
        for folder in ("tests", "plugins", "trainers")
        for path in (ROOT / folder).rglob("test_*.py")
        if "pytest.mark.attack" in path.read_text("utf-8") and path != Path(__file__)
    }
    assert {name for name in marked if not any(name.startswith(each) for each in chosen)} == set()
