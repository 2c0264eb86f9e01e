"""Sampling that is cut short: killed at any moment, out of room, or begun again with something else."""

import errno
import json
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from medvistagym_core.cli import main
from medvistagym_core.plugins import LoadedPlugin, PluginReport, Registry
from medvistagym_core.rollouts import ExpertPolicy, rollout
from medvistagym_core.trajectories import TrajectoryReader, TrajectoryWriter


@pytest.fixture
def sample(task, toolbox, tmp_path, monkeypatch):
    """The command on the toy task, into a folder of its own; its exit code."""
    report = PluginReport(name="toy", distribution="toy", version="0", state="loaded")
    tools = [tool.with_metadata(plugin="toy") for tool in toolbox.values()]
    registry = Registry([LoadedPlugin(report, {"tools": tools, "tasks": [task]})])
    monkeypatch.setattr(Registry, "discover", classmethod(lambda cls, *a, **k: registry))

    def command(*more, policy="expert", cases=40):
        argv = ["sample", "--task", "quadrants", "--policy", policy, "--cases", str(cases), "--batch", "4"]
        return main([*argv, "--out", str(tmp_path / "run"), *more])

    return command


@pytest.fixture
def file(tmp_path):
    return tmp_path / "run" / "trajectories.jsonl"


def play(path, task, toolbox, cases):
    with TrajectoryWriter(path, toolbox) as writer:
        for _ in rollout(ExpertPolicy(task), task, toolbox, "test", range(cases), batch=4, writer=writer):
            pass


def assert_sound(file):
    """Every line reads, every episode is there once, every picture that a line names is there and whole."""
    reader = TrajectoryReader(file)
    played = list(reader)
    assert len({t.id for t in played}) == len(played)
    for sha in {image.picture for t in played for image in t.images}:
        assert reader.load_image(sha).size == (32, 32)
    return played


@pytest.mark.parametrize("kills", [9, pytest.param(24, marks=pytest.mark.attack)])
def test_killed_again_and_again_it_loses_at_most_what_it_was_writing(task, toolbox, file, kills):
    rng = random.Random(7)
    fork = multiprocessing.get_context("fork")
    before = 0
    for k in range(kills):
        size = file.stat().st_size if file.is_file() else 0
        process = fork.Process(target=play, args=(file, task, toolbox, 100_000))
        process.start()
        while k % 3 < 2 and process.is_alive() and not (file.is_file() and file.stat().st_size > size):
            time.sleep(0.002)  # two of three are killed while they write, one while it begins
        time.sleep(rng.uniform(0, 0.02))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        whole = file.read_bytes().count(b"\n")
        assert before <= whole == len(assert_sound(file))
        before = whole
    assert before > kills
    play(file, task, toolbox, before + 10)
    assert not list(file.parent.rglob(".part-*"))
    assert len(assert_sound(file)) >= before + 10
    assert file.read_bytes().endswith(b"\n")


