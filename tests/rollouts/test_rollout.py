import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from medvistagym_core.environment import EpisodeConfig
from medvistagym_core.protocol import TextProtocol
from medvistagym_core.rollouts import DemonstrationPolicy, ExpertPolicy, Progress, RandomPolicy, rollout
from medvistagym_core.trajectories import TrajectoryReader, TrajectoryWriter


class Said:
    """A policy that says what a function of the observation gives."""

    name = "said"
    sampling: dict = {}  # noqa: RUF012

    def __init__(self, act):
        self._act = act
        self.batches = []

    def act(self, observations):
        self.batches.append(len(observations))
        return [self._act(o) for o in observations]


def test_many_episodes_at_once(task, toolbox):
    states = []
    policy = Said(lambda o: "<answer>unclear</answer>" if o.num_turns else "hm")
    played = list(rollout(policy, task, toolbox, "test", range(10), batch=4, progress=states.append))
    assert sorted(t.index for t in played) == list(range(10))
    assert policy.batches == [4, 4, 4, 4, 2, 2]
    assert [s.done for s in states] == [4, 8, 10, 10]
    assert states[-1] == Progress(done=10, total=10, played=10)
    assert played[0].policy.name == "said"
    assert played[0].turns[0].policy_seconds > 0


def test_the_same_seed_gives_the_same_rollout_whatever_the_batch(task, toolbox):
    runs = [
        {
            t.id: [turn.text for turn in t.turns]
            for t in rollout(RandomPolicy(toolbox, seed=1), task, toolbox, "test", range(12), batch=batch, samples=2)
        }
        for batch in (1, 5, 64)
    ]
    assert runs[0] == runs[1] == runs[2]
    assert len(runs[0]) == 24
    assert runs[0]["test-0-0"] != runs[0]["test-0-0#1"] or runs[0]["test-1-0"] != runs[0]["test-1-0#1"]


def test_experts_solve_and_settings_hold(task, toolbox):
    settings = EpisodeConfig(protocol=TextProtocol("required"), view_side=16, prompt="Look.")
    played = list(rollout(ExpertPolicy(task, settings.protocol), task, toolbox, "test", range(8), settings))
    assert all(t.outcome.correct and t.prompt == "Look." and t.images[0].height == 16 for t in played)


@pytest.mark.parametrize("good", [True, False])
def test_rejection_sampling(task, toolbox, tmp_path, good):
    policy = DemonstrationPolicy(task, 0.5, seed=5)
    with TrajectoryWriter(tmp_path / "sft.jsonl", toolbox) as writer:
        kept = list(rollout(policy, task, toolbox, "train", range(30), keep="correct", writer=writer))
        assert 15 < len(kept) < 30
        assert all(t.outcome.correct for t in kept)
        assert list(rollout(policy, task, toolbox, "train", range(30), keep="correct", writer=writer)) == []
    assert len(list(TrajectoryReader(tmp_path / "sft.jsonl"))) == len(kept)


def test_a_stopped_rollout_goes_on_where_it_stopped(task, toolbox, tmp_path):
    def run(path, most=None):
        policy, got, states = RandomPolicy(toolbox, seed=1), [], []
        with TrajectoryWriter(path, toolbox) as writer:
            for t in rollout(policy, task, toolbox, "test", range(12), batch=3, writer=writer, progress=states.append):
                got.append(t)
                if most is not None and len(got) == most:
                    break
        return got, states

    run(tmp_path / "a.jsonl", most=5)
    rest, states = run(tmp_path / "a.jsonl")
    assert len(rest) == 7
    assert states[-1].done == states[-1].total == 12
    assert states[-1].played == 7
    whole, _ = run(tmp_path / "b.jsonl")
    parts = {t.id: [turn.text for turn in t.turns] for t in TrajectoryReader(tmp_path / "a.jsonl")}
    assert parts == {t.id: [turn.text for turn in t.turns] for t in whole}
    assert run(tmp_path / "a.jsonl")[0] == []


