import dataclasses
import gc
import subprocess
import sys
import threading
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from medvistagym_core.environment import Answer, EpisodeConfig, Limits, MedVistaEnv, MedVistaVectorEnv
from medvistagym_core.execution import LocalExecutor
from medvistagym_core.protocol import TextProtocol
from medvistagym_core.rollouts import RandomPolicy

LOOK = '<tool_call>{"name": "window", "arguments": {"image": 0, "center": 1, "width": 10}}</tool_call>'
NEEDS_PROC = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="memory and open files are read from /proc"
)
SETTINGS = EpisodeConfig(limits=Limits(max_turns=3), view_side=16)


@pytest.fixture
def env(task, toolbox):
    with MedVistaEnv(task, toolbox, SETTINGS) as env:
        yield env


@pytest.mark.parametrize("render_mode", [None, "rgb_array", "ansi"])
@pytest.mark.filterwarnings("ignore:.*Not able to test alternative render modes.*")
def test_gymnasium_accepts_it(task, toolbox, render_mode):
    check_env(MedVistaEnv(task, toolbox, SETTINGS, render_mode=render_mode))


@pytest.mark.filterwarnings("ignore:.*The environment .* is different from the unwrapped version.*")
def test_gymnasium_makes_it(task, toolbox):
    gymnasium.register("medvistagym/Toy-v1", lambda **more: MedVistaEnv(task, toolbox, SETTINGS, **more))
    try:
        made = gymnasium.make("medvistagym/Toy-v1", render_mode="ansi")
        check_env(made.unwrapped)
        made.reset(seed=1)
        assert "Which quadrant" in made.render()
        made.close()
    finally:
        del gymnasium.registry["medvistagym/Toy-v1"]


def test_an_episode(env, task):
    seen, info = env.reset(seed=0, options={"split": "test", "index": 4})
    assert seen["text"].startswith("image 0:\nWhich quadrant is bright?")
    assert [image.shape for image in seen["images"]] == [(16, 16, 3)]
    assert info == {"case": "test-4-0", "turn": 0, "calls": 0, "error": ""}

    seen, reward, terminated, truncated, info = env.step(LOOK)
    assert seen["text"] == "image 1:"
    assert seen["images"][0].std() > 0
    assert (reward, terminated, truncated) == (0.0, False, False)
    seen, *_, info = env.step("hm")
    assert info["error"] == "malformed_call"
    assert seen["images"] == ()
    _, reward, terminated, truncated, info = env.step(f"<answer>{env.episode.case.answer.value}</answer>")
    assert (terminated, truncated) == (True, False)
    assert reward == pytest.approx(0.9)
    assert info["terms"]["right"] == 1
    with pytest.raises(RuntimeError, match="over"):
        env.step("more")


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize(
    "said", [LOOK, f"{LOOK}{LOOK}", LOOK.replace("window", "zap"), LOOK.replace("0,", "7,"), "hm", "<answer>x</answer>"]
)
def test_the_text_and_pictures_of_a_step_are_those_of_its_blocks(task, toolbox, compact, said):
    settings = dataclasses.replace(SETTINGS, compact=compact, protocol=TextProtocol(max_calls_per_turn=2))
    with MedVistaEnv(task, toolbox, settings) as env:
        env.reset(seed=0, options={"split": "test", "index": 4})
        seen, *_ = env.step(said)
        blocks = env.episode.new_blocks
        assert seen["text"] == "\n".join(block["text"] for block in blocks if block["type"] == "text")
        handles = [block["image"] for block in blocks if block["type"] == "image"]
        assert len(seen["images"]) == len(handles)
        for image, handle in zip(seen["images"], handles, strict=True):
            assert image is env.episode.rendered(handle).rgb


