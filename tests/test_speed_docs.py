"""docs/speed.md says what benchmarks/results.json says."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def benchmark_table(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    return runpy.run_path(str(ROOT / "benchmarks" / "table.py"))


def test_the_table_is_that_of_the_results(benchmark_table):
    rows = json.loads((ROOT / "benchmarks" / "results.json").read_text("utf-8"))
    text = (ROOT / "docs" / "speed.md").read_text("utf-8")
    assert len(rows) > 20
    assert benchmark_table["page"](text, rows) == text, "run `make docs`"


def test_a_page_without_a_place_for_the_table_is_refused(benchmark_table):
    with pytest.raises(ValueError, match="needs a line"):
        benchmark_table["page"]("# Speed\n", [])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("trainer.py", ["--rounds", "2", "--out", "rows.json"]),
        ("tools.py", ["--only", "window", "--batch", "1", "--rounds", "1", "--out", "rows.json"]),
    ],
)
def test_a_benchmark_still_runs(script, arguments, tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads((tmp_path / "rows.json").read_text("utf-8"))
    assert all(row["ours"] > 0 and row["theirs"] > 0 for row in rows)