def test_an_interrupt_does_not_wait_for_an_endpoint_that_is_still_asked(tmp_path):
    hang, asked = threading.Event(), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(self.rfile.read(int(self.headers["Content-Length"])))
            if len(asked) > 4:
                hang.wait(60)
            raw = json.dumps({"choices": [{"message": {"content": "<answer>unclear</answer>"}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda request, address: None  # a client that went away
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        command = [sys.executable, "-m", "medvistagym_core.cli", "sample", "--task", "scoutvqa", "--cases", "12"]
        command += ["--endpoint", f"http://127.0.0.1:{server.server_address[1]}/v1", "--endpoint-model", "m"]
        command += ["--batch", "4", "--out", str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 60
            while len(asked) < 6 and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            began = time.monotonic()
            out, err = process.communicate(timeout=30)
        assert time.monotonic() - began < 20  # the answer would take a minute
        hang.set()
        server.shutdown()
    assert process.returncode == 130, err
    assert (out, "Traceback" in err) == ("", False)
    assert "goes on with it" in err
    assert len(list(TrajectoryReader(tmp_path / "trajectories.jsonl"))) == 4


def test_a_full_disk_is_said_in_one_sentence_and_costs_nothing_that_was_finished(sample, file, capsys):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (50_000, limits[1])
    )  # the kernel then refuses to write, as on a full disk
    try:
        code = sample()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    err = capsys.readouterr().err
    assert code == 1
    assert err.count("\n") == 1
    assert "the disk is full" in err
    assert "goes on with it" in err
    assert 0 < len(assert_sound(file)) < 40
    assert file.read_bytes().endswith(b"\n")
    assert sample() == 0
    assert len(assert_sound(file)) == 40


def act_but_in(*cases):
    """What the expert writes, and nothing in these cases."""
    spoken = ExpertPolicy.act

    def act(self, observations):
        failing = [o.id.startswith(tuple(f"train-{case}-" for case in cases)) for o in observations]
        return [None if fails else text for fails, text in zip(failing, spoken(self, observations), strict=True)]

    return act


@pytest.mark.parametrize("keep", ["all", "correct"])
def test_what_fails_in_every_run_does_not_make_a_good_file_a_failure(sample, file, capsys, monkeypatch, keep):
    monkeypatch.setattr(ExpertPolicy, "act", act_but_in(3, 7))
    assert sample("--keep", keep, cases=10) == 0
    capsys.readouterr()
    assert sample("--keep", keep, cases=10) == 0
    out = capsys.readouterr().out
    assert out.startswith("2 episodes played")
    assert "8 were there before, the policy failed in 2, which the same command plays again; " in out
    assert sample("--keep", keep, "--json", cases=10) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["played"], said["failed"], said["correct"]) == (2, 2, 0)


@pytest.mark.parametrize("keep", ["all", "correct"])
def test_a_policy_that_fails_in_every_episode_is_said_with_the_reason(sample, capsys, monkeypatch, keep):
    monkeypatch.setattr(ExpertPolicy, "act", lambda self, seen: [ValueError("no such\nmodel")] * len(seen))
    for _ in range(2):
        assert sample("--keep", keep, cases=3) == 1
        err = capsys.readouterr().err
        assert "the policy failed in every episode, in the last one with: ValueError: no such" in err
        assert err.count("\n") == 1


def test_the_same_command_plays_again_what_the_policy_failed_in(sample, file, capsys, monkeypatch):
    with monkeypatch.context() as for_now:
        for_now.setattr(ExpertPolicy, "act", act_but_in(3, 7))
        assert sample(cases=10) == 0
    assert "10 episodes played, the policy failed in 2, which the same command plays again" in capsys.readouterr().out
    assert sample(cases=10) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "2 episodes played, 2 of them again, since the policy had failed in them, 8 were there before; "
    )
    played = assert_sound(file)
    assert len(played) == 10
    assert {t.outcome.ended for t in played} == {"answered"}
    assert sample(cases=10) == 0
    assert "0 episodes played, 10 were there before" in capsys.readouterr().out


def test_no_room_from_the_start(sample, file, capsys, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("medvistagym_core.trajectories._store._write_lock", full)
    assert sample() == 1
    err = capsys.readouterr().err
    assert "the disk is full" in err
    assert "holds nothing new" in err
    monkeypatch.undo()


def test_another_policy_or_reward_does_not_go_into_the_same_file(sample, file, capsys):
    assert sample(cases=4) == 0
    before = file.read_bytes()
    for more, policy, said in (
        ([], "random", "policy expert, not random"),
        (["--reward", "paper"], "expert", "was begun with reward right=1"),
    ):
        capsys.readouterr()
        assert sample(*more, policy=policy) == 1
        err = capsys.readouterr().err
        assert said in err
        assert "choose another --out" in err
    assert file.read_bytes() == before
    assert sample("--seed", "1", cases=4) == 0  # other episodes of the same policy
    assert len(assert_sound(file)) == 8


def test_on_a_terminal_a_bar_fills_and_is_cleared(sample, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert sample("--json", cases=8) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["played"] == 8
    drawn = err.split("\r")
    assert any("[" in line and "8/8 episodes" in line and "100% right" in line for line in drawn)
    assert all(len(line.replace("\x1b[K", "")) < 80 for line in drawn)
    assert drawn[-1] == "\x1b[K"
