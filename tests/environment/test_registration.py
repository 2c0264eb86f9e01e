import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from medvistagym_core import gym
from medvistagym_core.environment import MedVistaEnv, MedVistaVectorEnv
from medvistagym_core.plugins import LoadedPlugin, PluginReport, Registry, SelectionError

NAME = "medvistagym/quadrants-v1"


def brief(outcome):
    return -float(len(outcome.turns))


@pytest.fixture(autouse=True)
def installed(task, toolbox, monkeypatch):
    """One plugin with the toy task, its tools and a reward term, and nothing else."""
    report = PluginReport(name="toy", distribution="toy", version="0", state="loaded")
    tools = [tool.with_metadata(plugin="toy") for tool in toolbox.values()]
    registry = Registry([LoadedPlugin(report, {"tools": tools, "tasks": [task], "rewards": {"brief": brief}})])
    monkeypatch.setattr("medvistagym_core.environment._registration._registry", lambda plugins: registry)
    before = dict(gymnasium.registry)
    yield gym.register_environments()
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


def test_every_task_is_registered(installed):
    assert installed == (NAME,)
    assert gym.register_environments() == installed


@pytest.mark.filterwarnings("ignore:.*The environment .* is different from the unwrapped version.*")
@pytest.mark.filterwarnings("ignore:.*Not able to test alternative render modes.*")
def test_make(task):
    env = gymnasium.make(f"medvistagym_core.gym:{NAME}", tools="window", reward="paper,brief=0.1", render_mode="ansi")
    check_env(env.unwrapped)
    assert isinstance(env.unwrapped, MedVistaEnv)
    seen, info = env.reset(seed=1, options={"index": 0})
    assert "window" in seen["text"]
    assert "crop" not in seen["text"]
    *_, info = env.step("<answer>upper left</answer>")
    assert info["terms"]["brief"] == -1.0
    assert gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()).id == NAME
    env.close()


def test_make_vec():
    vector = gymnasium.make_vec(NAME, num_envs=3)
    assert isinstance(vector.unwrapped, MedVistaVectorEnv)
    assert vector.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    vector.reset(seed=0)
    answers = ("<answer>unclear</answer>",) * 3
    *_, ended, _, _ = vector.step(answers)
    assert ended.all()
    _, rewards, ended, cut, info = vector.step(answers)  # begins anew: the action is not read
    assert not ended.any()
    assert not cut.any()
    assert np.array_equal(rewards, np.zeros(3))
    assert np.array_equal(info["turn"], np.zeros(3, int))
    vector.close()


def test_what_is_not_there_is_said():
    with pytest.raises(SelectionError, match="no task matches"):
        gym.make(task="quadrant")
    with pytest.raises(SelectionError, match="no tool matches"):
        gymnasium.make(NAME, tools="zoom")
    with pytest.raises(ValueError, match="no reward term 'brevity'"):
        gymnasium.make(NAME, reward="scout,brevity=1")
    with pytest.raises(ValueError, match="term=number"):
        gymnasium.make(NAME, reward="scout,brief")


def test_registering_is_light():
    code = """
import sys, gymnasium, medvistagym_core.gym
spec = gymnasium.spec("medvistagym/scoutvqa-v1")
heavy = {"torch", "transformers", "SimpleITK", "pydicom", "medvistagym_core.environment._gym_env"} & set(sys.modules)
assert not heavy, heavy
assert spec.vector_entry_point.startswith("medvistagym_core.gym:")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
