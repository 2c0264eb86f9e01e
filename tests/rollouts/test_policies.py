from typing import Annotated, Literal

import numpy as np
import pytest
from pydantic import BaseModel, Field

from medvistagym_core.environment import Episode, step_episodes
from medvistagym_core.imaging import Box, Image
from medvistagym_core.protocol import TextProtocol
from medvistagym_core.rollouts import (
    DemonstrationPolicy,
    ExpertPolicy,
    OraclePolicy,
    Policy,
    RandomPolicy,
    sample_arguments,
)
from medvistagym_core.tools import Toolbox, tool


class Part(BaseModel):
    name: str = Field(min_length=3, max_length=7)
    share: float = Field(ge=0, le=1)


@tool
def everything(
    image: Image,
    others: list[Image],
    box: Box,
    preset: Literal["lung", "bone"],
    count: Annotated[int, Field(ge=3, le=4)],
    even: Annotated[int, Field(ge=1, lt=9, multiple_of=2)],
    below: Annotated[int, Field(lt=0)],
    share: Annotated[float, Field(gt=0, lt=1)],
    part: Part,
    points: Annotated[list[float], Field(min_length=2, max_length=3)],
    shift: float | None = None,
    flip: bool = False,
    either: int | str = 0,
    free: str = "",
) -> str:
    """Take every kind of argument.

    Args:
        image: An image.
        others: More images.
        box: A box.
        preset: A preset.
        count: A count.
        even: An even number.
        below: A negative number.
        share: A share.
        part: A part.
        points: Some points.
        shift: A shift.
        flip: Whether to flip.
        either: A number or a text.
        free: Any text.
    """
    return "ok"


def play(policy, episodes, executor):
    for episode in episodes:
        if isinstance(policy, OraclePolicy):
            policy.observe_case(episode.case, episode.policy_state)
    live = list(episodes)
    while live:
        step_episodes(executor, live, policy.act([e.observation() for e in live]))
        live = [e for e in live if not e.done]
    return episodes


def cases(task, toolbox, n=12, **settings):
    return [Episode.from_task(task, "test", k, toolbox, **settings) for k in range(n)]


def test_the_expert_solves_its_task(task, toolbox, executor):
    policy = ExpertPolicy(task)
    assert isinstance(policy, Policy)
    assert not isinstance(policy, OraclePolicy)
    played = play(policy, cases(task, toolbox), executor)
    assert all(e.grade.correct for e in played)
    assert [e.calls for e in played] == [1, 0] * 6
    assert all(t.well_formed for e in played for t in e.outcome.turns)


def test_scripts_think_where_they_must(task, toolbox, executor):
    protocol = TextProtocol("required")
    played = play(ExpertPolicy(task, protocol), cases(task, toolbox, protocol=protocol), executor)
    assert all(e.grade.correct and e.outcome.turns[0].reasoning for e in played)


def test_demonstrations_have_a_skill(task, toolbox, executor):
    for skill, informed in ((1.0, 1.0), (0.0, 0.0)):
        played = play(DemonstrationPolicy(task, skill), cases(task, toolbox, 8), executor)[::2]
        assert np.mean([e.outcome.had_required_information for e in played]) == informed
        assert np.mean([e.grade.abstained for e in played]) == 1 - informed
    first = play(DemonstrationPolicy(task, 0.5, seed=1), cases(task, toolbox, 20), executor)
    again = play(DemonstrationPolicy(task, 0.5, seed=1), cases(task, toolbox, 20), executor)
    other = play(DemonstrationPolicy(task, 0.5, seed=2), cases(task, toolbox, 20), executor)
    said = [[t.text for e in run for t in e.outcome.turns] for run in (first, again, other)]
    assert said[0] == said[1] != said[2]


def test_tasks_that_cannot_are_refused(task):
    for make in (ExpertPolicy, lambda t: DemonstrationPolicy(t, 0.5)):
        with pytest.raises(TypeError, match="has no"):
            make(object())
    with pytest.raises(ValueError, match=r"not 1.5"):
        DemonstrationPolicy(task, 1.5)


def test_a_script_that_breaks_breaks_alone(task, toolbox):
    def expert(question, images, rng):
        raise KeyError("lost")
        yield

    task.expert = expert
    (said,) = ExpertPolicy(task).act([cases(task, toolbox, 1)[0].observation()])
    assert isinstance(said, KeyError)


def test_random_turns_conform_and_repeat_by_seed(task, toolbox, executor):
    policy = RandomPolicy(toolbox, seed=3)
    played = play(policy, cases(task, toolbox, 40), executor)
    texts = [[t.text for t in e.outcome.turns] for e in played]
    assert texts == [[t.text for t in e.outcome.turns] for e in play(policy, cases(task, toolbox, 40), executor)]
    assert texts != [
        [t.text for t in e.outcome.turns] for e in play(RandomPolicy(toolbox), cases(task, toolbox, 40), executor)
    ]
    assert all(t.well_formed for e in played for t in e.outcome.turns)
    assert {c.name for e in played for t in e.outcome.turns for c in t.calls} == {"window", "crop", "broken"}
    codes = {r.error.code for e in played for results in e.outcome.results for r in results if r.error}
    assert codes <= {"tool_failed", "bad_value", "budget_exhausted"}
    assert 0 < np.mean([e.grade.correct for e in played]) < 0.6


def test_without_tools_a_random_policy_answers(task, executor):
    episodes = cases(task, Toolbox({}), 6)
    played = play(RandomPolicy(Toolbox({})), episodes, executor)
    assert all(e.termination == "answered" and not e.calls for e in played)


def test_random_arguments_are_those_of_the_schema():
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        arguments = sample_arguments(everything.spec.parameters, everything.spec.images, 3, rng)
        everything.validate(arguments)
        seen |= arguments.keys()
        assert arguments["image"] in (0, 1, 2)
    assert seen == set(everything.spec.parameters["properties"])
