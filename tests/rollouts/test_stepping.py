"""Policies that act on several observations independently: no episode waits for the slowest."""

from __future__ import annotations

import threading

import pytest

from medvistagym_core.rollouts import ConcurrentPolicy, PolicyUnavailableError, rollout


class Independent:
    """Acts on one observation at a time, by a function of it."""

    name = "independent"
    sampling: dict = {}  # noqa: RUF012

    def __init__(self, act, concurrency=8):
        self.act_one, self.concurrency = act, concurrency
        self.stopped = 0

    def act(self, observations):
        return [self.act_one(o) for o in observations]

    def stop(self):
        self.stopped += 1


ANSWER = "<answer>unclear</answer>"


def test_no_episode_waits_for_the_slowest(task, toolbox):
    others = threading.Semaphore(0)

    def act(observation):
        if observation.id == "test-0-0":  # answers only after all others are through
            for _ in range(9):
                assert others.acquire(timeout=20)
            return ANSWER
        if observation.num_turns == 0:
            return "hm"
        others.release()
        return ANSWER

    policy = Independent(act)
    assert isinstance(policy, ConcurrentPolicy)
    played = list(rollout(policy, task, toolbox, "test", range(10), batch=3))
    assert {t.outcome.ended for t in played} == {"answered"}
    assert len(played) == 10


def test_no_more_are_asked_at_once_than_it_can(task, toolbox):
    lock, busy, most = threading.Lock(), 0, 0
    both = threading.Barrier(2)

    def act(observation):
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        both.wait(timeout=20)
        with lock:
            busy -= 1
        return ANSWER

    assert len(list(rollout(Independent(act, 2), task, toolbox, "test", range(6)))) == 6
    assert most == 2


def test_an_error_costs_its_own_episode(task, toolbox):
    def act(observation):
        if observation.id.startswith("test-3"):
            raise RuntimeError("refused")
        return ANSWER if observation.id != "test-4-0" else 7

    played = {t.case: t.outcome for t in rollout(Independent(act), task, toolbox, "test", range(6))}
    assert played["test-3-0"].ended == "policy_failed"
    assert played["test-3-0"].reason == "RuntimeError: refused"
    assert played["test-4-0"].reason == "it wrote int, not text"
    assert sum(outcome.ended == "answered" for outcome in played.values()) == 4


def test_a_policy_that_cannot_act_at_all_ends_the_run(task, toolbox):
    def act(observation):
        raise PolicyUnavailableError("nobody there")

    with pytest.raises(PolicyUnavailableError, match="nobody there"):
        list(rollout(Independent(act), task, toolbox, "test", range(6), batch=4))


def test_an_outage_that_passes_ends_only_the_episodes_that_met_it(task, toolbox):
    first = threading.Event()

    def act(observation):
        if observation.id == "test-0-0":
            first.set()
            raise PolicyUnavailableError("nobody there")
        assert first.wait(timeout=20)
        return ANSWER if observation.num_turns else "hm"

    played = {t.case: t.outcome.ended for t in rollout(Independent(act), task, toolbox, "test", range(4), batch=2)}
    assert played == {
        "test-0-0": "policy_failed",
        "test-1-0": "answered",
        "test-2-0": "answered",
        "test-3-0": "answered",
    }


def test_a_rollout_that_is_left_stops_what_is_being_asked(task, toolbox):
    released = threading.Event()

    def act(observation):
        if observation.id != "test-0-0":
            released.wait(timeout=20)
        return ANSWER

    policy = Independent(act)
    running = rollout(policy, task, toolbox, "test", range(4))
    assert next(running).case == "test-0-0"
    running.close()
    released.set()
    assert policy.stopped == 1
