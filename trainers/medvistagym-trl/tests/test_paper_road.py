"""The two commands of the paper, as they are typed: a teacher behind an endpoint, SFT, GRPO, the table of three benchmarks."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from medvistagym_core.cli import main
from medvistagym_core.trajectories import Results
from medvistagym_trl._recipe import load_recipe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]
CALL = {"name": "zoom", "arguments": {"image": 0, "box": [0, 0, 500, 500]}}


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"trl_test_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_papers_two_commands_end_in_the_table(
    make_checkpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("medvistagym_vqa", reason="needs the benchmarks of medvistagym-vqa")
    teacher = load("teacher")
    monkeypatch.setenv("MEDVISTAGYM_DATA", str(teacher.write_benchmarks(tmp_path / "data")))
    data, run, tiny = tmp_path / "teacher", tmp_path / "run", tmp_path / "tiny"
    load("checkpoints").make_checkpoint(tiny, corpus=[json.dumps(CALL), "I have seen it. yes no left right"] * 4)
    tasks = ",".join(teacher.BENCHMARKS)
    with teacher.serve_teacher(CALL) as url:
        sample = ["sample", "--task", tasks, "--endpoint", url, "--split", "train", "--cases", "8"]
        assert main([*sample, "--samples", "2", "--keep", "correct", "--out", str(data)]) == 0
    command = ["train", "paper", "--model", str(tiny), "--sft-data", str(data), "--smoke"]
    assert main([*command, "--run", str(run)]) == 0
    assert "SFT + GRPO" in capsys.readouterr().out

    results = Results.load(run / "results.json")
    assert {row.policy for row in results.rows} == {"tools without training", "SFT", "SFT + GRPO"}
    assert set(teacher.BENCHMARKS) <= {row.family for row in results.rows}
    phases = {json.loads(line)["phase"] for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()}
    assert {"sft", "grpo"} <= phases
    assert (run / "trajectories" / "training-grpo.jsonl").is_file()
    assert load_recipe(run / "recipe.yaml").episode.max_calls_per_turn == 2
