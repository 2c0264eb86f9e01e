"""A policy that tries tools and reads what they return: where trajectories come from when nobody demonstrates.

It does not know which tool a question needs: which tools it calls is drawn. How many calls it makes is drawn too, or it goes on
for as long as the model cannot tell. A call is aimed at something that the model sees, whatever the question is, if the task
has a perception question for that tool; its scales may be spread around what the model says. Half of the aimed calls go to the
newest picture, the others to any; an aim that the episode had before is asked for again. Without such a question the arguments
are drawn as well. Then the model, as it is after its warm-up, is asked the question, with what the last call returned in place
of the opening picture. What it answers right is kept by whoever records the episodes (rejection sampling), lucky guesses and
superfluous calls included.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from medvistagym_core.environment import HasArgumentQuestions, Observation, Task
from medvistagym_core.environment.grading import answer_key
from medvistagym_core.imaging import Image
from medvistagym_core.protocol import Message
from medvistagym_core.rollouts import sample_arguments
from medvistagym_core.tools import ToolCall, ToolSpec, is_box_schema
from medvistagym_core.trajectories import SamplingParams
from medvistagym_trl.model import chat_message
from medvistagym_trl.stages._sampling_policy import SamplingPolicy

if TYPE_CHECKING:
    from medvistagym_trl.rollout import RolloutContext

_REPEATED_AIMS: Final = 3
"""How often the model is asked again at most, where it aims as the episode has aimed before."""
_NEWEST: Final = 0.5
"""Share of the aimed calls that go to the newest picture whatever else there is."""


@dataclasses.dataclass
class _Aim:
    """A call whose arguments the model is asked for."""

    spec: ToolSpec
    image: int
    question: str


class ExploringPolicy:
    """Makes calls of any tool, and answers with a model that reads the last result.

    Args:
        model: Answers one question about one picture or one text.
        context: Tools, prompt, and the most calls of an episode.
        task: Its `argument_questions`, where it has them, aim calls.
        seed: Of the calls.
        spread: Aimed numbers that are above 0 by their schema, such as a width, are divided by it, kept or multiplied by it,
            each as often; 1 leaves them as the model says them.
        while_unclear: An episode goes on while the model answers what came last with the task's abstention, as long as calls
            are left; otherwise how many calls it makes is drawn.
    """

    name = "exploring sampler"

    def __init__(
        self,
        model: SamplingPolicy,
        context: RolloutContext,
        task: Task,
        *,
        seed: int,
        spread: float = 1.0,
        while_unclear: bool = False,
    ) -> None:
        self._model, self._context, self._task, self._seed, self._spread = model, context, task, seed, spread
        self._while_unclear = while_unclear
        self.sampling: SamplingParams = {**model.sampling, "seed": seed}

    def act(self, observations: Sequence[Observation]) -> Sequence[str | Exception]:
        """A call or an answer: once an episode has as many calls as were drawn for it, or once the model can tell."""
        plans = [self._plan(observation) for observation in observations]
        calling = [row for row, plan in enumerate(plans) if plan is not None]
        turns = self._tell({row: observations[row] for row in calling}) if self._while_unclear else {}
        plans = [None if row in turns else plan for row, plan in enumerate(plans)]
        aims = {row: plan for row, plan in enumerate(plans) if not isinstance(plan, ToolCall) and row not in turns}
        looks = {
            row: dataclasses.replace(observations[row], messages=self._look(observations[row], aim))
            for row, aim in aims.items()
        }
        asked = list(aims)
        for _ in range(1 + _REPEATED_AIMS):
            turns |= zip(asked, self._model.act([looks[row] for row in asked]) if asked else (), strict=True)
            asked = [row for row in asked if self._is_repeated(observations[row], aims[row], turns[row])]
        return [
            self._write(plan) if isinstance(plan, ToolCall) else self._finish(observations[row], plan, turns[row])
            for row, plan in enumerate(plans)
        ]

    def _tell(self, observations: Mapping[int, Observation]) -> dict[int, str | Exception]:
        """The answers of those episodes in which the model can tell from what came last."""
        looks = [dataclasses.replace(each, messages=self._look(each, None)) for each in observations.values()]
        turns = self._model.act(looks) if looks else ()
        return {row: turn for row, turn in zip(observations, turns, strict=True) if not self._is_unclear(turn)}

    def _is_unclear(self, turn: str | Exception) -> bool:
        """Whether a turn is the task's way of saying that it cannot tell, or no answer."""
        if isinstance(turn, Exception):
            return False
        answer, abstention = self._context.config.protocol.parse(turn).answer, self._task.abstention
        return answer is None or (abstention is not None and answer_key(answer) == answer_key(abstention))

    def _plan(self, observation: Observation) -> ToolCall | _Aim | None:
        """A call with drawn arguments, one that is to be aimed, or None for an answer."""
        specs, memory = self._context.toolbox.specs, observation.policy_state
        if "calls" not in memory:
            rng = memory["rng"] = np.random.default_rng([self._seed, observation.seed])
            memory["aims"] = []
            most = self._context.config.limits.max_calls if specs else 0
            memory["calls"] = most if self._while_unclear else int(rng.integers(most + 1))
        if observation.num_turns >= memory["calls"]:
            return None
        rng = memory["rng"]
        spec = specs[int(rng.integers(len(specs)))]
        questions = self._task.argument_questions(spec.name) if isinstance(self._task, HasArgumentQuestions) else ()
        if not questions or not spec.images:
            return self._draw(spec, observation)
        newest = len(observation.images) - 1
        image = newest if rng.random() < _NEWEST else int(rng.integers(newest + 1))
        return _Aim(spec, image, questions[int(rng.integers(len(questions)))])

    def _look(self, observation: Observation, aim: _Aim | None) -> tuple[Message, ...]:
        """A question about one picture, or about a result's text, as a perception item asks it."""
        if aim is not None:
            return self._ask(aim.question, observation.images[aim.image])
        last = observation.results[-1] if observation.results else None
        if last is not None and not last.images:
            return self._ask(f"{observation.question} {last.text}", None)
        return self._ask(observation.question, observation.images[-1] if observation.images else None)

    def _ask(self, question: str, image: Image | None) -> tuple[Message, ...]:
        side, prompt = self._context.config.view_side, self._context.config.prompt
        picture = None if image is None else image.to_pil(side).convert("RGB")
        opening: list[Any] = [chat_message("system", prompt)] if prompt else []
        return (*opening, chat_message("user", question, picture))

    def _read(self, aim: _Aim, turn: str | Exception) -> Mapping[str, Any] | None:
        """The arguments that the model says; None where it says none."""
        answer = None if isinstance(turn, Exception) else self._context.config.protocol.parse(turn).answer
        return None if answer is None else read_arguments(answer, aim.spec)

    def _is_repeated(self, observation: Observation, aim: _Aim | None, turn: str | Exception) -> bool:
        """Whether the model aims a call as it has aimed one of that tool in this episode."""
        if aim is None:
            return False
        return (aim.spec.name, self._read(aim, turn)) in observation.policy_state["aims"]

    def _finish(self, observation: Observation, aim: _Aim | None, turn: str | Exception) -> str | Exception:
        """The model's turn as an answer, or the aimed call that it stands for."""
        if aim is None or isinstance(turn, Exception):
            return turn
        arguments = self._read(aim, turn)
        if arguments is None:
            return self._write(self._draw(aim.spec, observation))
        observation.policy_state["aims"].append((aim.spec.name, arguments))
        if self._spread != 1:
            arguments = spread_scales(arguments, aim.spec, self._spread, observation.policy_state["rng"])
        return self._write(ToolCall(name=aim.spec.name, arguments={aim.spec.images[0]: aim.image, **arguments}))

    def _draw(self, spec: ToolSpec, observation: Observation) -> ToolCall:
        rng = observation.policy_state["rng"]
        arguments = sample_arguments(spec.parameters, spec.images, len(observation.images), rng)
        return ToolCall(name=spec.name, arguments=arguments)

    def _write(self, call: ToolCall) -> str:
        return self._context.config.protocol.format_turn(calls=[call])


