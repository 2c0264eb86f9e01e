"""Lessons: what SFT shows to the policy, kept as trajectories, strangers' tools included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medvistagym_core.trajectories import TrajectoryReader
from medvistagym_trl.lessons import act_out, exploring, write_lessons


def exploring_demonstrator(task: Any, toolbox: Any, share: float) -> Any:
    strangers = [toolbox["shade"].spec]
    return lambda case, rng: exploring(task.demonstrate(case, rng, 1.0), strangers, share, rng)


def test_an_exploring_demonstrator_tries_a_tool_first_and_goes_on_whatever_came_of_it(
    world: Any, task: Any, toolbox: Any
) -> None:
    for index in range(12):
        plain = act_out(world, index, exploring_demonstrator(task, toolbox, 0.0), 0)
        curious = act_out(world, index, exploring_demonstrator(task, toolbox, 1.0), 0)
        assert (plain.calls, curious.calls) == (1, 2)
        assert curious.outcome.turns[0].calls[0].name == "shade"
        assert curious.grade.correct


def test_lessons_are_kept_as_a_trajectory_file_and_replaced(
    world: Any, task: Any, toolbox: Any, tmp_path: Path
) -> None:
    path = tmp_path / "lessons" / "lessons-sft.jsonl"
    for _ in range(2):
        write_lessons(world, exploring_demonstrator(task, toolbox, 1.0), "lessons", range(5), 0, path)
        kept = list(TrajectoryReader(path))
        assert [t.case for t in kept] == [f"toy-train-{k}" for k in range(5)]
        assert all(t.policy.name == "lessons" for t in kept)
