"""The pages for people: no link is dead, and the commands of the first hour run as they are written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "native/*/*.md", "plugins/*/*.md", "trainers/*/*.md", "benchmarks/**/*.md")
    for page in ROOT.glob(pattern)
)
FENCE = re.compile(r"^ {0,3}```(\w*)\n(.*?)^ {0,3}```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")


def anchors(page):
    """What a heading is called in an address: lower case, words joined by hyphens, a second of a name numbered."""
    found = []
    for heading in re.findall(r"^#+ +(.*?)\s*$", FENCE.sub("", page.read_text("utf-8")), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.append(f"{name}-{found.count(name)}" if name in found else name)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_dead(page):
    dead = []
    for target in LINK.findall(re.sub(r"`[^`\n]+`", "", FENCE.sub("", page.read_text("utf-8")))):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", path):
            assert path.startswith("https:"), target
            continue
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there)):
            dead.append(target)
    assert dead == []


def blocks(page, heading, language):
    text = (ROOT / "docs" / page).read_text("utf-8")
    (section,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return [code for kind, code in FENCE.findall(section) if kind == language]


def run(folder, *command, code=None):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=folder, env=environment, input=code, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_first_hour_runs_as_it_is_written(tmp_path):
    intro = FENCE.search((ROOT / "docs" / "first-hour.md").read_text("utf-8"))
    shell = [
        intro[2],
        *blocks("first-hour.md", "Tools on a file", "sh"),
        *blocks("first-hour.md", "What a policy sees", "sh"),
    ]
    said = run(tmp_path, "bash", "-euo", "pipefail", code="\n".join(shell))
    assert re.search(r"mean -?\d+ HU", said)
    assert "8 of 8 episodes" in said
    assert "bit for bit" in said
    assert {file.name for file in tmp_path.iterdir()} >= {"soft.png", "body.png", "look.html", "runs"}


@pytest.mark.slow
def test_python_of_the_first_hour_runs_as_it_is_written(tmp_path):
    (code,) = blocks("first-hour.md", "Tools on a file", "python")
    assert re.match(r"mean -?\d+ HU", run(tmp_path, sys.executable, "-", code=code))


@pytest.mark.slow
def test_a_new_plugin_conforms_as_it_is_written(tmp_path):
    (shell,) = blocks("publish.md", "Ten minutes", "sh")
    lines = [line for line in shell.splitlines() if line.startswith("medvistagym plugins")]
    assert len(lines) == 2
    assert "conforms" in run(tmp_path, "bash", "-euo", "pipefail", code="\n".join(lines))


def test_the_roads_that_are_timed_are_printed_in_the_pages(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import newcomer

    for road in newcomer.ROADS:
        commands = [line for line in road.script.splitlines() if line.strip() and not line.startswith("#")]
        assert commands, road.name
