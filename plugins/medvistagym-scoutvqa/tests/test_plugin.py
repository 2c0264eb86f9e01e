"""The plugin: found by discovery, and light to import."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from medvistagym_core import Registry


def test_the_tasks_are_found() -> None:
    registry = Registry.discover(allow="scoutvqa")
    assert set(registry.tasks) == {"scoutvqa", "scoutvqa_chain"}
    assert registry.task("scoutvqa").families == ("window", "zoom", "measure", "direct")
    assert registry.task("scoutvqa_chain").families == ("chain",)


def test_listing_the_tasks_loads_nothing_heavy() -> None:
    code = (
        "import sys, medvistagym_scoutvqa as plugin; plugin.medvistagym_tasks()[0].vocabulary();"
        "print(sorted({'numpy', 'SimpleITK', 'torch', 'PIL', 'pydicom', 'medvistagym_dicom'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (snippet,) = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "README.md").read_text(), re.DOTALL)
    exec(compile(snippet, "README.md", "exec"), {})
    assert "dense nodule" in capsys.readouterr().out
    assert (tmp_path / "scout.png").exists()
