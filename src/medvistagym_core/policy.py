"""Policies: who writes the turns.

A `Policy` is given the observations of many episodes and writes a turn for each. It keeps what it must remember of an episode
in `Observation.memory`, so it holds no state of its own and episodes may come and go. One that may know the truth, to make
training data, is `Privileged`: a rollout briefs it with each case; nothing that is evaluated has that method.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from medvistagym_core.observation import Observation
from medvistagym_core.protocol import Protocol as TextProtocol
from medvistagym_core.registry import Toolbox
from medvistagym_core.task import Case, Demonstrated, Script, Scripted
from medvistagym_core.tool import ToolCall, ToolResult
from medvistagym_core.trajectory import Sampling

if TYPE_CHECKING:
    import numpy as np


@runtime_checkable
class Policy(Protocol):
    """Writes turns."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def sampling(self) -> Sampling:
        """The settings it samples with, for the record."""
        ...

    def act(self, observations: Sequence[Observation]) -> Sequence[str | Exception]:
        """A turn for each observation, as text in the wire format; an exception where it failed on one of them alone."""
        ...


class PolicyUnavailableError(Exception):
    """A policy that cannot act at all, such as one whose server is gone. A rollout ends with it, and records nothing of it."""


@runtime_checkable
class Privileged(Protocol):
    """A policy that is told the case, truth and all: for demonstrations, never for evaluation."""

    def brief(self, case: Case, memory: dict[str, Any]) -> None: ...


class ScriptedPolicy:
    """Plays a task's expert, which reads only the pictures and what its tools return.

    Args:
        task: A task with an expert (`task.Scripted`).
        protocol: How turns are written.
        seed: Seed of the expert's randomness; each episode has a stream of its own.

    Raises:
        TypeError: The task has no expert.
    """

    def __init__(self, task: Any, protocol: TextProtocol | None = None, *, seed: int = 0) -> None:
        if not isinstance(task, Scripted):
            raise TypeError(f"the task {getattr(task, 'name', task)} has no scripted expert")
        self.name = "expert"
        self.sampling: Sampling = {"seed": seed}
        self._task = task
        self._protocol = protocol or TextProtocol()
        self._seed = seed

    def act(self, observations: Sequence[Observation]) -> list[str | Exception]:
        """The expert's next turn in each episode."""
        return [_guarded(self._act, observation) for observation in observations]

    def _act(self, observation: Observation) -> str:
        memory = observation.memory
        if "script" not in memory:
            rng = _generator(self._seed, observation)
            memory["script"] = self._task.expert(observation.question, observation.images, rng)
        return _next_turn(memory["script"], observation, self._protocol)


class DemonstrationPolicy:
    """Plays a task's demonstrations, which know the truth.

    Args:
        task: A task that can demonstrate (`task.Demonstrated`).
        skill: Probability in 0 to 1 that the informative call is made.
        protocol: How turns are written.
        seed: Seed of the demonstrations.

    Raises:
        TypeError: The task cannot demonstrate.
        ValueError: The skill is no probability.
    """

    def __init__(self, task: Any, skill: float, protocol: TextProtocol | None = None, *, seed: int = 0) -> None:
        if not isinstance(task, Demonstrated):
            raise TypeError(f"the task {getattr(task, 'name', task)} has no demonstrations")
        if not 0 <= skill <= 1:
            raise ValueError(f"the skill is a probability, from 0 to 1, not {skill}")
        self.name = "demonstration"
        self.sampling: Sampling = {"seed": seed, "skill": skill}
        self._task = task
        self._skill = skill
        self._protocol = protocol or TextProtocol()
        self._seed = seed

    def brief(self, case: Case, memory: dict[str, Any]) -> None:
        """Begin the demonstration of a case."""
        memory["case"] = case

    def act(self, observations: Sequence[Observation]) -> list[str | Exception]:
        """The next turn of each demonstration."""
        return [_guarded(self._act, observation) for observation in observations]

    def _act(self, observation: Observation) -> str:
        memory = observation.memory
        if "script" not in memory:
            rng = _generator(self._seed, observation)
            memory["script"] = self._task.demonstrate(memory.pop("case"), rng, self._skill)
        return _next_turn(memory["script"], observation, self._protocol)


