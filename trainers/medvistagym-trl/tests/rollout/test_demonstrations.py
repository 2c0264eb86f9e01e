"""Demonstrations: what SFT shows to the policy, tools that the task never asks for included, kept as trajectories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medvistagym_core.tools import ToolCall
from medvistagym_core.trajectories import TrajectoryReader
from medvistagym_trl._recipe import RecipeError
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


@pytest.mark.parametrize(
    ("arguments", "calls", "message"),
    [
        ({"image": 0}, 3, "toy-train-0 makes more than the 2 calls that an episode may have"),
        (
            {"image": 0, "note": "x" * 100_000},
            1,
            "turn 1 of the script of toy-train-0 is refused: malformed_call: Your turn",
        ),
    ],
)
def test_a_script_that_shows_no_answer_is_refused_with_the_reason(
    context: Any, arguments: dict[str, Any], calls: int, message: str
) -> None:
    def play(case: Any, rng: Any) -> Any:
        for _ in range(calls):
            yield ToolCall(name="mirror", arguments=arguments)
        return case.answer.value

    with pytest.raises(RecipeError, match=message):
        run_demonstration(context, 0, play, 0)


def test_demonstrations_are_kept_as_a_trajectory_file_and_replaced(
    context: Any, task: Any, toolbox: Any, tmp_path: Path
) -> None:
    path = tmp_path / "demonstrations" / "demonstrations-sft.jsonl"
    for _ in range(2):
        write_demonstrations(context, exploring_demonstrator(task, toolbox, 1.0), "demonstrations", range(5), 0, path)
        kept = list(TrajectoryReader(path))
        assert [t.case for t in kept] == [f"toy-train-{k}" for k in range(5)]
        assert all(t.policy.name == "demonstrations" for t in kept)