def test_running_out_of_turns_truncates(env):
    env.reset(seed=0)
    ends = [env.step("hm")[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]


def test_running_out_of_tokens_truncates(task, toolbox):
    settings = dataclasses.replace(SETTINGS, limits=Limits(max_tokens=2), count_tokens=len)
    vector = MedVistaVectorEnv(task, toolbox, 2, settings)
    vector.reset(seed=0)
    *_, terminated, truncated, _ = vector.step(("hm", "h"))
    assert truncated.tolist() == [True, False]
    assert not terminated.any()
    vector.close()


def test_misuse_is_refused(task, toolbox, env):
    with pytest.raises(RuntimeError, match="reset"):
        env.step("hm")
    env.reset()
    with pytest.raises(TypeError, match="not int"):
        env.step(3)
    for bad in ({"split": "dev"}, {"cases": 0}, {"render_mode": "human"}):
        with pytest.raises(ValueError, match=r"not|no split"):
            MedVistaEnv(task, toolbox, **bad)
    with pytest.raises(ValueError, match="num_envs"):
        MedVistaVectorEnv(task, toolbox, 0)


def test_nothing_seen_tells_the_answer(env, task):
    case = task.case
    task.case = lambda *a: dataclasses.replace(case(*a), answer=Answer("zxq"), truth="zxq")
    shown = [env.reset(seed=0), env.step(LOOK), env.step("hm"), env.step("<answer>upper left</answer>")]
    assert "zxq" not in repr(shown)
    assert env.episode.case.answer.value == "zxq"
    env.render_mode = "ansi"
    assert "zxq" not in env.render()


def test_nothing_seen_of_a_vector_tells_the_answer(task, toolbox):
    case = task.case
    task.case = lambda *a: dataclasses.replace(case(*a), answer=Answer("zxq"), truth="zxq")
    vector = MedVistaVectorEnv(task, toolbox, 2, SETTINGS)
    shown = [vector.reset(seed=0)]
    shown += [vector.step((said, said)) for said in (LOOK, "hm", "<answer>upper left</answer>", "")]
    assert "zxq" not in repr(shown)
    assert shown[3][4]["terms"]["right"].tolist() == [0, 0]
    vector.close()


def vectors(task, toolbox, n=5):
    ours = MedVistaVectorEnv(task, toolbox, n, SETTINGS)
    stock = SyncVectorEnv(
        [lambda: MedVistaEnv(task, toolbox, SETTINGS) for _ in range(n)], autoreset_mode=AutoresetMode.NEXT_STEP
    )
    return ours, stock


def equal(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return np.array_equal(a, b)


def test_the_vector_form_is_that_of_gymnasium(task, toolbox):
    ours, stock = vectors(task, toolbox)
    assert ours.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert ours.single_observation_space == stock.single_observation_space
    first, second = ours.reset(seed=3), stock.reset(seed=3)
    assert equal(first[0], second[0])
    assert equal(first[1], second[1])
    rng = np.random.default_rng(0)
    choices = [LOOK, "hm", "<answer>upper left</answer>", "<answer>unclear</answer>"]
    over = 0
    for _ in range(40):
        actions = tuple(choices[k] for k in rng.integers(4, size=5))
        mine, theirs = ours.step(actions), stock.step(actions)
        for a, b in zip(mine, theirs, strict=True):
            assert equal(a, b)
        assert mine[0] in ours.observation_space
        over += int(mine[2].sum() + mine[3].sum())
    assert over > 20
    ours.close()
    stock.close()


def test_calls_of_a_vector_run_together(task, toolbox, executor):
    class Counting:
        runs = 0

        def run(self, jobs):
            self.runs += 1
            return executor.run(jobs)

    counting = Counting()
    vector = MedVistaVectorEnv(task, toolbox, 8, SETTINGS, executor=counting)
    vector.reset(seed=0)
    vector.step((LOOK,) * 8)
    assert counting.runs == 1
    with pytest.raises(ValueError, match="8 environments, not 2 actions"):
        vector.step(("hm", "hm"))
    with pytest.raises(ValueError, match="8 environments, not 2 seeds"):
        vector.reset(seed=[0, 1])
    vector.close()


@pytest.mark.e2e
def test_many_episodes_leave_nothing_behind(task, toolbox, executor):
    vector = MedVistaVectorEnv(task, toolbox, 20, SETTINGS, executor=executor)
    policy = RandomPolicy(toolbox)
    vector.reset(seed=0)

    def play(steps):
        for _ in range(steps):
            vector.step(policy.act([episode.observation() for episode in vector.episodes]))
        gc.collect()
        return len(gc.get_objects()), threading.active_count()

    play(20)
    objects, threads = play(1)
    later, threads_later = play(60)
    assert later < objects * 1.05
    assert threads_later <= threads + 4  # the executor may still be starting its four workers
    vector.close()


def footprint():
    """Resident memory in MB, threads and open files of this process."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
    return resident, threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


@NEEDS_PROC
@pytest.mark.e2e
def test_two_thousand_episodes_leak_nothing(task, toolbox):
    cases = [task.case("train", index) for index in range(10)]
    task.case = lambda split, index, seed: cases[index]
    vector = MedVistaVectorEnv(task, toolbox, 50, SETTINGS, cases=10)
    vector.reset(seed=0)

    def play(episodes):
        for _ in range(episodes // 50):
            for said in (
                '<tool_call>{"name": "window", "arguments": {"image": 7}}</tool_call>',
                "<answer>x</answer>",
                "",
            ):
                vector.step((said,) * 50)
        gc.collect()
        return sys.getallocatedblocks(), threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    play(500)  # fills the caches
    blocks, threads, files = play(1000)
    later = play(1000)
    assert later[0] < blocks + 500  # an episode has a hundred
    assert later[1:] == (threads, files)
    vector.close()


@pytest.mark.slow
@NEEDS_PROC
def test_ten_thousand_episodes_leak_nothing(task, toolbox):
    executor = LocalExecutor(toolbox, workers=4, cache_bytes=2**20)
    vector = MedVistaVectorEnv(task, toolbox, 50, SETTINGS, executor=executor)
    vector.reset(seed=0)
    actions = [(LOOK,) * 50, ('<tool_call>{"name": "broken", "arguments": {"image": 0}}</tool_call>',) * 50]

    def play(episodes):
        done = 0
        while done < episodes:
            for said in (*actions, ("<answer>unclear</answer>",) * 50):
                _, _, ended, cut, _ = vector.step(said)
                done += int(ended.sum() + cut.sum())
        return footprint()

    memory, threads, files = play(2000)
    later = play(10_000)
    assert later[0] < memory + 20  # MB
    assert later[1] <= threads + 4  # the executor's workers start as they are needed
    assert later[2] == files
    vector.close()
    executor.close()


def test_environments_that_are_closed_leave_no_threads(task, toolbox):
    _, threads, files = footprint()
    for seed in range(20):
        with MedVistaEnv(task, toolbox, SETTINGS) as env:
            env.reset(seed=seed)
            env.step(LOOK)
    deadline = time.monotonic() + 5
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= threads
    assert footprint()[2] <= files


def test_an_observation_cannot_be_written_into(env):
    seen, _ = env.reset(seed=0)
    with pytest.raises(ValueError, match="read-only"):
        seen["images"][0][:] = 0


def test_the_core_is_light():
    code = """
import sys, medvistagym_core
from medvistagym_core import Episode
from medvistagym_core.rollouts import Policy, TransformersPolicy, rollout
from medvistagym_core.trajectories import Results
heavy = {"torch", "transformers", "gymnasium", "SimpleITK", "numpy", "PIL"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)
