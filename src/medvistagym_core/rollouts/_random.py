"""A policy that makes valid calls at random, and random arguments for any JSON Schema."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medvistagym_core.environment import Observation
from medvistagym_core.protocol import ActionFormat, TextProtocol
from medvistagym_core.tools import (
    Toolbox,
    ToolCall,
    accepted_types,
    alternatives,
    inline_references,
    is_box_schema,
    stated_types,
)
from medvistagym_core.trajectories import SamplingParams

if TYPE_CHECKING:
    import numpy as np


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
        protocol: ActionFormat | None = None,
        seed: int = 0,
    ) -> None:
        self.name = "random"
        self.sampling: SamplingParams = {"seed": seed, "call_probability": call_probability}
        self._specs = toolbox.specs
        self._answers = tuple(answers)
        self._probability = call_probability
        self._protocol: ActionFormat = protocol or TextProtocol()
        self._seed = seed

    def act(self, observations: Sequence[Observation]) -> list[str]:
        """A random turn for each observation; the same one for the same observation and seed."""
        return [self._act(observation) for observation in observations]

    def _act(self, observation: Observation) -> str:
        rng = _generator(self._seed, observation)
        if self._specs and rng.random() < self._probability:
            spec = self._specs[int(rng.integers(len(self._specs)))]
            arguments = sample_arguments(spec.parameters, spec.images, len(observation.images), rng)
            return self._protocol.format_turn(
                self._think("I try this."), [ToolCall(name=spec.name, arguments=arguments)]
            )
        choices = observation.options or self._answers
        return self._protocol.format_turn(self._think("I guess."), answer=choices[int(rng.integers(len(choices)))])

    def _think(self, thought: str) -> str | None:
        return thought if self._protocol.think == "required" else None


def sample_arguments(
    parameters: Mapping[str, Any], images: Sequence[str], handles: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Random arguments that a tool's schema allows.

    Args:
        parameters: JSON Schema of the arguments.
        images: Arguments that are handles.
        handles: Number of images there are.
        rng: Where the choices come from.

    Raises:
        SchemaTooLargeError: The schema has more parts than are written out.
    """
    return _random_object(inline_references(parameters), images, handles, rng)


def _random_object(
    schema: Mapping[str, Any], images: Sequence[str], handles: int, rng: np.random.Generator
) -> dict[str, Any]:
    required = set(schema.get("required", ()))
    values: dict[str, Any] = {}
    for name, part in schema.get("properties", {}).items():
        if name not in required and rng.random() < 0.5:
            continue
        if name in images:
            handle = int(rng.integers(max(handles, 1)))
            values[name] = [handle] if "array" in accepted_types(part) else handle
        else:
            values[name] = _random_value(part, rng)
    return values


def _random_value(schema: Any, rng: np.random.Generator) -> Any:
    branches = alternatives(schema)
    branch = branches[int(rng.integers(len(branches)))] if len(branches) > 1 else branches[0]
    if "const" in branch:
        return branch["const"]
    if branch.get("enum"):
        return branch["enum"][int(rng.integers(len(branch["enum"])))]
    kind = next(iter(stated_types(branch)), "string")
    if kind in ("integer", "number"):
        return _random_number(branch, rng, whole=kind == "integer")
    if kind == "boolean":
        return bool(rng.integers(2))
    if kind == "array":
        return _random_list(branch, rng)
    if kind == "object":
        return _random_object(branch, (), 0, rng)
    if kind == "null":
        return None
    min_length = int(branch.get("minLength", 0))
    return "image"[: branch.get("maxLength", 5)].ljust(min_length, "x")


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


def _random_list(schema: Mapping[str, Any], rng: np.random.Generator) -> list[Any]:
    if is_box_schema(schema):
        sides = [int(rng.integers(1, 50)) * 20 for _ in range(2)]
        x0, y0 = (int(rng.integers(0, (1000 - side) // 20 + 1)) * 20 for side in sides)
        return [x0, y0, x0 + sides[0], y0 + sides[1]]
    min_items, max_items = int(schema.get("minItems", 0)), schema.get("maxItems")
    count = (
        int(rng.integers(min_items, min(int(max_items), min_items + 3) + 1))
        if max_items is not None
        else min_items + int(rng.integers(3))
    )
    if schema.get("prefixItems"):
        return [_random_value(part, rng) for part in schema["prefixItems"]]
    return [_random_value(schema.get("items", {}), rng) for _ in range(count)]


def _generator(seed: int, observation: Observation) -> np.random.Generator:
    import numpy as np

    return np.random.default_rng([seed, observation.seed, observation.num_turns])
