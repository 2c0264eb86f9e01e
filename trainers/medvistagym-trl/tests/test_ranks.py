"""Several processes train as one: the same batch, weights and counts, and one run folder."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from medvistagym_core.trajectories import TrajectoryReader
from medvistagym_trl._recipe import RecipeError
from medvistagym_trl.run import RunFolder
from medvistagym_trl.stages import make_grpo_config, make_sft_config

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

WORKER = Path(__file__).with_name("ranks_worker.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
"""Float32 sums in another order, after two steps of AdamW."""
SAME = ("accuracy", "calls", "reward", "reward_std", "tool/shade", "error/unknown_tool", "parity/rows", "parity/images")


def launch(count: int, *command: Any, timeout: int = 500) -> subprocess.CompletedProcess[str]:
    """Run a command in several processes, as `torchrun` starts them."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(count)]
    done = subprocess.run(
        [*torchrun, *map(str, command)], env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def train_alone(folder: Path, steps: int, stop: int, *more: str) -> Any:
    spec = importlib.util.spec_from_file_location("ranks_worker", WORKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.train(folder, steps, stop, *more)


@pytest.mark.slow
def test_two_processes_train_as_one_and_one_goes_on_where_they_stopped(tmp_path: Path) -> None:
    whole, log = train_alone(tmp_path / "one", 3, 3)
    two = tmp_path / "two"
    two.mkdir()
    launch(2, WORKER, two, 3, 2)
    ranks = json.loads((two / "log.json").read_text())
    for mine, theirs in zip(log[:2], ranks[:2], strict=True):
        for name in SAME:
            assert mine[name] == pytest.approx(theirs[name], abs=1e-6), name
        assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)
    resumed, _ = train_alone(two, 3, 3)
    moved = torch.load(two / "weights.pt", weights_only=True)
    assert not all(torch.equal(weight, moved[name]) for name, weight in resumed.items())
    for name, weight in whole.items():
        torch.testing.assert_close(resumed[name], weight, **CLOSE)


@pytest.mark.slow
def test_two_processes_draw_the_groups_again_that_one_would(tmp_path: Path) -> None:
    whole, log = train_alone(tmp_path / "one", 2, 2, "redraw")
    two = tmp_path / "two"
    two.mkdir()
    launch(2, WORKER, two, 2, 2, "redraw")
    ranks = json.loads((two / "log.json").read_text())
    names = {name for name in log[0] if name.startswith(("completions/", "tools/", "groups/"))}
    assert len(names) > 10
    for mine, theirs in zip(log[:2], ranks[:2], strict=True):
        for name in {*SAME, *names, "num_tokens"}:
            assert mine[name] == pytest.approx(theirs[name], rel=1e-6, abs=1e-6), name
        assert mine["groups/redrawn"] == pytest.approx(2 / 3)
        assert mine["groups/zero_variance"] == 0
        assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)
    moved = torch.load(two / "weights.pt", weights_only=True)
    for name, weight in whole.items():
        torch.testing.assert_close(moved[name], weight, **CLOSE)


@pytest.mark.slow
def test_a_run_of_two_processes_has_one_folder_and_one_table(tmp_path: Path) -> None:
    run = tmp_path / "run"
    changes = {
        "perception.steps": 2,
        "sft.steps": 2,
        "grpo.steps": 2,
        "grpo.completions": 16,
        "grpo.validation.every": 1,
        "grpo.validation.n": 4,
        "comparison.policies": "[]",
        "evaluation.n": 4,
        "evaluation.decodings": '["greedy"]',
        "evaluation.policies": '["grpo"]',
    }
    settings = [f"--set={name}={value}" for name, value in changes.items()]
    command = [
        sys.executable,
        "-m",
        "medvistagym_core.cli",
        "train",
        "--quick",
        "--gpus",
        "2",
        "--run",
        str(run),
        *settings,
    ]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("SFT + GRPO") == 1
    assert done.stderr.count("] grpo done in") == 1
    assert json.loads((run / "results.json").read_text())["rows"]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["phase"] == "grpo"]
    assert [line["step"] for line in steps] == [1, 2]
    assert all(line["parity/rows"] == 16 for line in steps)
    folder = run / "trajectories"
    assert {file.name for file in folder.glob("training-*.jsonl")} == {
        "training-grpo.jsonl",
        "training-grpo-rank1.jsonl",
    }
    # Each process has played half of what is held out, and there is one file of all.
    for name in ("grpo-greedy", "validation-grpo"):
        assert sorted(each.index for each in TrajectoryReader(folder / f"{name}.jsonl")) == [0, 1, 2, 3]
    assert not list(folder.glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1)])
