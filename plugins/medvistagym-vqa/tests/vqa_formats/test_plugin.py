"""The plugin as others see it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from medvistagym_core.cli import main
from medvistagym_core.environment import HasArguments, HasProvenance, HasSize, Task
from medvistagym_core.plugins import Registry
from medvistagym_core.scoring import benchmark_key

from .pictures import embedded, write_parquet

NAMES = {"vqa_rad", "slake", "path_vqa", "pmc_vqa", "pmc_vqa_v2", "mmmu_health", "omnimedvqa", "medxpertqa_mm"}


def test_every_benchmark_is_a_task_that_can_be_listed_without_its_files() -> None:
    tasks = Registry.discover("vqa").tasks
    assert set(tasks) == NAMES
    for task in tasks.values():
        assert isinstance(task, Task)
        assert isinstance(task, HasSize)
        assert isinstance(task, HasArguments)
        assert isinstance(task, HasProvenance)
        assert task.splits
        assert task.families
        assert benchmark_key(task.name) in {"vqarad", "slake", "pathvqa", "pmcvqa", "mmmu", "omnimedvqa", "medxpertqa"}


def test_importing_it_is_light() -> None:
    heavy = "('pyarrow', 'datasets', 'torch', 'pydicom')"
    code = f"import sys, medvistagym_vqa as v; v.medvistagym_tasks(); print([m for m in {heavy} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_show_prints_arguments_licence_and_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"image": embedded(0), "question": "clear?", "answer": "yes"}]
    write_parquet(tmp_path / "test-00000-of-00001.parquet", rows)
    assert main(["tasks", "show", "vqa_rad", "--task-arg", f"path={tmp_path}", "--split", "test"]) == 0
    out, err = capsys.readouterr()
    assert "case 0 of 1 in test" in out
    assert "--task-arg unlinked=BOOLEAN" in out
    assert "vqa_rad test: 1 question, sha256 " in err
    assert "CC0-1.0" in err
    assert "cite: Lau et al." in err
    assert "VQA-RAD test has 451 questions: 251 yes/no; found 1: 1 yes/no" in err


def test_a_benchmark_that_is_not_here_says_how_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    for name in sorted(NAMES):
        assert main(["eval", "--task", name, "--policy", "random"]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "is not on this machine: name its folder with --task-arg path=FOLDER" in err
        assert "hf download" in err


def test_replay_finds_a_benchmark_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"image": embedded(k), "question": f"clear {k}?", "answer": "yes"} for k in range(4)]
    write_parquet(tmp_path / "rad" / "test-00000-of-00001.parquet", rows)
    run = ["sample", "--task", "vqa_rad", "--task-arg", f"path={tmp_path / 'rad'}", "--split", "test", "--seed", "1"]
    run += ["--policy", "random", "--tools", ""]
    assert main([*run, "--out", str(tmp_path / "out"), "--plugins", "vqa"]) == 0
    capsys.readouterr()
    assert main(["replay", str(tmp_path / "out" / "trajectories.jsonl"), "--plugins", "vqa", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["same"], report["episodes"]) == (True, 4)
