"""docs/scoring.md: its examples are what happens, and its lists are those of the protocols."""

import re
from pathlib import Path

import pytest

from medvistagym_core.environment import Answer
from medvistagym_core.environment.grading import grade
from medvistagym_core.scoring import PROTOCOLS

from .items import item

PAGE = (Path(__file__).parents[2] / "docs" / "scoring.md").read_text("utf-8")
CHOICES = ("nodule", "effusion", "no finding", "not stated")


def table(header):
    """The rows under a header line, as lists of cells."""
    lines = PAGE[PAGE.index(header) :].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    return rows


GRADES = table("| kind | right answer | options | answer | grade |")
SCORES = table("| protocol | benchmark | kind | right answer | response | repaired | as published | why |")


def test_the_tables_are_there():
    assert len(GRADES) > 30
    assert len(SCORES) > 20


@pytest.mark.parametrize(("kind", "value", "options", "text", "expected"), GRADES)
def test_a_grade_of_the_page(kind, value, options, text, expected):
    assert expected in ("right", "wrong")
    given = grade(Answer(value, kind=kind), text, options=tuple(options.split("; ")) if options else ())
    assert given.correct is (expected == "right")


@pytest.mark.parametrize(("protocol", "benchmark", "kind", "gold", "response", "repaired", "published", "why"), SCORES)
def test_a_score_of_the_page(protocol, benchmark, kind, gold, response, repaired, published, why):
    asked = item(response, gold, kind, benchmark, options=CHOICES if kind == "choice" else ())
    for name, expected in ((protocol, repaired), (f"{protocol}@as-published", published)):
        if expected == "-":
            assert name not in PROTOCOLS or PROTOCOLS[name].score_item(asked).verdict == "excluded"
        else:
            assert PROTOCOLS[name].score_item(asked).score == pytest.approx(float(expected), abs=5e-5)


@pytest.mark.parametrize("snippet", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_a_snippet_of_the_page(snippet, capsys):
    exec(compile(snippet, "docs/scoring.md", "exec"), {})


def test_faults_and_what_is_unverified_are_on_the_page():
    listed = PAGE[PAGE.index("<!-- FAULTS -->") + len("<!-- FAULTS -->") :].strip()
    assert listed == faults_in_markdown()


def faults_in_markdown():
    sections = []
    for name, protocol in PROTOCOLS.items():
        if name.endswith("@as-published"):
            continue
        lines = [f"**{name}** ({protocol.source})", ""]
        lines += [f"- Fault: {fault}" for fault in protocol.faults]
        lines += [f"- Unverified: {doubt}" for doubt in protocol.unverified]
        lines += ["- Nothing is recorded."] if not (protocol.faults or protocol.unverified) else []
        sections.append("\n".join(lines))
    return "\n\n".join(sections)
