"""The second process of a run: whatever it is doing, it can be stopped, and one that cannot begin costs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medvistagym_trl.run import BaselineProcess, RunFolder


@pytest.mark.e2e
def test_one_that_cannot_begin_ends_by_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with BaselineProcess(tmp_path) as process:
        process.wait()
    assert "no run folder: it holds no recipe.yaml" in capfd.readouterr().err


def test_one_that_begins_is_ended_with_the_context(tmp_path: Path, recipe: Any, toolbox: Any) -> None:
    run = RunFolder.begin(tmp_path / "run", recipe, toolbox)
    with BaselineProcess(run.path):
        pass
    run.close()
    assert not (run.path / "results.json").exists()
