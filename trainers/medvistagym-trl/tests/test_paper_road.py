"""The two commands of the paper, as they are typed: a teacher behind an endpoint, SFT, GRPO, the table of three benchmarks."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from medvistagym_core.cli import main
from medvistagym_core.environment import make_task, step_episodes
from medvistagym_core.plugins import Registry
from medvistagym_core.tools import ToolCall
from medvistagym_core.trajectories import Results, TrajectoryReader
from medvistagym_trl._recipe import load_recipe
from medvistagym_trl.model import encode_for_training, load_model, save_model
from medvistagym_trl.rollout import make_rollout_context, mix_tasks

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


def teach_two_calls_a_turn(path: Path) -> None:
    """Let a checkpoint with random weights learn by heart to make two calls in its first turn, and then to answer."""
    registry = Registry.discover()
    recipe = load_recipe("paper").with_overrides({"tools": ["zoom"], "model.path": str(path)})
    task = mix_tasks([make_task(registry, name, {}) for name in recipe.tasks])
    context = make_rollout_context(recipe, task, registry.toolbox("zoom"), registry)
    protocol = context.config.protocol
    calls = [ToolCall(**CALL), ToolCall(**CALL)]
    episodes = [context.make_episode(index) for index in range(2)]
    for turn in (protocol.format_turn("I look.", calls), protocol.format_turn("I have seen it.", answer="yes")):
        step_episodes(context.executor, episodes, [turn] * len(episodes))
    loaded = load_model(path, context.schemas, recipe.model, train=True)
    batch = encode_for_training(
        loaded.processor, [episode.messages for episode in episodes], context.schemas, loaded.end_of_turn
    )
    optimizer = torch.optim.AdamW(loaded.model.parameters(), lr=5e-3)
    for _ in range(80):
        loss = loaded.model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if float(loss) < 0.05:
            break
    save_model(loaded, path)
    context.close()


def test_the_papers_two_commands_end_in_the_table(
    make_checkpoint: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("medvistagym_vqa", reason="needs the benchmarks of medvistagym-vqa")
    teacher = load("teacher")
    monkeypatch.setenv("MEDVISTAGYM_DATA", str(teacher.write_benchmarks(tmp_path / "data")))
    data, run, tiny = tmp_path / "teacher", tmp_path / "run", tmp_path / "tiny"
    load("checkpoints").make_checkpoint(tiny, corpus=[json.dumps(CALL), "I have seen it. yes no left right"] * 4)
    teach_two_calls_a_turn(tiny)
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
    turns = [
        turn for episode in TrajectoryReader(run / "trajectories" / "training-grpo.jsonl") for turn in episode.turns
    ]
    assert any(len(turn.calls) == 2 for turn in turns)
