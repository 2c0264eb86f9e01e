"""The trainer as the command line uses it: light to list, whole to run, going on after an interrupt."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medvistagym_core.execution import LocalExecutor
from medvistagym_core.rollouts import rollout, verify
from medvistagym_core.trajectories import Results, TrajectoryReader
from medvistagym_trl import TrlTrainer, medvistagym_trainers

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture
def recipe_file(recipe: Any, tmp_path: Path) -> Path:
    from medvistagym_trl.recipe import dump_recipe

    file = tmp_path / "toy.yaml"
    file.write_text(dump_recipe(recipe), encoding="utf-8")
    return file


def test_importing_the_plugin_loads_nothing_heavy() -> None:
    code = (
        "import medvistagym_trl, sys; print([m for m in ('torch', 'transformers', 'trl', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_hook_offers_the_trainer() -> None:
    (trainer,) = medvistagym_trainers()
    assert trainer.name == "trl"
    assert set(trainer.recipes()) == {"chain", "checkpoint", "scoutvqa"}


@pytest.mark.slow
def test_a_run_goes_from_nothing_to_the_table(registry: Any, task: Any, recipe_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    results = TrlTrainer().train(registry, run=run, recipe=recipe_file)
    assert results == Results.load(run / "results.json")
    assert {row.policy for row in results.rows} == {"no tools", "tools without training", "SFT", "SFT + GRPO"}
    assert {row.decoding for row in results.rows} == {"T = 0.5", "T = 1", "greedy"}
    assert {row.family for row in results.rows} == {"hidden", "plain", "overall"}
    assert (run / "results.png").read_bytes().startswith(b"\x89PNG")
    phases = {json.loads(line)["phase"] for line in (run / "metrics.jsonl").read_text().splitlines()}
    assert {"perception", "sft", "grpo"} <= phases
    assert all(row.calls_per_question == 0 for row in results.rows if row.policy == "no tools")

    for name in ("reward", "accuracy", "calls", "tool/shade", "error/bad_value", "completions/mean_length"):
        assert len([line for line in map(json.loads, (run / "metrics.jsonl").open()) if name in line]) == 2, name
    diary = run / "trajectories" / "training-grpo.jsonl"
    episodes = list(TrajectoryReader(diary))
    assert len({episode.id for episode in episodes}) == len(episodes) == 16
    for episode in episodes:
        step = 1 + (episode.index - 7_000_000) // 2
        assert (episode.policy.name, episode.seed, episode.split) == (f"GRPO, step {step}", 0, "train")
        assert episode.policy.sampling == {"temperature": 0.5, "max_tokens": 128, "seed": 0, "step": step}
        assert set(episode.terms) == set(episode.weights) == {"right", "wrong", "abstained", "thrift"}
        assert all(turn.policy_seconds > 0 for turn in episode.turns)
    assert [episode.sample for episode in episodes] == [0, 1, 2, 3] * 4
    assert verify(diary, registry, LocalExecutor).same

    toolbox = registry.toolbox("shade,mirror")
    policy, settings = TrlTrainer().load_policy(registry, run, task, toolbox, temperature=0)
    played = list(rollout(policy, task, toolbox, "test", range(4), settings, batch=4))
    row = results.row("SFT + GRPO", decoding="greedy")
    assert sum(trajectory.outcome.correct for trajectory in played) == row.correct


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["sft", "grpo"])
def test_a_run_goes_on_after_an_interrupt(
    phase: str, registry: Any, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medvistagym_trl import phases

    logged = phases.Run.log

    def interrupted(self: Any, name: str, metrics: Any) -> None:
        logged(self, name, metrics)
        if name == phase and metrics["step"] >= 2:
            raise KeyboardInterrupt

    run = tmp_path / "run"
    changes = {"grpo.steps": 3, "evaluation.decodings": ["greedy"]}
    monkeypatch.setattr(phases.Run, "log", interrupted)
    with pytest.raises(KeyboardInterrupt):
        TrlTrainer().train(registry, run=run, recipe=recipe_file, changes=changes)
    assert not (run / "results.json").exists()
    monkeypatch.setattr(phases.Run, "log", logged)
    results = TrlTrainer().train(registry, run=run, resume=True)
    assert results.row("SFT + GRPO", decoding="greedy").n == 4
    steps = [
        line["step"]
        for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        if line["phase"] == "grpo"
    ]
    assert steps[-1] == 3
    if phase == "grpo":
        assert steps.count(1) == 1  # gone on with from a checkpoint, not begun again


def test_a_run_that_goes_on_takes_no_new_settings(registry: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a resumed run keeps its own recipe"):
        TrlTrainer().train(registry, run=tmp_path, resume=True, changes={"seed": 1})
