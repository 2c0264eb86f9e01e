"""docs/questions.md: its examples run, and its lists are those of the code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from medvistagym_core.environment.questions import COLUMN_NAMES, MAX_ROWS
from medvistagym_core.plugins import Registry

from .tables import ROWS, write_jsonl, write_pictures, write_table

PAGE = (Path(__file__).parents[3] / "docs" / "questions.md").read_text("utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_first_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_pictures(tmp_path))
    write_jsonl(tmp_path / "questions.jsonl", [{**row, "split": "test"} for row in ROWS])
    names: dict[str, object] = {}
    exec(compile(SNIPPETS[0], "docs/questions.md", "exec"), names)
    assert names["task"].abstention == "unclear"  # type: ignore[attr-defined]
    assert names["case"].question == "Is there a nodule?"  # type: ignore[attr-defined]
    names["env"].close()  # type: ignore[attr-defined]


def test_a_plugins_task_takes_twenty_lines(tmp_path: Path) -> None:
    source = SNIPPETS[1]
    assert len([line for line in source.splitlines() if line.strip()]) <= 20
    write_table(write_pictures(tmp_path) / "questions.csv", ROWS)
    (tmp_path / "knee_plugin.py").write_text(source, "utf-8")
    spec = importlib.util.spec_from_file_location("knee_plugin", tmp_path / "knee_plugin.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    registry = Registry()
    for task in module.medvistagym_tasks():
        registry.add_task(task)
    knee = registry.task("knee")
    assert (knee.size("train"), knee.size("test")) == (2, 2)
    assert knee.provenance("test").licence == "CC-BY-4.0"
    assert knee.case("test", 1).answer.value == "Yes"


def test_every_part_of_a_question_is_in_the_table_and_so_is_the_limit() -> None:
    parts = set(
        re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")))
    )
    assert parts == set(COLUMN_NAMES)
    assert f"{MAX_ROWS:,}" in PAGE
