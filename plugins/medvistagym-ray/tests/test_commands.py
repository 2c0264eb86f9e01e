"""The commands and the Gym environment on Ray: the same as in this process, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import psutil
import pytest

from medvistagym_core import Registry
from medvistagym_core.cli import main
from medvistagym_core.environment import MedVistaVectorEnv
from medvistagym_ray import make_executor
from medvistagym_ray.cluster import load_ray
from medvistagym_ray.workers import pool_status, stop_pool

PROGRAM = [sys.executable, "-m", "medvistagym_core.cli"]
MARK = "MEDVISTAGYM_TEST_MARK"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture with a bright square."""
    pixels = np.full((64, 64), 20, np.uint8)
    pixels[16:40, 20:50] = 200
    file = tmp_path / "square.png"
    PIL.Image.fromarray(pixels).save(file)
    return file


@pytest.fixture
def ray_option(head: Any, tmp_path: Path) -> list[str]:
    """`--executor`, for the cluster, all of whose tools run in workers."""
    file = tmp_path / "placement.yaml"
    file.write_text('"*": {pool: cpu}\npools: {cpu: {replicas: 1}}\n', "utf-8")
    return ["--executor", f"ray:{head.address}?placement={file}"]


def test_a_call_is_answered_as_by_this_process(
    ray_option: list[str], picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = []
    for option in ([], ray_option):
        out = tmp_path / f"out-{len(answers)}.png"
        assert (
            main(
                [
                    "tools",
                    "call",
                    "segment_crop",
                    "--image",
                    str(picture),
                    "--method",
                    "otsu",
                    *option,
                    "--json",
                    "--out",
                    str(out),
                ]
            )
            == 0
        )
        document = json.loads(capsys.readouterr().out)
        answers.append((document["data"], document["text"], out.read_bytes()))
    assert answers[0] == answers[1]


def test_eval_has_the_figures_of_this_process_and_says_where_tools_ran(
    head: Any, ray_option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    tables = []
    for option in ([], ray_option, ["--executor", f"ray:{head.address}"]):
        assert main(["eval", "--task", "scoutvqa", "--policy", "expert", "--cases", "12", *option, "--json"]) == 0
        said = capsys.readouterr()
        tables.append(json.loads(said.out))
    assert tables[0]["rows"] == tables[1]["rows"] == tables[2]["rows"]
    assert " ran in this process" in said.err


def test_a_vector_environment_gives_the_same_observations(head: Any, ray_option: list[str]) -> None:
    registry = Registry.discover("scoutvqa,dicom")
    toolbox, seen = registry.toolbox("zoom"), []
    action = '<think>Closer.</think><tool_call>{"name": "zoom", "arguments": {"image": 0, "box": [0, 0, 500, 500]}}</tool_call>'
    with make_executor(toolbox, ray_option[1].partition(":")[2]) as remote:
        for executor in (None, remote):
            env = MedVistaVectorEnv(registry.task("scoutvqa"), toolbox, 3, executor=executor)
            env.reset(seed=1)
            env.step([action] * 3)
            seen.append([[stored.image.digest for stored in episode.store] for episode in env.episodes])
            env.close()
    assert len(seen[0][0]) == 2
    assert seen[0] == seen[1]


@pytest.mark.slow
def test_a_server_runs_its_tools_there(ray_option: list[str], picture: Path) -> None:
    from mcp import Client, StdioServerParameters

    command = [*PROGRAM[1:], "serve", "--tools", "measure", "--image", str(picture), *ray_option]
    server = StdioServerParameters(command=PROGRAM[0], args=command, env=dict(os.environ))

    async def ask() -> Any:
        async with Client(server) as client:
            return await client.call_tool("measure", {"image": 0, "box": [0, 0, 1000, 1000]})

    answer = asyncio.run(ask())
    assert not answer.is_error, answer
    assert "mean" in str(answer.structured_content)


def test_no_ray_at_an_address_is_said(
    picture: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(load_ray(), "is_initialized", lambda: False)  # as in a program that has done nothing before
    assert main(["tools", "call", "measure", "--image", str(picture), "--executor", "ray:127.0.0.1:1"]) == 2
    err = capsys.readouterr().err
    assert "no Ray listens at 127.0.0.1:1" in err
    assert "start one with `ray start --head`" in err
    assert main(["workers", "status", "--address", "127.0.0.1:1"]) == 2
    assert "no Ray listens at 127.0.0.1:1" in capsys.readouterr().err


def test_without_the_package_the_option_says_how_to_install_it(
    picture: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["tools", "call", "measure", "--image", str(picture)], ["serve"], ["train"]):
        assert main([*command, "--plugins", "dicom,segment,scoutvqa,trl", "--executor", "ray"]) == 2
        assert "pip install 'medvistagym-core[ray]'" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "medvistagym_ray.workers", None)
    assert main(["workers", "status", "--address", "127.0.0.1:1"]) == 2
    assert "pip install 'medvistagym-core[ray]'" in capsys.readouterr().err


@contextlib.contextmanager
def program(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A program of its own, and the mark that all processes bear which it starts."""
    mark = uuid.uuid4().hex
    environment = {**os.environ, MARK: mark}
    environment.pop("RAY_ADDRESS", None)
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield process, mark
    finally:
        for left in [process.pid, *marked(mark)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def marked(mark: str) -> list[int]:
    """Processes that bear a mark."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def assert_all_end(mark: str, timeout_s: float = 20.0) -> None:
    left = [psutil.Process(pid) for pid in marked(mark) if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(left, timeout_s)
    assert not alive


@pytest.mark.slow
def test_a_pool_is_kept_for_others_until_ctrl_c_and_nothing_is_left(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    placement = tmp_path / "kept.yaml"
    placement.write_text("segment: {replicas: 2}\n", "utf-8")
    with program("workers", "start", "--pool", "kept", "--tools", "segment", "--placement", str(placement)) as (
        one,
        mark,
    ):
        assert one.stdout is not None
        ready = next(line for line in one.stdout if "ready" in line)
        target = ready.split("'")[1]
        address, _, pool = target.removeprefix("ray:").partition("?pool=")
        assert pool == "kept"
        for command in (["segment", "--image", str(picture), "--method", "otsu", "--executor", target],) * 2:
            command = [*PROGRAM, "tools", "call", *command, "--json"]
            assert json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["error"] is None
        command = [*PROGRAM, "workers", "status", "--address", address, "--json"]
        status = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        assert [worker["tools"] for worker in status["workers"]] == [["segment"], ["segment"]]
        assert sum(worker["done"] for worker in status["workers"]) == 1  # the second call found the first one's result
        one.send_signal(signal.SIGINT)
        assert "the workers have ended" in one.stdout.read()
        assert one.wait(20) == 130
        assert_all_end(mark)


@pytest.mark.slow
def test_several_trainers_and_evaluations_use_one_pool_at_once(head: Any, tmp_path: Path) -> None:
    """Each has the figures that it has in a process of its own, and all their calls go to the same two workers."""
    file = tmp_path / "placement.yaml"
    file.write_text('"*": {pool: cpu}\npools: {cpu: {replicas: 2}}\n', "utf-8")
    shared = ["--executor", f"ray:{head.address}?pool=crowd&placement={file}"]
    train = ["train", "--quick", "--set", "comparison.policies=[]", "--run"]
    evaluate = ["eval", "--task", "scoutvqa", "--policy", "expert", "--cases", "24", "--out"]
    jobs = {
        "trainer": [*train, "trainer", *shared],
        "other trainer": [*train, "other", "--seed", "1", *shared],
        "evaluation": [*evaluate, "one.json", *shared],
        "other evaluation": [*evaluate, "two.json", "--seed", "1", *shared],
    }
    alone = {"trainer alone": [*train, "alone"], "evaluation alone": [*evaluate, "alone.json"]}
    environment = {**os.environ, "RAY_ADDRESS": head.address, "OMP_NUM_THREADS": "1"}

    def finish(commands: dict[str, list[str]]) -> None:
        running = {
            name: subprocess.Popen(
                [*PROGRAM, *command], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            for name, command in commands.items()
        }
        for name, process in running.items():
            said, _ = process.communicate(timeout=900)
            assert process.returncode == 0, f"{name}: {said.decode()[-2000:]}"

    finish(jobs)
    status = pool_status(head.address, "crowd")
    assert [worker.identity.group for worker in status.workers] == ["cpu", "cpu"]
    assert all(worker.done for worker in status.workers)
    assert [worker.deaths for worker in status.workers] == [0, 0]
    assert len(stop_pool(head.address, "crowd")) == 2
    finish(alone)

    def read(name: str) -> Any:
        return json.loads((tmp_path / name).read_text("utf-8"))["rows"]

    assert read("trainer/results.json") == read("alone/results.json")
    assert read("one.json") == read("alone.json")
    assert metrics(tmp_path / "trainer") == metrics(tmp_path / "alone") != metrics(tmp_path / "other")


def metrics(run: Path) -> list[dict[str, Any]]:
    """What a run has recorded of every step, but for how long it took."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [
        {name: value for name, value in line.items() if "time" not in name and "seconds" not in name} for line in lines
    ]


@pytest.mark.slow
def test_workers_stop_ends_the_pool_and_who_keeps_it() -> None:
    with program("workers", "start", "--tools", "segment") as (one, mark):
        assert one.stdout is not None
        ready = next(line for line in one.stdout if "ready" in line)
        address = ready.split("'")[1].removeprefix("ray:").partition("?")[0]
        stop = [*PROGRAM, "workers", "stop", "--address", address]
        said = subprocess.run(stop, capture_output=True, check=True, text=True).stdout
        assert said == "1 worker ended\n"
        assert one.wait(20) == 0
        assert_all_end(mark)


@pytest.mark.slow
def test_ctrl_c_of_a_rollout_over_many_processes_leaves_none(tmp_path: Path) -> None:
    arguments = [
        "--task",
        "scoutvqa",
        "--policy",
        "expert",
        "--cases",
        "100000",
        "--out",
        str(tmp_path),
        "--batch",
        "4",
    ]
    with program("sample", *arguments, "--executor", "ray", "--workers", "2") as (one, mark):
        file = tmp_path / "trajectories.jsonl"
        while not (file.exists() and file.stat().st_size):
            assert one.poll() is None
        one.send_signal(signal.SIGINT)
        said = one.communicate(timeout=30)[0]
        assert one.returncode == 130
        assert said.strip().endswith("holds what was finished; the same command goes on with it")
        assert_all_end(mark)
