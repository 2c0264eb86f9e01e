"""The TRL environment of a toolbox: a class made from whatever tools are selected.

Every tool becomes a method with the tool's name, signature and description, as TRL wants it; no tool is named in this
module. The methods validate nothing and run nothing themselves: an `Episode` of the core does, so that training and
evaluation share one set of rules, one validator and one sentence for each error.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Final, Literal, Optional

from medvistagym_core.environment import Episode, EpisodeConfig, Task
from medvistagym_core.execution import CallRequest, LocalExecutor, ResultFilter
from medvistagym_core.tools import Toolbox, ToolCall, ToolResult
from medvistagym_trl.phase import Blocks, ToolPhase

_CACHE_BYTES: Final = 16 * 2**20
"""Room for tool results: enough for those of a batch, whose groups make the same calls."""


@dataclasses.dataclass(frozen=True, eq=False)
class World:
    """What all episodes of a run share.

    Attributes:
        task: Where cases come from.
        toolbox: The tools that may be called.
        settings: The rules of an episode.
        seed: Seed of the cases.
        split: Split that training draws from.
        result_filter: Changes results before they are stored, such as to make some wrong; None leaves them.
    """

    task: Task
    toolbox: Toolbox
    settings: EpisodeConfig
    seed: int = 0
    split: str = "train"
    result_filter: ResultFilter | None = None

    @cached_property
    def executor(self) -> LocalExecutor:
        """Runs the tools; made on first use, so that a data loader's process has one of its own."""
        return LocalExecutor(self.toolbox, cache_bytes=_CACHE_BYTES, result_filter=self.result_filter)

    @cached_property
    def schemas(self) -> list[dict[str, Any]]:
        """The toolbox in the Hugging Face dialect."""
        return list(self.toolbox.schemas("huggingface"))

    def episode(self, index: int) -> Episode:
        """A fresh episode of a training case."""
        return Episode.from_task(self.task, self.split, index, self.toolbox, self.settings, seed=self.seed)


class Rollout:
    """One episode as TRL plays it: messages in, content blocks out.

    Attributes:
        world: The rules.
        phase: The tool phase of the turn, while there is one.
        paces: Seconds that each turn of the batch took to write, as far as it is known.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.phase: ToolPhase | None = None
        self.paces: Sequence[float] = ()
        self._played: Episode | None = None

    def open(self, index: int) -> Blocks:
        """Begin a training case; what the policy is shown."""
        self._played = self.world.episode(index)
        return list(self._played.messages[-1]["content"])

    @property
    def episode(self) -> Episode:
        """The episode being played."""
        if self._played is None:
            raise RuntimeError("reset() comes before the first call")
        return self._played

    def begin(self, message: Mapping[str, Any]) -> CallRequest | None:
        """Take an assistant message; the job for the executor, or None when nothing is to be run."""
        calls = () if self.episode.done else self._advance(message)
        return (self.episode.store, calls) if calls else None

    def end(self, results: Sequence[ToolResult] | None) -> None:
        """Take the job's results."""
        if results is not None:
            self.episode.submit_results(results)

    def blocks(self, name: str, arguments: Mapping[str, Any]) -> Blocks | None:
        """The result of a call of the last turn, once; None when there is none."""
        try:
            return self.episode.call_tool(name, arguments)
        except LookupError:
            return None

    def feedback(self) -> Blocks:
        """What the policy is told of a turn that could not be used."""
        return [block for message in self.episode.new_messages for block in message["content"]] or [
            {"type": "text", "text": ""}
        ]

    def close(self, message: Mapping[str, Any]) -> Episode:
        """The finished episode; `message` is the last one that TRL has of it."""
        if not self.episode.done and message.get("role") == "assistant" and not message.get("tool_calls"):
            self._advance(message)
        self.episode.stop()
        return self.episode

    def _advance(self, message: Mapping[str, Any]) -> tuple[ToolCall, ...]:
        turn = self.episode.turns
        return self.episode.submit_turn(message, self.paces[turn] if turn < len(self.paces) else 0.0)

    def call(self, name: str, arguments: Mapping[str, Any]) -> Blocks:
        """A tool call, through the phase of the turn, or on its own where there is none."""
        phase = self.phase or ToolPhase([self], [[]], self.world.executor.run)
        return phase.result(self, name, arguments)


class ToolEnvironment:
    """What TRL sees of a rollout: `reset`, and a method for each tool in the subclass that `environment_class` makes."""

    _world: ClassVar[World]

    def __init__(self) -> None:
        self._rollout = Rollout(self._world)

    @property
    def rollout(self) -> Rollout:
        """The rollout behind it (a property, since TRL takes every public function for a tool)."""
        return self._rollout

    def reset(self, index: int, **row: Any) -> Blocks:
        """Open a training case; what the policy is shown, as content blocks."""
        return self._rollout.open(index)


def environment_class(world: World) -> type[ToolEnvironment]:
    """The environment class of a toolbox.

    Methods are named in the order of the toolbox, so that TRL, which sorts them, keeps that order; each carries the
    tool's exact schema as `__json_schema__`.
    """
    methods: dict[str, Any] = {"_world": world}
    for position, method in enumerate(tool_methods(world.toolbox)):
        methods[f"t{position:03d}"] = method
    return type("ToolboxEnvironment", (ToolEnvironment,), methods)


def tool_methods(toolbox: Toolbox) -> list[Any]:
    """A method for each tool of a toolbox, in order; `__json_schema__` is what the prompt is rendered from."""
    return [_method(schema) for schema in toolbox.schemas("huggingface")]


def _method(schema: Mapping[str, Any]) -> Callable[..., Blocks]:
    function = schema["function"]
    name = str(function["name"])
    properties: Mapping[str, Any] = function["parameters"].get("properties", {})
    required = set(function["parameters"].get("required", ()))

    def call(self: ToolEnvironment, /, **arguments: Any) -> Blocks:
        return self.rollout.call(name, arguments)

    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)]
    annotations: dict[str, Any] = {}
    for key, value in properties.items():
        annotation = _annotation(value)
        annotations[key] = annotation if key in required else Optional[annotation]  # noqa: UP045
        default = inspect.Parameter.empty if key in required else value.get("default")
        parameters.append(
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotations[key])
        )
    described = "\n".join(
        f"    {key}: {' '.join(str(value.get('description', key)).split())}" for key, value in properties.items()
    )
    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"{function.get('description', name)}\n\nArgs:\n{described}\n"
    call.__annotations__ = {**annotations, "return": list}
    call.__signature__ = inspect.Signature(parameters, return_annotation=list)  # type: ignore[attr-defined]
    call.__json_schema__ = dict(schema)  # type: ignore[attr-defined]
    return call


def _annotation(schema: Mapping[str, Any]) -> Any:
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    if schema.get("type") == "array":
        return list[_annotation(schema.get("items", {}))]  # type: ignore[misc]
    for option in schema.get("anyOf", ()):
        if option.get("type") != "null":
            return _annotation(option)
    names: dict[Any, Any] = {"string": str, "integer": int, "number": float, "boolean": bool, "object": dict}
    return names.get(schema.get("type"), Any)
