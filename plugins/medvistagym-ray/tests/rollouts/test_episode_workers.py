"""Episodes played by many processes: the same as one process plays, each once, whoever dies."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from medvistagym_core.cli import main
from medvistagym_core.rollouts import PolicyUnavailableError
from medvistagym_core.trajectories import TrajectoryReader
from medvistagym_ray.cluster import RayTarget
from medvistagym_ray.rollouts import EpisodeWorkers, EpisodeWorkersLostError
from medvistagym_ray.workers import pool_status

pytestmark = pytest.mark.e2e

KILLS = int(os.environ.get("MEDVISTAGYM_RAY_KILLS", "3"))
CASES = 40


@pytest.fixture(scope="module")
def address(head: Any) -> str:
    """The cluster's, to which this process is connected."""
    return str(head.address)


def sample_arguments(out: Path, *more: str, seed: int = 0, policy: str = "expert") -> list[str]:
    cases = ["--cases", str(CASES), "--seed", str(seed)]
    return ["sample", "--task", "scoutvqa", "--policy", policy, *cases, "--out", str(out), *more]


def spread(address: str) -> list[str]:
    return ["--executor", f"ray:{address}", "--workers", "2", "--batch", "4"]


def episodes(folder: Path) -> list[dict[str, Any]]:
    """The episodes of a file by id, but for how long everything took."""
    found = []
    for trajectory in TrajectoryReader(folder / "trajectories.jsonl"):
        document = trajectory.model_dump()
        for turn in document["turns"]:
            turn["policy_seconds"] = turn["tool_seconds"] = 0.0
            for call in turn["calls"]:
                call["seconds"], call["cached"] = 0.0, False
        found.append(document)
    return sorted(found, key=lambda document: str(document["id"]))


