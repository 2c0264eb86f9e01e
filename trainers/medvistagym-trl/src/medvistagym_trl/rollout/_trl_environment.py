"""The TRL environment of a toolbox: a class made from whatever tools are selected.

Every tool becomes a method with the tool's name, signature and description, as TRL wants it; no tool is named in this
module. The methods validate nothing and run nothing themselves: an `Episode` of the core does, so that training and
evaluation share one set of rules, one validator and one sentence for each error.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Optional

from medvistagym_core.environment import Episode
from medvistagym_core.execution import CallRequest
from medvistagym_core.tools import Toolbox, ToolCall, ToolResult
from medvistagym_trl.rollout._batched_tool_calls import BatchedToolCalls, Blocks
from medvistagym_trl.rollout._context import RolloutContext


class EpisodeAdapter:
    """One episode as TRL plays it: messages in, content blocks out.

    Attributes:
        context: The rules.
        tool_calls: The tool calls of the batch, while TRL's loop runs.
        generation_seconds: Seconds that each turn of the batch took to write, as far as it is measured.
        lost_result: Whether the last result was taken back, since it did not fit into the completion; or a text of the episode
            cannot be rendered. What was read then is not what was shown.
        explored: Whether the first turn began with a tool that was drawn at random.
    """

    def __init__(self, context: RolloutContext) -> None:
        self.context = context
        self.tool_calls: BatchedToolCalls | None = None
        self.generation_seconds: Sequence[float] = ()
        self.lost_result = self.explored = False
        self._answered = 0
        self._unrendered: str | None = None
        self._episode: Episode | None = None

    def reset(self, index: int) -> Blocks:
        """Begin a training case; what the policy is shown."""
        self._episode = self.context.make_episode(index)
        self.lost_result = self.explored = False
        self._answered, self._unrendered = 0, None
        return list(self._episode.messages[-1]["content"])

    @property
    def episode(self) -> Episode:
        """The episode being played.

        Raises:
            RuntimeError: None has begun: `reset` was not called.
        """
        if self._episode is None:
            raise RuntimeError("reset() comes before the first call")
        return self._episode

    def submit_message(self, message: Mapping[str, Any]) -> CallRequest | None:
        """Take an assistant message; the job for the executor, or None when nothing is to be run."""
        calls = () if self.episode.done else self._advance(message)
        return (self.episode.store, calls) if calls else None

    def submit_results(self, results: Sequence[ToolResult] | None) -> None:
        """Take the job's results."""
        if results is not None:
            self.episode.submit_results(results)

    def blocks(self, name: str, arguments: Mapping[str, Any]) -> Blocks | None:
        """The result of a call of the last turn, once; None when there is none.

        Args:
            name: The tool's name.
            arguments: As JSON values.
        """
        try:
            return self.episode.call_tool(name, arguments)
        except LookupError:
            return None

    def feedback(self) -> Blocks:
        """What the policy is told of a turn that could not be used."""
        return [block for message in self.episode.new_messages for block in message["content"]] or [
            {"type": "text", "text": ""}
        ]

    def refuse_rendering(self, reason: str) -> None:
        """Have the episode count nothing, since the chat template fails, or costs too much, on a text of it."""
        self._unrendered = self._unrendered or reason

    def finish(self, chat: Sequence[Mapping[str, Any]]) -> Episode:
        """The finished episode; `chat` is the completion that TRL has of it.

        TRL takes back a result that does not fit into the completion, and ends the rollout there. Such an episode ends for want
        of tokens, with the reason on record, and `lost_result` is set. So is one with a text that could not be rendered, as a
        failure of the policy.
        """
        if self._unrendered is not None:
            self.lost_result = True
            self.episode.stop("policy_failed", self._unrendered)
            return self.episode
        message = chat[-1] if chat else {}
        called = message.get("role") == "assistant" and bool(message.get("tool_calls"))
        kept = sum(each.get("role") == "tool" and each.get("name") in self.context.toolbox for each in chat)
        if called and not self.episode.done and self._answered > kept:
            self.lost_result = True
            self.episode.stop(
                "tokens", "the results of its last calls did not fit into the completion and were taken back"
            )
        elif not self.episode.done and message.get("role") == "assistant" and not called:
            self._advance(message)
        self.episode.stop()
        return self.episode

    def _advance(self, message: Mapping[str, Any]) -> tuple[ToolCall, ...]:
        turn, seconds = self.episode.turns, self.generation_seconds
        message = to_protocol_message(message)
        return self.episode.submit_turn(message, seconds[turn] if turn < len(seconds) else 0.0)

    def call(self, name: str, arguments: Mapping[str, Any]) -> Blocks:
        """A tool call, together with those of the batch, or on its own where there is none.

        Args:
            name: The tool's name.
            arguments: As JSON values.
        """
        self._answered += 1
        calls = self.tool_calls or BatchedToolCalls([self], [[]], self.context.executor.run)
        return calls.result(self, name, arguments)


def to_protocol_message(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """An assistant's message with its reasoning under the name that the core reads; LFM2 calls it `thinking`."""
    return {**message, "reasoning_content": message["thinking"]} if "thinking" in message else message


class ToolEnvironment:
    """What TRL sees of an episode: `reset`, and a method for each tool in the subclass that `make_environment_class` makes."""

    _context: ClassVar[RolloutContext]

    def __init__(self) -> None:
        self._adapter = EpisodeAdapter(self._context)

    @property
    def adapter(self) -> EpisodeAdapter:
        """The episode behind it (a property, since TRL takes every public function for a tool)."""
        return self._adapter

    def reset(self, index: int, **row: Any) -> Blocks:
        """Open a training case; what the policy is shown, as content blocks.

        Args:
            index: Number of the case (`locate_case`).
            **row: The other columns of TRL's row; not used.
        """
        return self._adapter.reset(index)


def make_environment_class(context: RolloutContext) -> type[ToolEnvironment]:
    """The environment class of a toolbox.

    Methods are named in the order of the toolbox, so that TRL, which sorts them, keeps that order; each carries the
    tool's exact schema as `__json_schema__`.
    """
    members: dict[str, Any] = {"_context": context}
    for position, method in enumerate(tool_methods(context.toolbox)):
        members[f"t{position:03d}"] = method
    return type("ToolboxEnvironment", (ToolEnvironment,), members)


def tool_methods(toolbox: Toolbox) -> list[Any]:
    """A method for each tool of a toolbox, in order; `__json_schema__` is what the prompt is rendered from."""
    return [_tool_method(schema) for schema in toolbox.schemas("huggingface")]


def _tool_method(schema: Mapping[str, Any]) -> Callable[..., Blocks]:
    function = schema["function"]
    name = str(function["name"])
    properties: Mapping[str, Any] = function["parameters"].get("properties", {})
    required = set(function["parameters"].get("required", ()))

    def call(self: ToolEnvironment, /, **arguments: Any) -> Blocks:
        return self.adapter.call(name, arguments)

    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)]
    annotations: dict[str, Any] = {}
    for key, value in properties.items():
        annotation = _annotation(value)
        annotations[key] = annotation if key in required else Optional[annotation]  # noqa: UP045
        default = inspect.Parameter.empty if key in required else value.get("default")
        parameters.append(
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotations[key])
        )
    lines = "\n".join(
        f"    {key}: {' '.join(str(value.get('description', key)).split())}" for key, value in properties.items()
    )
    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"{function.get('description', name)}\n\nArgs:\n{lines}\n"
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
