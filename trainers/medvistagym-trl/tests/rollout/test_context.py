"""The context of a recipe: reward terms, graders and executors of plugins reach the episodes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from medvistagym_core.environment import Answer, Case
from medvistagym_core.environment.grading import Grade
from medvistagym_core.execution import ImageStore, LocalExecutor
from medvistagym_core.plugins import Registry, SelectionError
from medvistagym_core.tools import Toolbox, ToolCall, ToolResult
from medvistagym_trl._recipe import Recipe, RecipeError
from medvistagym_trl.rollout import make_rollout_context


class CountingExecutor(LocalExecutor):
    """Counts the calls that it runs."""

    calls = 0

    def run(self, jobs: Any) -> list[list[ToolResult]]:
        CountingExecutor.calls += sum(len(calls) for _, calls in jobs)
        return super().run(jobs)


def answered_bright(outcome: Any) -> float:
    """1 for an answer that says bright, right or not."""
    return float("bright" in outcome.turns[-1].text)


def make_remote_executor(toolbox: Toolbox, address: str, *, result_filter: Any = None) -> LocalExecutor:
    assert address == "10.0.0.1:6379"
    return LocalExecutor(toolbox, result_filter=result_filter)


def make_plain_executor(toolbox: Toolbox) -> LocalExecutor:
    return LocalExecutor(toolbox)


@pytest.fixture
def plugged(registry: Registry) -> Registry:
    registry.rewards["brightness"] = answered_bright
    registry.executors["counting"] = CountingExecutor
    registry.executors["remote"] = make_remote_executor
    registry.executors["plain"] = make_plain_executor
    return registry


def play(context: Any, index: int, answer: str) -> Any:
    episode = context.make_episode(index)
    calls = episode.submit_turn('<tool_call>{"name": "mirror", "arguments": {"image": 0}}</tool_call>')
    episode.submit_results(context.executor.run([(episode.store, calls)])[0])
    episode.submit_turn(f"<answer>{answer}</answer>")
    return episode


@pytest.mark.parametrize(
    ("reward", "total"),
    [
        ("scout,efficiency=0.2", 0.8),
        ("scout,efficiency=0.2,brightness=3", 3.8),
        ({"right": 1.0, "brightness": 0.5}, 1.5),
    ],
)
def test_a_plugins_reward_term_counts(
    plugged: Registry, recipe: Recipe, task: Any, toolbox: Toolbox, reward: object, total: float
) -> None:
    changed = recipe.with_overrides({"episode.reward": reward})
    context = make_rollout_context(changed, task, toolbox, plugged)
    bright = next(index for index in range(20) if task.case("train", index).answer.value == "bright")
    assert play(context, bright, "bright").score.total == pytest.approx(total)


def test_a_plugins_grader_compares_the_answers(registry: Registry, recipe: Recipe, task: Any, toolbox: Toolbox) -> None:
    class InitialsTask(type(task)):  # type: ignore[misc]
        """The toy task, whose answers are compared by their first letter."""

        def case(self, split: str, index: int, seed: int = 0) -> Case:
            case = super().case(split, index, seed)
            return dataclasses.replace(case, answer=Answer(case.answer.value, kind="initial"))

    registry.graders["initial"] = lambda answer, text, options: Grade(correct=text[:1] == answer.value[:1])
    context = make_rollout_context(recipe, InitialsTask(), toolbox, registry)
    right = context.make_episode(0).case.answer.value[0]
    assert play(context, 0, right).grade.correct
    assert not play(context, 0, "x").grade.correct


def test_a_plugins_executor_runs_the_calls(plugged: Registry, recipe: Recipe, task: Any, toolbox: Toolbox) -> None:
    context = make_rollout_context(recipe.with_overrides({"executor": "counting"}), task, toolbox, plugged)
    CountingExecutor.calls = 0
    assert play(context, 0, "bright").done
    assert CountingExecutor.calls == 1
    context.close()


def test_a_reward_term_that_there_is_not_is_refused_with_the_nearest(
    registry: Registry, recipe: Recipe, task: Any, toolbox: Toolbox
) -> None:
    changed = recipe.with_overrides({"episode.reward": "scout,eficiency=1"})
    with pytest.raises(
        RecipeError, match=r"episode\.reward: there is no reward term 'eficiency'; did you mean efficiency"
    ):
        make_rollout_context(changed, task, toolbox, registry)


def test_an_executor_that_there_is_not_is_refused(
    registry: Registry, recipe: Recipe, task: Any, toolbox: Toolbox
) -> None:
    with pytest.raises(SelectionError, match="no executor is called 'proces'; did you mean process"):
        make_rollout_context(recipe.with_overrides({"executor": "proces"}), task, toolbox, registry)


@pytest.mark.parametrize("executor", ["local", "counting", "remote:10.0.0.1:6379"])
def test_results_are_made_wrong_while_training_and_not_while_measuring(
    plugged: Registry, recipe: Recipe, task: Any, toolbox: Toolbox, executor: str
) -> None:
    wrong = recipe.with_overrides({"perturb": "rate=1,kinds=dropped,tools=shade", "executor": executor})
    context = make_rollout_context(wrong, task, toolbox, plugged)
    image = task.case("train", 0).images[0]
    call = ToolCall(name="shade", arguments={"image": 0, "box": [0, 0, 500, 500]})
    ((result,),) = context.executor.run([(ImageStore([image]), [call])])
    assert result.perturbation == "dropped"
    measured = context.as_measured("test")
    ((result,),) = measured.executor.run([(ImageStore([image]), [call])])
    assert (measured.split, result.perturbation, result.ok) == ("test", None, True)
    context.close()
    measured.close()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"perturb": "rate=2"}, "the recipe: perturb: rate=2: a rate lies between 0 and 1"),
        ({"perturb": "executor=process"}, "perturb has no executor of its own; set executor=process"),
        ({"perturb": "rate=1", "executor": "plain"}, "perturb needs an executor that can change results, .* not plain"),
    ],
)
def test_wrong_results_that_cannot_be_made_are_refused(
    plugged: Registry, recipe: Recipe, task: Any, toolbox: Toolbox, changes: dict[str, str], reason: str
) -> None:
    with pytest.raises(RecipeError, match=reason):
        make_rollout_context(recipe.with_overrides(changes), task, toolbox, plugged)