def pictures(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "images").iterdir()}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process plays."""
    folder = tmp_path_factory.mktemp("expected")
    assert main(sample_arguments(folder)) == 0
    return folder


def test_the_episodes_are_those_of_one_process(
    address: str, expected: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(sample_arguments(tmp_path, *spread(address), "--json")) == 0
    counts = json.loads(capsys.readouterr().out)
    assert (counts["played"], counts["failed"], counts["kept"]) == (CASES, 0, CASES)
    assert episodes(tmp_path) == episodes(expected)
    assert pictures(tmp_path) == pictures(expected)
    assert main(sample_arguments(tmp_path, *spread(address), "--json")) == 0
    counts = json.loads(capsys.readouterr().out)
    assert (counts["played"], counts["kept"]) == (0, 0)  # all were there before
    assert episodes(tmp_path) == episodes(expected)


@pytest.mark.slow
def test_a_table_is_evaluated_with_other_images_and_with_what_cannot_be_shown_as_by_one_process(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # the table is named relative to the folder of the program
    rows = []
    for k in range(9):
        PIL.Image.fromarray(np.full((9, 12), 20 * k, np.uint8)).save(f"{k}.png")
        rows.append({"image": f"{k}.png", "question": f"Is {k} bright?", "answer": "yes" if k > 4 else "no"})
    Path("3.png").write_bytes(Path("3.png").read_bytes()[:40])
    Path("mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    play = ["eval", "--policy", "random", "--tools", "none", "--task-file", "mine.jsonl", "--images", "blank"]
    seen = []
    for name, more in (("one", []), ("many", spread(address))):
        assert main([*play, "--run", name, "--json", *more]) == 0
        said = capsys.readouterr()
        report = json.loads(said.out)
        notes = [note for note in report["notes"] if "could not be shown" in note]
        episodes = [
            (file.name, one.index, one.case, one.facets.get("images"), one.images, one.task_reference)
            for file in sorted(Path(name, "trajectories").glob("*.jsonl"))
            for one in sorted(TrajectoryReader(file), key=lambda one: one.index)
        ]
        seen.append((notes, episodes))
    assert seen[0] == seen[1]
    assert len(seen[0][0]) == 2
    assert len(seen[0][1]) == 2 * 8


@pytest.mark.slow
def test_kill_9_of_workers_at_random_moments_loses_no_episode(
    address: str, expected: Path, tmp_path: Path, aside: ThreadPoolExecutor
) -> None:
    rng, kills, number = random.Random(2), 0, 0
    while kills < KILLS:
        folder, number = tmp_path / str(number), number + 1
        plays = aside.submit(main, sample_arguments(folder, *spread(address)))
        before = -1  # the first kill may come while a policy opens; between two of them there is an episode at least
        while not plays.done() and kills < KILLS:
            if written(folder) <= before:
                time.sleep(0.01)
                continue
            before = written(folder)
            time.sleep(rng.uniform(0.0, 1.0))
            playing = [one for one in pool_status(address).workers if one.identity.group == "episodes"]
            if playing and not plays.done():
                os.kill(rng.choice(playing).pid, signal.SIGKILL)
                kills += 1
        assert plays.result(300) == 0
        assert episodes(folder) == episodes(expected)


@pytest.mark.slow
def test_kill_9_of_the_program_at_random_moments_loses_no_episode_and_plays_none_twice(
    address: str, expected: Path, tmp_path: Path
) -> None:
    rng, kills, number = random.Random(3), 0, 0
    while kills < max(1, KILLS // 3):
        folder, number = tmp_path / str(number), number + 1
        command = [sys.executable, "-m", "medvistagym_core.cli", *sample_arguments(folder, *spread(address))]
        code = None
        while code is None:
            plays = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            enough = rng.randint(written(folder), CASES)
            while (code := plays.poll()) is None and (written(folder) <= enough or kills >= KILLS):
                time.sleep(0.002)
            if code is None:
                plays.kill()
                plays.wait()
                kills += 1
        assert code == 0
        assert episodes(folder) == episodes(expected)


def written(folder: Path) -> int:
    """How many episodes there are."""
    file = folder / "trajectories.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def test_a_policy_that_cannot_act_ends_the_rollout(address: str) -> None:
    def open_players() -> Any:
        class Gone:
            name, sampling, weights, task = "gone", {}, {}, "none"

            def play(self, split: str, indices: Any, **how: Any) -> Iterator[Any]:
                raise PolicyUnavailableError("the server is gone")

        return Gone()

    with EpisodeWorkers(open_players, 2, RayTarget(address)) as workers:
        assert workers.record.name == "gone"
        with pytest.raises(PolicyUnavailableError, match=r"^the server is gone$"):
            list(workers.rollout("train", range(4)))


def _not_here() -> Any:
    raise ModuleNotFoundError("No module named 'only_on_the_head'")


class NotThere:
    """Can be pickled, and not read again, as what a module defines that another node lacks."""

    def __reduce__(self) -> Any:
        return _not_here, ()


def test_workers_that_cannot_begin_say_why(address: str) -> None:
    sentence = r"could not begin \(ModuleNotFoundError: No module named 'only_on_the_head'\): install the same"
    with pytest.raises(EpisodeWorkersLostError, match=sentence):
        EpisodeWorkers(NotThere(), 1, RayTarget(address))  # type: ignore[arg-type]


@pytest.mark.slow
def test_workers_that_die_as_soon_as_they_play_end_the_rollout(address: str) -> None:
    def open_players() -> Any:
        class Deadly:
            name, sampling, weights, task = "deadly", {}, {}, "none"

            def play(self, split: str, indices: Any, **how: Any) -> Iterator[Any]:
                os.kill(os.getpid(), signal.SIGKILL)
                yield

        return Deadly()

    with EpisodeWorkers(open_players, 1, RayTarget(address), max_deaths=1) as workers:
        sentence = (
            r"workers died 2 times in a row and no episode ended between .* play one of the cases without --workers"
        )
        with pytest.raises(EpisodeWorkersLostError, match=sentence):
            list(workers.rollout("train", range(4)))


def test_workers_need_ray(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(sample_arguments(tmp_path, "--workers", "2")) == 2
    assert "--workers needs --executor ray, or ray:HOST:PORT for a cluster" in capsys.readouterr().err
    assert main(sample_arguments(tmp_path, "--workers", "0", "--executor", "ray")) == 2
    assert "--workers must be at least 1, not 0" in capsys.readouterr().err
