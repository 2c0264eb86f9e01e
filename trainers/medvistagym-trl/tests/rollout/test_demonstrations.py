"""Demonstrations: what SFT shows to the policy, tools that the task never asks for included, kept as trajectories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medvistagym_core.trajectories import TrajectoryReader
from medvistagym_trl.rollout import run_demonstration, with_random_first_call, write_demonstrations


def exploring_demonstrator(task: Any, toolbox: Any, share: float) -> Any:
    strangers = [toolbox["shade"].spec]
    return lambda case, rng: with_random_first_call(task.demonstrate(case, rng, 1.0), strangers, share, rng)


def test_an_exploring_demonstrator_tries_a_tool_first_and_goes_on_whatever_came_of_it(
    context: Any, task: Any, toolbox: Any
) -> None:
    for index in range(12):
        plain = run_demonstration(context, index, exploring_demonstrator(task, toolbox, 0.0), 0)
        curious = run_demonstration(context, index, exploring_demonstrator(task, toolbox, 1.0), 0)
        assert (plain.calls, curious.calls) == (1, 2)
        assert curious.outcome.turns[0].calls[0].name == "shade"
        assert curious.grade.correct


def test_demonstrations_are_kept_as_a_trajectory_file_and_replaced(
    context: Any, task: Any, toolbox: Any, tmp_path: Path
) -> None:
    path = tmp_path / "demonstrations" / "demonstrations-sft.jsonl"
    for _ in range(2):
        write_demonstrations(context, exploring_demonstrator(task, toolbox, 1.0), "demonstrations", range(5), 0, path)
        kept = list(TrajectoryReader(path))
        assert [t.case for t in kept] == [f"toy-train-{k}" for k in range(5)]
        assert all(t.policy.name == "demonstrations" for t in kept)
