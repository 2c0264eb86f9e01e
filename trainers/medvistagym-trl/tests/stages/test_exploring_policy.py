"""Exploration: which calls are tried, what is read of them, and that nothing of the truth is needed."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import numpy as np
import pytest
from pydantic import Field

from medvistagym_core import Image, tool
from medvistagym_core.rollouts import OraclePolicy, Policy, rollout
from medvistagym_core.tools import Toolbox
from medvistagym_trl.stages import ExploringPolicy
from medvistagym_trl.stages._exploring_policy import spread_scales

READER = {"temperature": 1.0, "max_tokens": 8, "seed": 0}


class Reader:
    """A model that says one thing, and remembers what it was asked."""

    name = "reader"
    sampling = READER

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers, self.asked = answers, []

    def act(self, observations: Any) -> list[str]:
        asked = [observation.messages[-1]["content"] for observation in observations]
        self.asked += asked
        return [self._answer(blocks[-1]["text"]) for blocks in asked]

    def _answer(self, question: str) -> str:
        return f"<answer>{next((a for q, a in self.answers.items() if question.startswith(q)), 'unclear')}</answer>"


class Unanswering(Reader):
    """A model whose turns hold no answer."""

    def _answer(self, question: str) -> str:
        return "I see a square."


class AimedTask:
    """The toy task, with a perception question about where to measure."""

    def __init__(self, task: Any) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def argument_questions(self, tool: str) -> tuple[str, ...]:
        return ("Where is the square?",) if tool == "shade" else ()


def play(context: Any, task: Any, reader: Reader, cases: int = 60, **options: Any) -> list[Any]:
    policy = ExploringPolicy(reader, context, task, seed=0, **options)  # type: ignore[arg-type]  # a reader is all it needs
    assert isinstance(policy, Policy)
    assert not isinstance(policy, OraclePolicy)
    return list(rollout(policy, task, context.toolbox, "train", range(cases), context.config))


def test_tools_and_numbers_of_calls_are_drawn_whatever_the_question(context: Any, task: Any) -> None:
    episodes = play(context, task, Reader({}))
    assert set(Counter(episode.calls for episode in episodes)) == {0, 1, 2}
    names = Counter(call.name for episode in episodes for turn in episode.turns for call in turn.calls)
    assert min(names["shade"], names["mirror"]) > 0.3 * names.total()
    assert names.total() == sum(episode.calls for episode in episodes)


def test_calls_are_aimed_by_what_the_model_sees(context: Any, task: Any) -> None:
    episodes = play(context, AimedTask(task), Reader({"Where is the square?": "[250, 250, 500, 500]"}))
    boxes = [
        call.arguments["box"]
        for episode in episodes
        for turn in episode.turns
        for call in turn.calls
        if call.name == "shade"
    ]
    assert boxes
    assert all(box == [250, 250, 500, 500] for box in boxes)


@pytest.mark.parametrize("answer", ["unclear", "[1, 2", "3", '"box"'])
def test_an_answer_that_is_no_arguments_leaves_them_to_chance(answer: str, context: Any, task: Any) -> None:
    episodes = play(context, AimedTask(task), Reader({"Where is the square?": answer}), cases=30)
    calls = [call for episode in episodes for turn in episode.turns for call in turn.calls if call.name == "shade"]
    assert len({str(call.arguments) for call in calls}) > 5


class Wavering(Reader):
    """A model that says one place three times, then another, then the first again."""

    def _answer(self, question: str) -> str:
        if not question.startswith("Where is the square?"):
            return super()._answer(question)
        return f"<answer>{'[500, 500, 750, 750]' if len(self.asked) % 4 == 0 else '[250, 250, 500, 500]'}</answer>"


def test_an_aim_that_an_episode_had_before_is_asked_for_again(context: Any, task: Any) -> None:
    twice = 0
    for case in range(40):
        policy = ExploringPolicy(Wavering({}), context, AimedTask(task), seed=case)  # type: ignore[arg-type]
        (episode,) = rollout(policy, AimedTask(task), context.toolbox, "train", [case], context.config)
        boxes = [str(call.arguments["box"]) for turn in episode.turns for call in turn.calls if call.name == "shade"]
        twice += len(boxes) == 2
        assert len(set(boxes)) == len(boxes)
    assert twice


def test_aimed_calls_go_to_the_newest_picture_more_often_than_to_others(context: Any, task: Any) -> None:
    reader = Reader({"Where is the square?": "[250, 250, 500, 500]"})
    images = [
        call.arguments["image"]
        for episode in play(context, AimedTask(task), reader, cases=400)
        for before, turn in zip(episode.turns, episode.turns[1:], strict=False)
        for call in turn.calls
        if call.name == "shade" and before.calls[0].name == "mirror"
    ]
    assert len(images) > 20
    assert 0.55 < sum(image == 1 for image in images) / len(images) < 0.95


def test_the_reader_is_asked_about_what_came_last(context: Any, task: Any) -> None:
    reader = Reader({"Is the square dark or bright? mean": "bright", "Is the square dark or bright?": "dark"})
    for episode in play(context, task, reader):
        results = [turn.calls[0] for turn in episode.turns if turn.calls]
        measured = bool(results) and results[-1].name == "shade" and results[-1].error is None
        if not (results and results[-1].error):
            assert episode.outcome.answer == ("bright" if measured else "dark")
    shapes = {tuple(block["type"] for block in blocks) for blocks in reader.asked}
    assert shapes == {("image", "text"), ("text",)}


@pytest.mark.parametrize("said", ["unclear", "Unclear.", "no answer at all"])
def test_an_episode_goes_on_for_as_long_as_the_model_cannot_tell(said: str, context: Any, task: Any) -> None:
    reader = Unanswering({}) if said == "no answer at all" else Reader({"Is the square": said})
    episodes = play(context, task, reader, cases=30, while_unclear=True)
    assert {episode.calls for episode in episodes} == {context.config.limits.max_calls}
    names = Counter(call.name for episode in episodes for turn in episode.turns for call in turn.calls)
    assert set(names) == {"shade", "mirror"}


def test_an_episode_ends_as_soon_as_the_model_can_tell(context: Any, task: Any) -> None:
    at_once = play(context, task, Reader({"Is the square": "dark"}), while_unclear=True)
    assert {(episode.calls, episode.outcome.answer) for episode in at_once} == {(0, "dark")}
    after_measuring = play(context, task, Reader({"Is the square dark or bright? mean": "bright"}), while_unclear=True)
    for episode in after_measuring:
        *before, last = [turn.calls[0] for turn in episode.turns if turn.calls]
        told = last.name == "shade" and last.error is None
        assert episode.outcome.answer == ("bright" if told else "unclear")
        assert not any(call.name == "shade" and call.error is None for call in before)
    assert {episode.calls for episode in after_measuring} == {1, 2}


def test_scales_are_spread_around_what_the_model_says() -> None:
    @tool
    def show(
        image: Image, center: float, width: Annotated[float, Field(gt=0)], steps: Annotated[int, Field(ge=1)]
    ) -> str:
        """Show an image otherwise.

        Args:
            image: The image.
            center: May be negative.
            width: May not.
            steps: Whole.
        """
        return ""

    rng, aimed = np.random.default_rng(0), {"center": -700, "width": 20.0, "steps": 1}
    spec = Toolbox({"show": show}).specs[0]
    drawn = [spread_scales(aimed, spec, 2.0, rng) for _ in range(60)]
    assert {each["center"] for each in drawn} == {-700}
    assert {each["width"] for each in drawn} == {10.0, 20.0, 40.0}
    assert {each["steps"] for each in drawn} == {1, 2}
    assert aimed == {"center": -700, "width": 20.0, "steps": 1}


def test_the_same_seed_tries_the_same(context: Any, task: Any) -> None:
    said = [[turn.text for episode in play(context, task, Reader({}), 20) for turn in episode.turns] for _ in range(2)]
    assert said[0] == said[1]
