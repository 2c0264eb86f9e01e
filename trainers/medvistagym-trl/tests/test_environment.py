"""The synthesised environment and the tool phase."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from transformers.utils import get_json_schema

from medvistagym_trl.environment import ToolEnvironment, environment_class
from medvistagym_trl.phase import ToolPhase

CALL = {"image": 0, "box": [250, 250, 500, 500]}


def tools(environment: ToolEnvironment) -> dict[str, Any]:
    """The tools as TRL finds them: public functions other than reset, in order of their attribute names."""
    found = inspect.getmembers(type(environment), predicate=inspect.isfunction)
    bound = [getattr(environment, name) for name, _ in found if not name.startswith("_") and name != "reset"]
    return {method.__name__: method for method in bound}


def says(name: str, **arguments: Any) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def test_tools_are_methods_in_the_order_of_the_toolbox(world: Any) -> None:
    environment = environment_class(world)()
    assert list(tools(environment)) == list(world.toolbox)
    schemas = [method.__json_schema__ for method in tools(environment).values()]
    assert schemas == world.toolbox.schemas("huggingface")


def test_transformers_can_read_the_signatures(world: Any) -> None:
    for method in tools(environment_class(world)()).values():
        schema = get_json_schema(method)["function"]
        exact = method.__json_schema__["function"]
        assert schema["name"] == exact["name"]
        assert list(schema["parameters"]["properties"]) == list(exact["parameters"]["properties"])
        assert schema["parameters"]["required"] == exact["parameters"]["required"]


def test_a_case_is_shown_and_a_tool_answers(world: Any) -> None:
    environment = environment_class(world)()
    shown = environment.reset(index=0)
    assert [block["type"] for block in shown] == ["image", "text"]
    assert tools(environment)["shade"](**CALL)[0]["text"] in {"mean 20", "mean 200"}
    assert tools(environment)["mirror"](image=0)[0]["type"] == "image"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"image": 7, "box": [0, 0, 500, 500]}, "bad_value"),
        ({"image": 0, "box": [500, 0, 0, 500]}, "bad"),
        ({"image": 0}, "bad_arguments"),
        ({"image": 0, "box": [0, 0, 500, 500], "self": 1}, "bad_arguments"),
        ({"image": 0, "box": [0, 0, 500, 500], "gain": -1}, "bad_value"),
    ],
)
def test_a_bad_call_is_an_observation(world: Any, arguments: dict[str, Any], code: str) -> None:
    environment = environment_class(world)()
    environment.reset(index=0)
    blocks = tools(environment)["shade"](**arguments)
    assert blocks[0]["text"].startswith(code)


def test_all_waiting_rollouts_are_served_by_one_run(world: Any) -> None:
    rollouts = [environment_class(world)().rollout for _ in range(4)]
    for index, rollout in enumerate(rollouts):
        rollout.open(index // 2)
    completions = [[says("shade", **CALL)] for _ in rollouts]
    runs: list[int] = []

    def run(jobs: Any) -> Any:
        runs.append(len(jobs))
        return world.executor.run(jobs)

    phase = ToolPhase(rollouts, completions, run)
    answers = [phase.result(rollout, "shade", CALL) for rollout in rollouts]
    assert runs == [4]
    assert phase.missed == 0
    assert answers[0] == answers[1]


def test_two_equal_calls_in_one_message_get_a_result_each(world: Any) -> None:
    rollout = environment_class(world)().rollout
    rollout.open(0)
    message = says("shade", **CALL)
    message["tool_calls"] *= 2
    phase = ToolPhase([rollout], [[message]], world.executor.run)
    first, second = (phase.result(rollout, "shade", CALL) for _ in range(2))
    assert phase.missed == 0  # more calls than the protocol allows: the turn is refused as a whole
    assert first == second == [{"type": "text", "text": "malformed_call"}]


def test_calls_outside_the_loop_are_counted(world: Any) -> None:
    rollout = environment_class(world)().rollout
    rollout.open(0)
    phase = ToolPhase([rollout], [[{"role": "assistant", "content": "no call"}]], world.executor.run)
    assert phase.result(rollout, "shade", CALL)[0]["text"].startswith("mean")
    assert phase.missed == 1


def test_a_rollout_closes_with_its_answer(world: Any) -> None:
    rollout = environment_class(world)().rollout
    rollout.open(0)
    right = rollout.episode.case.answer.value
    phase = ToolPhase([rollout], [[says("shade", **CALL)]], world.executor.run)
    phase.result(rollout, "shade", CALL)
    episode = rollout.close({"role": "assistant", "content": f"<answer>{right}</answer>"})
    assert episode.grade.correct
    assert episode.score.total == pytest.approx(0.8)


def test_a_rollout_cut_short_earns_no_answer(world: Any) -> None:
    rollout = environment_class(world)().rollout
    rollout.open(0)
    episode = rollout.close(says("shade", **CALL))
    assert episode.score.total == pytest.approx(-0.5)


def test_the_trainer_says_which_schemas_it_renders(toolbox: Any) -> None:
    from medvistagym_trl.trainer import TrlTrainer

    assert TrlTrainer().tool_schemas(toolbox) == toolbox.schemas("huggingface")