def test_an_interrupted_run_is_gone_on_with_by_another_number_of_processes(
    first: int, then: int, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    changes = {
        "perception.steps": 2,
        "sft.steps": 2,
        "grpo.steps": 4,
        "grpo.completions": 16,
        "comparison.policies": "[]",
        "evaluation.n": 4,
        "evaluation.decodings": '["greedy"]',
        "evaluation.policies": '["grpo"]',
    }
    train = [sys.executable, "-m", "medvistagym_core.cli", "train"]
    begin = [*train, "--quick", *(f"--set={name}={value}" for name, value in changes.items())]

    def steps() -> list[int]:
        file = run / "metrics.jsonl"
        lines = file.read_text().splitlines() if file.is_file() else []
        return [line["step"] for line in map(json.loads, lines) if line["phase"] == "grpo"]

    with (tmp_path / "first.log").open("w") as log:
        command = [*begin, "--run", str(run), "--gpus", str(first)]
        training = subprocess.Popen(command, env=ENVIRONMENT, stdout=log, stderr=log, start_new_session=True)
        while training.poll() is None and not steps():
            time.sleep(0.05)
        os.killpg(training.pid, signal.SIGINT)  # as Ctrl-C does
        training.wait(200)
    said = (tmp_path / "first.log").read_text()
    assert training.returncode == 130, said
    assert f"--run {run} --resume" in said
    stopped = steps()
    assert stopped == list(range(1, len(stopped) + 1))
    assert len(stopped) < 4
    resumed = subprocess.run(
        [*train, "--run", str(run), "--resume", "--gpus", str(then)],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert steps() == [1, 2, 3, 4]
    assert json.loads((run / "results.json").read_text())["rows"]
    publish = [sys.executable, "-m", "medvistagym_core.cli", "publish", str(run), "--dry-run", "--without-pictures"]
    published = subprocess.run(publish, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
    assert "model.safetensors" in published


@pytest.mark.slow
def test_a_model_that_fsdp2_shards_over_two_processes_has_the_gradients_of_the_whole_one() -> None:
    launch(2, WORKER.with_name("fsdp_worker.py"))


@pytest.mark.slow
def test_ranks_that_share_weights_write_unequal_numbers_of_turns(tmp_path: Path) -> None:
    launch(2, WORKER.with_name("fsdp_turns_worker.py"), tmp_path, timeout=200)


def test_the_batch_of_a_step_does_not_depend_on_the_number_of_processes(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medvistagym_trl.stages._trl_config.rank_count", lambda: 2)
    assert make_sft_config(recipe, steps=1, folder=tmp_path).per_device_train_batch_size == recipe.sft.batch // 2
    config = make_grpo_config(recipe, steps=1, max_turns=2, completion=16, folder=tmp_path)
    assert config.per_device_train_batch_size * 2 * config.gradient_accumulation_steps == recipe.grpo.completions
    odd = recipe.with_overrides({"sft.batch": 3})
    with pytest.raises(RecipeError, match=r"sft\.batch 3 cannot be split evenly over 2 processes of 1 parts .*; 2 can"):
        make_sft_config(odd, steps=1, folder=tmp_path)


def test_a_rank_that_is_not_the_first_writes_nothing(recipe: Any, context: Any, model: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = RunFolder.begin(folder, recipe, context.toolbox)
    before = sorted(folder.rglob("*"))
    other = RunFolder.attach(folder, context.toolbox)
    with other.phase("sft"):
        other.log("sft", {"step": 1, "loss": 1.0})
        other.save("sft", model)
        other.save_reference("perception", "elsewhere")
    assert sorted(folder.rglob("*")) == before
    assert not other.done("sft")
    assert other.recipe == recipe
    other.close()
    first.close()


def test_processes_of_one_training_need_the_name_of_one_folder(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from medvistagym_core.cli import main

    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["train", "--quick"]) == 2
    assert "need one run folder: name it with --out FOLDER" in capsys.readouterr().err


def test_groups_are_not_drawn_again_where_all_processes_ask_one_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from medvistagym_core.cli import main

    monkeypatch.setenv("WORLD_SIZE", "2")
    settings = [
        *("--set", "grpo.zero_variance=redraw", "--set", "trl.grpo.use_vllm=true", "--set"),
        "trl.grpo.vllm_mode=server",
    ]
    assert main(["train", "--run", str(tmp_path / "run"), *settings]) == 2
    assert "redraw gives each of 2 processes other rows" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_that_are_killed_leave_a_run_that_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    changes = {
        "perception.steps": 2,
        "sft.steps": 2,
        "grpo.steps": 4,
        "grpo.completions": 16,
        "grpo.save_every": 1,
        "comparison.policies": "[]",
        "evaluation.n": 2,
        "evaluation.decodings": '["greedy"]',
        "evaluation.policies": '["grpo"]',
    }
    settings = [f"--set={name}={value}" for name, value in changes.items()]
    train = [sys.executable, "-m", "medvistagym_core.cli", "train"]
    command = [*train, "--quick", "--gpus", "2", "--run", str(run), *settings]
    processes = subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        metrics = run / "metrics.jsonl"
        for _ in range(4000):
            if metrics.is_file() and '"grpo", "step": 2' in metrics.read_text("utf-8"):
                break
            assert processes.poll() is None
            time.sleep(0.1)
    finally:
        # Ranks are in groups of their own: whoever began from this command is ended, all at once.
        for process in [psutil.Process(processes.pid), *psutil.Process(processes.pid).children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        processes.wait()
    assert not (run / "results.json").exists()
    again = [*train, "--run", str(run), "--resume", "--gpus", "2"]
    done = subprocess.run(again, env=ENVIRONMENT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
    assert [line["step"] for line in lines if line["phase"] == "grpo"] == [1, 2, 3, 4]
    assert json.loads((run / "results.json").read_text())["rows"]