def spread_scales(
    arguments: Mapping[str, Any], spec: ToolSpec, factor: float, rng: np.random.Generator
) -> Mapping[str, Any]:
    """Arguments whose scales are divided by a factor, kept or multiplied by it.

    A scale is a number that the tool's schema wants above 0: what is right of it is often its order, not its value. Whole
    numbers stay whole.
    """
    properties, spread = spec.parameters.get("properties", {}), dict(arguments)
    for name, value in arguments.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and _is_scale(properties.get(name, {})):
            scaled = value * factor ** float(rng.integers(-1, 2))
            spread[name] = max(1, round(scaled)) if isinstance(value, int) else scaled
    return spread


def _is_scale(schema: Mapping[str, Any]) -> bool:
    return any(
        option.get("type") in ("number", "integer")
        and (option.get("exclusiveMinimum", -1) >= 0 or option.get("minimum", 0) > 0)
        for option in (schema, *schema.get("anyOf", ()))
    )


def read_arguments(answer: str, spec: ToolSpec) -> Mapping[str, Any] | None:
    """Arguments in an answer: a JSON object, or a list for the tool's box; None where it is neither."""
    try:
        value = json.loads(answer)
    except ValueError:
        return None
    if isinstance(value, dict):
        return value
    boxes = [name for name, part in spec.parameters.get("properties", {}).items() if is_box_schema(part)]
    return {boxes[0]: value} if isinstance(value, list) and boxes else None