def test_a_policy_that_fails_is_data(task, toolbox):
    def act(observation):
        if observation.id.startswith("test-3"):
            raise MemoryError("no room")
        return "<answer>unclear</answer>"

    played = list(rollout(Said(act), task, toolbox, "test", range(8), batch=2))
    failed = {t.index: t.outcome.reason for t in played if t.outcome.ended == "policy_failed"}
    assert failed == {2: "MemoryError: no room", 3: "MemoryError: no room"}
    assert [t.reward for t in played if t.index in failed] == [-0.5, -0.5]

    for bad, why in ((lambda o: None, "NoneType, not text"), (lambda o: ValueError("odd"), "ValueError: odd")):
        (t,) = rollout(Said(bad), task, toolbox, "test", [0])
        assert why in t.outcome.reason
    short = Said(str)
    short.act = lambda observations: []
    (t,) = rollout(short, task, toolbox, "test", [0])
    assert "0 turns for 1" in t.outcome.reason


def test_a_resumed_run_plays_again_what_the_policy_failed_in(task, toolbox, tmp_path):
    path, failing = tmp_path / "t.jsonl", {"test-2-0", "test-5-0"}

    def act(observation):
        if observation.id in failing:
            raise MemoryError("no room")
        return "<answer>unclear</answer>"

    def run():
        progress = []
        with TrajectoryWriter(path, toolbox) as writer:
            options = {"batch": 1, "writer": writer, "progress": progress.append}
            played = list(rollout(Said(act), task, toolbox, "test", range(8), **options))
        ids = [t.id for t in TrajectoryReader(path)]
        assert len(ids) == len(set(ids))  # no episode is there twice
        return sorted(t.index for t in played), [t.index for t in TrajectoryReader(path)], progress[-1]

    assert run()[:2] == (list(range(8)), list(range(8)))
    before = path.read_bytes().splitlines()
    failing.remove("test-2-0")
    played, kept, progress = run()
    assert (played, kept) == ([2, 5], [0, 1, 3, 4, 6, 7, 2, 5])
    assert (progress.retried, progress.played, progress.failed, progress.done) == (2, 2, 1, 8)
    assert path.read_bytes().splitlines()[:6] == [line for k, line in enumerate(before) if k not in (2, 5)]
    assert run()[:2] == ([5], [0, 1, 3, 4, 6, 7, 2, 5])  # once in each run
    failing.clear()
    assert run()[0] == [5]
    assert run()[0] == []
    assert {t.outcome.ended for t in TrajectoryReader(path)} == {"answered"}


def test_only_episodes_of_this_run_are_taken_out(task, toolbox, tmp_path):
    path = tmp_path / "t.jsonl"
    failing = Said(lambda o: None)

    def run(policy, indices, **changes):
        with TrajectoryWriter(path, toolbox) as writer:
            return [t.id for t in rollout(policy, task, toolbox, "test", indices, writer=writer, **changes)]

    first = run(failing, range(4), samples=2)
    other = run(failing, range(2), seed=1)
    assert len({*first, *other}) == 10
    again = run(RandomPolicy(toolbox), range(1, 3))
    ended = {t.id: t.outcome.ended for t in TrajectoryReader(path)}
    assert set(ended) == {*first, *other}
    assert {name for name, how in ended.items() if how != "policy_failed"} == set(again)
    assert len(again) == 2


def test_what_failed_is_no_rejected_episode(task, toolbox, tmp_path):
    path, answers = tmp_path / "t.jsonl", {"now": None}

    def run():
        with TrajectoryWriter(path, toolbox) as writer:
            policy, state = Said(lambda o: answers["now"]), []
            list(rollout(policy, task, toolbox, "test", range(3), keep="correct", writer=writer, progress=state.append))
        return state[-1].played

    assert run() == 3
    assert run() == 3  # they failed, and were not wrong
    answers["now"] = "<answer>nowhere</answer>"
    assert run() == 3
    assert run() == 0
    assert list(TrajectoryReader(path)) == []


def test_rubbish_from_a_policy_is_data(task, toolbox, tmp_path):
    rubbish = [
        "",
        "\x00",
        "\ud800<tool_call>",
        "<tool_call>" * 5000,
        "🫁" * 9000,
        '<tool_call>{"name": "window", "arguments": {"\ud800": 1}}</tool_call>',
    ]
    policy = Said(lambda o: rubbish[o.num_turns])
    with TrajectoryWriter(tmp_path / "t.jsonl", toolbox) as writer:
        (t,) = rollout(policy, task, toolbox, "test", [0], writer=writer)
    assert t.outcome.ended == "turns"
    assert [turn.error.code if turn.error else turn.calls[0].error.code for turn in t.turns] == [
        "malformed_call"
    ] * 5 + ["budget_exhausted"]
    assert list(TrajectoryReader(tmp_path / "t.jsonl")) == [t]


