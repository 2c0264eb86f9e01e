"""A run that is killed, whatever it is doing, and a disk that is full: resumed, it ends as if nothing had happened."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medvistagym_core.trajectories import Results
from medvistagym_trl import TrlTrainer
from medvistagym_trl._recipe import dump_recipe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks of this process, which only POSIX has"),
]
CHANGES = {
    "grpo.steps": 3,
    "grpo.validation": {"every": 1, "n": 2},
    "sft.save_every": 1,
    "evaluation.decodings": ["greedy"],
    "evaluation.n": 2,
    "comparison.policies": [],
}
_NOT_SAME = ("step_time", "seconds", "time", "parity/seconds", "num_tokens")
"""Parts of the names of metrics that are of the clock, or count from the last start."""


@pytest.fixture
def recipe_file(recipe: Any, tmp_path: Path) -> Path:
    file = tmp_path / "toy.yaml"
    file.write_text(dump_recipe(recipe), encoding="utf-8")
    return file


def in_a_child(work: Callable[[], object]) -> int:
    """Do something in a fork of this process; its exit status, negative for the signal that ended it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            torch.set_num_threads(1)
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
                os.dup2(nowhere.fileno(), 2)
                work()
            status = 0
        except OSError as error:
            status = 28 if error.errno in (errno.ENOSPC, errno.EFBIG) else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def moments(folder: Path, happened: Callable[[], None]) -> None:
    """Have a function called before every file of a folder that this process opens to write, renames or deletes."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR) if isinstance(flags, int) else "w" in (mode or "")
        elif event in ("os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.link"):
            path, writes = arguments[0], True
        else:
            return
        if writes and str(folder) in str(path):
            happened()

    sys.addaudithook(hook)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / "grpo" / "model.safetensors")


def metrics(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [
        {key: value for key, value in line.items() if not (key.endswith(_NOT_SAME) or key.startswith("seconds/"))}
        for line in lines
    ]


def same_run(run: Path, whole: Path) -> None:
    assert metrics(run) == metrics(whole)
    for name, weight in weights(whole).items():
        assert torch.equal(weight, weights(run)[name]), name
    assert Results.load(run / "results.json").rows == Results.load(whole / "results.json").rows
    assert sorted(each.name for each in (run / "checkpoints").iterdir()) == ["grpo", "perception", "sft"]


def test_killed_at_any_moment_it_ends_as_an_uninterrupted_run_does(
    registry: Any, recipe_file: Path, tmp_path: Path
) -> None:
    whole, run = tmp_path / "whole", tmp_path / "killed"
    counted = tmp_path / "counted"

    def train_and_count() -> None:
        seen = [0]

        def count() -> None:
            seen[0] += 1

        moments(whole, count)
        TrlTrainer().train(registry, run=whole, recipe=recipe_file, changes=CHANGES)
        counted.write_text(str(seen[0]))

    assert in_a_child(train_and_count) == 0
    total = int(counted.read_text())
    assert total > 100

    rng = np.random.default_rng(7)

    def go_on(moment: int) -> Callable[[], object]:
        def work() -> None:
            left = [moment]

            def kill() -> None:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            moments(run, kill)
            if (run / "recipe.yaml").is_file():
                TrlTrainer().train(registry, run=run, resume=True)
            else:
                TrlTrainer().train(registry, run=run, recipe=recipe_file, changes=CHANGES)

        return work

    kills, status = 0, -1
    while status != 0 and kills < 8:
        # Each time further on: what is done is not done again, so a moment counts from what is left.
        status = in_a_child(go_on(int(rng.integers(2, total // 4))))
        assert status in (0, -signal.SIGKILL)
        kills += status != 0
    if status != 0:
        assert in_a_child(go_on(10**9)) == 0
    assert kills >= 3
    same_run(run, whole)


def kill_inside_write(number: int) -> None:
    """End this process while it writes its file of weights with that number, which is left with half of its bytes."""
    import safetensors.torch

    write, left = safetensors.torch.serialize_file, [number]

    def half(tensors: Any, path: Any, **settings: Any) -> None:
        write(tensors, path, **settings)
        left[0] -= 1
        if left[0] == 0:
            os.truncate(path, Path(path).stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    safetensors.torch.serialize_file = half


def test_killed_inside_the_writing_of_weights_it_ends_as_an_uninterrupted_run_does(
    registry: Any, recipe_file: Path, tmp_path: Path
) -> None:
    whole, run = tmp_path / "whole", tmp_path / "killed"
    assert in_a_child(lambda: TrlTrainer().train(registry, run=whole, recipe=recipe_file, changes=CHANGES)) == 0

    def go_on(number: int) -> Callable[[], object]:
        def work() -> None:
            kill_inside_write(number)
            if (run / "recipe.yaml").is_file():
                TrlTrainer().train(registry, run=run, resume=True)
            else:
                TrlTrainer().train(registry, run=run, recipe=recipe_file, changes=CHANGES)

        return work

    kills = 0
    # The first file of what is left, and the third: a phase's own, and a trainer's checkpoint.
    for number in (1, 3, 1, 3, 2):
        status = in_a_child(go_on(number))
        assert status in (0, -signal.SIGKILL)
        kills += status != 0
    assert kills >= 3
    assert in_a_child(go_on(10**9)) == 0
    same_run(run, whole)


@pytest.mark.parametrize("phase", ["sft", "grpo"])
def test_a_checkpoint_that_the_disk_has_no_room_for_ends_the_run_and_harms_none(
    phase: str, registry: Any, recipe_file: Path, tmp_path: Path
) -> None:
    """The system itself refuses to write: files of this process may not grow beyond a limit once the phase has begun."""
    whole, run = tmp_path / "whole", tmp_path / "full"
    assert in_a_child(lambda: TrlTrainer().train(registry, run=whole, recipe=recipe_file, changes=CHANGES)) == 0

    def without_room() -> None:
        from medvistagym_trl.run import RunFolder

        log = RunFolder.log

        def limited(self: Any, name: str, values: Any) -> None:
            log(self, name, values)
            if name == phase and values["step"] >= 2:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

        RunFolder.log = limited  # type: ignore[method-assign]
        TrlTrainer().train(registry, run=run, recipe=recipe_file, changes=CHANGES)

    assert in_a_child(without_room) != 0
    assert not (run / "results.json").exists()
    assert in_a_child(lambda: TrlTrainer().train(registry, run=run, resume=True)) == 0
    same_run(run, whole)