class RandomPolicy:
    """Makes valid calls at random, and then a random answer.

    Arguments are drawn from the tools' schemas: handles among the images there are, boxes at least a fiftieth of the image wide
    and high, numbers within their bounds.

    Args:
        toolbox: The tools to call; without any it answers at once.
        answers: Answers to choose from where a question has no options; the question's options come first.
        call_probability: Probability of a call, rather than an answer, in every turn.
        protocol: How turns are written.
        seed: Seed of the choices.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        answers: Sequence[str] = ("unclear",),
        *,
        call_probability: float = 0.5,
        protocol: TextProtocol | None = None,
        seed: int = 0,
    ) -> None:
        self.name = "random"
        self.sampling: Sampling = {"seed": seed, "call_probability": call_probability}
        self._specs = toolbox.specs
        self._answers = tuple(answers)
        self._probability = call_probability
        self._protocol = protocol or TextProtocol()
        self._seed = seed

    def act(self, observations: Sequence[Observation]) -> list[str]:
        """A random turn for each observation; the same one for the same observation and seed."""
        return [self._act(observation) for observation in observations]

    def _act(self, observation: Observation) -> str:
        rng = _generator(self._seed, observation)
        if self._specs and rng.random() < self._probability:
            spec = self._specs[int(rng.integers(len(self._specs)))]
            arguments = random_arguments(spec.parameters, spec.images, len(observation.images), rng)
            return self._protocol.render(self._think("I try this."), [ToolCall(name=spec.name, arguments=arguments)])
        choices = observation.options or self._answers
        return self._protocol.render(self._think("I guess."), answer=choices[int(rng.integers(len(choices)))])

    def _think(self, thought: str) -> str | None:
        return thought if self._protocol.think == "required" else None


def random_arguments(
    parameters: Mapping[str, Any], images: Sequence[str], handles: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Random arguments that a tool's schema allows.

    Args:
        parameters: JSON Schema of the arguments.
        images: Arguments that are handles.
        handles: Number of images there are.
        rng: Where the choices come from.
    """
    required = set(parameters.get("required", ()))
    definitions = parameters.get("$defs", {})
    arguments: dict[str, Any] = {}
    for name, schema in parameters.get("properties", {}).items():
        if name not in required and rng.random() < 0.5:
            continue
        if name in images:
            handle = int(rng.integers(max(handles, 1)))
            arguments[name] = [handle] if schema.get("type") == "array" else handle
        else:
            arguments[name] = _random_value(schema, definitions, rng)
    return arguments


def _random_value(schema: Mapping[str, Any], definitions: Mapping[str, Any], rng: np.random.Generator) -> Any:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[-1]]
    options = schema.get("enum") or schema.get("anyOf") or schema.get("oneOf")
    if "const" in schema:
        return schema["const"]
    if options:
        chosen = options[int(rng.integers(len(options)))]
        return chosen if "enum" in schema else _random_value(chosen, definitions, rng)
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return _random_number(schema, rng, whole=kind == "integer")
    if kind == "boolean":
        return bool(rng.integers(2))
    if kind == "array":
        return _random_list(schema, definitions, rng)
    if kind == "object":
        return random_arguments(schema, (), 0, rng)
    if kind == "null":
        return None
    least = int(schema.get("minLength", 0))
    return "image"[: schema.get("maxLength", 5)].ljust(least, "x")


def _random_number(schema: Mapping[str, Any], rng: np.random.Generator, *, whole: bool) -> float | int:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    low = (high - 1000 if high is not None else -1000) if low is None else low
    high = max(low + 1000, 1000) if high is None else high
    if whole:
        first = math.floor(low) + 1 if "exclusiveMinimum" in schema and "minimum" not in schema else math.ceil(low)
        last = math.ceil(high) - 1 if "exclusiveMaximum" in schema and "maximum" not in schema else math.floor(high)
        step = int(schema.get("multipleOf", 1))
        return int(rng.integers(-(-first // step), last // step + 1)) * step
    # Halfway into the unit interval's open ends, rounded only as far as the bounds allow.
    value = low + (high - low) * (0.001 + 0.998 * rng.random())
    rounded = round(float(value), 1)
    return rounded if low < rounded < high else float(value)


def _random_list(schema: Mapping[str, Any], definitions: Mapping[str, Any], rng: np.random.Generator) -> list[Any]:
    item = schema.get("items", {})
    least, most = int(schema.get("minItems", 0)), schema.get("maxItems")
    if least == most == 4 and item.get("minimum") == 0 and item.get("maximum") == 1000:
        sides = [int(rng.integers(1, 50)) * 20 for _ in range(2)]
        x0, y0 = (int(rng.integers(0, (1000 - side) // 20 + 1)) * 20 for side in sides)
        return [x0, y0, x0 + sides[0], y0 + sides[1]]
    count = (
        int(rng.integers(least, min(int(most), least + 3) + 1)) if most is not None else least + int(rng.integers(3))
    )
    if schema.get("prefixItems"):
        return [_random_value(part, definitions, rng) for part in schema["prefixItems"]]
    return [_random_value(item, definitions, rng) for _ in range(count)]


def _generator(seed: int, observation: Observation) -> np.random.Generator:
    import numpy as np

    return np.random.default_rng([seed, observation.seed, observation.turn])


def _guarded(act: Callable[[Observation], str], observation: Observation) -> str | Exception:
    try:
        return act(observation)
    except Exception as error:  # noqa: BLE001 - a script that breaks on one case must not cost the others theirs
        return error


def _next_turn(script: Script, observation: Observation, protocol: TextProtocol) -> str:
    """The script's next turn, after it was sent what its last call gave."""
    thought = f"I look at what turn {observation.turn} gave." if observation.turn else "I look at the images."
    think = thought if protocol.think == "required" else None
    try:
        if observation.turn == 0:
            call = next(script)
        else:
            call = script.send(observation.results[0] if observation.results else ToolResult(error=observation.error))
    except StopIteration as end:
        return protocol.render(think, answer=str(end.value))
    return protocol.render(think, [call])
