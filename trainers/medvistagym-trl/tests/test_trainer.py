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
    from medvistagym_trl._recipe import dump_recipe

    file = tmp_path / "toy.yaml"
    file.write_text(dump_recipe(recipe), encoding="utf-8")
    return file


def test_importing_the_plugin_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "trl", "numpy", "pydantic")
    code = f"import medvistagym_trl, sys; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_hook_offers_the_trainer() -> None:
    (trainer,) = medvistagym_trainers()
    assert trainer.name == "trl"
    assert set(trainer.recipes()) == {
        "chain", "checkpoint", "lora-24gb", "paper", "qlora-24gb", "realsmoke", "scoutvqa", "scoutvqa-explored",
        "vllm-colocate", "vllm-server",
    }  # fmt: skip


@pytest.mark.slow
def test_a_run_goes_from_nothing_to_the_table(registry: Any, task: Any, recipe_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    results = TrlTrainer().train(registry, run=run, recipe=recipe_file)
    assert results == Results.load(run / "results.json")
    assert {row.policy for row in results.rows} == {"no tools", "call format only", "SFT", "SFT + GRPO"}
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
    from medvistagym_trl.run import RunFolder

    logged = RunFolder.log

    def interrupted(self: Any, name: str, metrics: Any) -> None:
        logged(self, name, metrics)
        if name == phase and metrics["step"] >= 2:
            raise KeyboardInterrupt

    run = tmp_path / "run"
    changes = {"grpo.steps": 3, "evaluation.decodings": ["greedy"]}
    monkeypatch.setattr(RunFolder, "log", interrupted)
    with pytest.raises(KeyboardInterrupt):
        TrlTrainer().train(registry, run=run, recipe=recipe_file, changes=changes)
    assert not (run / "results.json").exists()
    monkeypatch.setattr(RunFolder, "log", logged)
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
    (tmp_path / "recipe.yaml").write_text("name: a study's\n")
    with pytest.raises(ValueError, match=r"is no run folder: it holds no toolbox.lock.json"):
        TrlTrainer().train(registry, run=tmp_path, resume=True)


@pytest.mark.slow
def test_a_plugins_reward_and_executor_reach_a_training(registry: Any, recipe_file: Path, tmp_path: Path) -> None:
    jobs: list[int] = []

    class CountingExecutor(LocalExecutor):
        def run(self, jobs_: Any) -> Any:
            jobs.append(len(jobs_))
            return super().run(jobs_)

    registry.rewards["talkative"] = lambda outcome: float(len(outcome.turns))
    registry.executors["counting"] = CountingExecutor
    run = tmp_path / "run"
    changes = {
        "executor": "counting",
        "episode.reward": "scout,talkative=2",
        "comparison.no_tools_steps": 0,
        "comparison.untrained_steps": 0,
        "evaluation.decodings": ["greedy"],
    }
    TrlTrainer().train(registry, run=run, recipe=recipe_file, changes=changes)
    assert jobs
    for trajectory in TrajectoryReader(run / "trajectories" / "training-grpo.jsonl"):
        assert trajectory.terms["talkative"] == len(trajectory.turns)
        assert trajectory.weights["talkative"] == 2


@pytest.mark.slow
def test_a_policy_learns_from_trajectories_given_and_then_from_its_own(
    registry: Any, recipe_file: Path, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    changes = {
        "sft.data": [str(samples)],
        "sft.self_sampling": {"rounds": 1, "cases": 4, "samples": 2, "steps": 1},
        "sft.filter.correct": False,
        "sft.filter.well_formed": False,
        "evaluation.decodings": ["greedy"],
        "comparison.no_tools_steps": 0,
        "comparison.untrained_steps": 0,
    }
    TrlTrainer().train(registry, run=run, recipe=recipe_file, changes=changes)
    progress = capsys.readouterr().err
    assert "12 of 12 trajectories from 1 file are learnt from, on 12 questions" in progress
    assert "what carries loss stands in" in progress
    example = (run / "examples" / "sft.txt").read_text("utf-8")
    assert '⟦<tool_call>{"name": "shade", "arguments": ' in example
    own = list(TrajectoryReader(run / "trajectories" / "self_sampling_1.jsonl"))
    assert len(own) == 8
    assert {episode.policy.name for episode in own} == {"self_sampling_1"}
    assert (run / "checkpoints" / "self_sampling_1" / "model.safetensors").is_file()


def test_data_that_does_not_pass_its_filter_stops_the_run_before_it_begins(
    registry: Any, recipe_file: Path, samples: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(ValueError, match=r"no trajectory passes sft\.filter: .*8 with fewer than 2 calls"):
        TrlTrainer().train(
            registry,
            run=run,
            recipe=recipe_file,
            changes={"sft.data": [str(samples)], "sft.filter.min_calls": 2},
        )
    assert not run.exists()