def test_tools_that_fail_are_data(task, toolbox):
    def act(observation):
        how = ("raise", "value", "surrogate", "long")[observation.num_turns] if observation.num_turns < 4 else None
        if how is None:
            return "<answer>unclear</answer>"
        return f'<tool_call>{{"name": "broken", "arguments": {{"image": 0, "how": "{how}"}}}}</tool_call>'

    played = list(rollout(Said(act), task, toolbox, "test", range(4)))
    assert [c.error and c.error.code for turn in played[0].turns for c in turn.calls] == [
        "tool_failed",
        "bad_value",
        None,
        None,
    ]
    assert all(t.outcome.abstained for t in played)


def test_arguments_are_checked(task, toolbox):
    for bad in ({"keep": "some"}, {"batch": 0}, {"samples": 0}):
        with pytest.raises(ValueError, match="not"):
            rollout(RandomPolicy(toolbox), task, toolbox, "test", [0], **bad)


def test_ctrl_c_leaves_a_file_that_reads(tmp_path, toolbox, task):
    script = f"""
        import importlib.util, sys, time
        sys.path.insert(0, {str(Path(__file__).parents[1] / "support")!r})
        spec = importlib.util.spec_from_file_location("toys", {str(Path(__file__).parents[1] / "conftest.py")!r})
        toys = importlib.util.module_from_spec(spec); sys.modules["toys"] = toys; spec.loader.exec_module(toys)
        from medvistagym_core import Toolbox
        from medvistagym_core.rollouts import rollout
        from medvistagym_core.trajectories import TrajectoryWriter
        from medvistagym_core.rollouts import RandomPolicy
        toolbox = Toolbox({{"window": toys.window, "crop": toys.crop, "broken": toys.broken}})
        with TrajectoryWriter("t.jsonl", toolbox) as writer:
            for t in rollout(RandomPolicy(toolbox), toys.Quadrants(), toolbox, "test", range(10**6), batch=4, writer=writer):
                pass
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, stderr=subprocess.PIPE)
    path = tmp_path / "t.jsonl"
    while process.poll() is None and (not path.exists() or path.stat().st_size < 100_000):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert b"KeyboardInterrupt" in said
    before = [t.id for t in TrajectoryReader(path)]
    assert len(before) > 10
    with TrajectoryWriter(path, toolbox) as writer:
        assert writer.recorded_ids == set(before)


def test_an_episode_that_no_file_can_hold_costs_itself_and_is_not_played_again(task, toolbox, tmp_path):
    class Odd:
        def __getattr__(self, name):
            return getattr(task, name)

        def case(self, split, index, seed=0):
            case = task.case(split, index, seed)
            return dataclasses.replace(case, family="\ud800") if index == 1 else case

    states = []
    for again in (False, True):
        with TrajectoryWriter(tmp_path / "t.jsonl", toolbox) as writer:
            policy = Said(lambda o: "<answer>unclear</answer>")
            played = list(rollout(policy, Odd(), toolbox, "test", range(3), writer=writer, progress=states.append))
            assert [t.index for t in played] == ([] if again else [0, 2])
    assert "cannot be recorded" in states[0].reason
    assert (states[0].done, states[0].played, states[0].lost) == (3, 2, 1)
    assert [t.index for t in TrajectoryReader(tmp_path / "t.jsonl")] == [0, 2]


def test_an_image_that_cannot_be_shown_costs_its_own_episode(task, toolbox):
    class Odd:
        def __getattr__(self, name):
            return getattr(task, name)

        def case(self, split, index, seed=0):
            case = task.case(split, index, seed)
            if index == 1:
                object.__setattr__(case.images[0], "window", "none")
            return case

    played = list(rollout(Said(lambda o: "<answer>unclear</answer>"), Odd(), toolbox, "test", range(3)))
    assert [t.outcome.ended for t in played] == ["answered", "answered"]
