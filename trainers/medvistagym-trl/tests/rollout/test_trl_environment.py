"""The synthesised environment and the tool calls."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from transformers.utils import get_json_schema

from medvistagym_trl.rollout import BatchedToolCalls, ToolEnvironment, make_environment_class

CALL = {"image": 0, "box": [250, 250, 500, 500]}


def tools(environment: ToolEnvironment) -> dict[str, Any]:
    """The tools as TRL finds them: public functions other than reset, in order of their attribute names."""
    found = inspect.getmembers(type(environment), predicate=inspect.isfunction)
    bound = [getattr(environment, name) for name, _ in found if not name.startswith("_") and name != "reset"]
    return {method.__name__: method for method in bound}


def says(name: str, **arguments: Any) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def test_tools_are_methods_in_the_order_of_the_toolbox(context: Any) -> None:
    environment = make_environment_class(context)()
    assert list(tools(environment)) == list(context.toolbox)
    schemas = [method.__json_schema__ for method in tools(environment).values()]
    assert schemas == context.toolbox.schemas("huggingface")


def test_transformers_can_read_the_signatures(context: Any) -> None:
    for method in tools(make_environment_class(context)()).values():
        schema = get_json_schema(method)["function"]
        exact = method.__json_schema__["function"]
        assert schema["name"] == exact["name"]
        assert list(schema["parameters"]["properties"]) == list(exact["parameters"]["properties"])
        assert schema["parameters"]["required"] == exact["parameters"]["required"]


def test_a_case_is_shown_and_a_tool_answers(context: Any) -> None:
    environment = make_environment_class(context)()
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
def test_a_bad_call_is_an_observation(context: Any, arguments: dict[str, Any], code: str) -> None:
    environment = make_environment_class(context)()
    environment.reset(index=0)
    blocks = tools(environment)["shade"](**arguments)
    assert blocks[0]["text"].startswith(code)


def test_all_waiting_rollouts_are_served_by_one_run(context: Any) -> None:
    adapters = [make_environment_class(context)().adapter for _ in range(4)]
    for index, adapter in enumerate(adapters):
        adapter.reset(index // 2)
    completions = [[says("shade", **CALL)] for _ in adapters]
    runs: list[int] = []

    def run(jobs: Any) -> Any:
        runs.append(len(jobs))
        return context.executor.run(jobs)

    calls = BatchedToolCalls(adapters, completions, run)
    answers = [calls.result(adapter, "shade", CALL) for adapter in adapters]
    assert runs == [4]
    assert calls.unbatched_calls == 0
    assert answers[0] == answers[1]


def test_two_equal_calls_in_one_message_get_a_result_each(context: Any) -> None:
    adapter = make_environment_class(context)().adapter
    adapter.reset(0)
    message = says("shade", **CALL)
    message["tool_calls"] *= 2
    calls = BatchedToolCalls([adapter], [[message]], context.executor.run)
    first, second = (calls.result(adapter, "shade", CALL) for _ in range(2))
    assert calls.unbatched_calls == 0  # more calls than the protocol allows: the turn is refused as a whole
    assert first == second == [{"type": "text", "text": "malformed_call"}]


def test_calls_outside_the_loop_are_counted(context: Any) -> None:
    adapter = make_environment_class(context)().adapter
    adapter.reset(0)
    calls = BatchedToolCalls([adapter], [[{"role": "assistant", "content": "no call"}]], context.executor.run)
    assert calls.result(adapter, "shade", CALL)[0]["text"].startswith("mean")
    assert calls.unbatched_calls == 1


def test_a_rollout_closes_with_its_answer(context: Any) -> None:
    adapter = make_environment_class(context)().adapter
    adapter.reset(0)
    right = adapter.episode.case.answer.value
    calls = BatchedToolCalls([adapter], [[says("shade", **CALL)]], context.executor.run)
    calls.result(adapter, "shade", CALL)
    answer = {"role": "assistant", "content": f"<answer>{right}</answer>"}
    episode = adapter.finish([says("shade", **CALL), {"role": "tool", "name": "shade"}, answer])
    assert episode.grade.correct
    assert episode.score.total == pytest.approx(0.8)


def test_a_rollout_cut_short_earns_no_answer(context: Any) -> None:
    adapter = make_environment_class(context)().adapter
    adapter.reset(0)
    episode = adapter.finish([says("shade", **CALL)])
    assert episode.score.total == pytest.approx(-0.5)


def test_a_result_that_is_taken_back_ends_the_episode_with_the_reason_on_record(context: Any) -> None:
    adapter = make_environment_class(context)().adapter
    adapter.reset(0)
    chat = [says("shade", **CALL)]
    adapter.tool_calls = BatchedToolCalls([adapter], [chat], context.executor.run)
    assert adapter.call("shade", CALL)[0]["text"].startswith("mean")
    trajectory = adapter.finish(chat).to_trajectory()  # TRL has removed the result from the chat again
    assert adapter.lost_result
    assert trajectory.outcome.ended == "tokens"
    assert "did not fit into the completion" in str(trajectory.outcome.reason)
    adapter.reset(1)
    assert not adapter.lost_result


def test_the_trainer_says_which_schemas_it_renders(toolbox: Any) -> None:
    from medvistagym_trl import TrlTrainer

    assert TrlTrainer().tool_schemas(toolbox) == toolbox.schemas("huggingface")
