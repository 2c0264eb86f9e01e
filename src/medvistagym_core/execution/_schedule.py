"""Scheduling: which calls can run, which run together, and where their results go.

`schedule_calls` is what every executor does alike. It validates each call and puts the images of its episode in place of
handles. Equal calls of a deterministic tool are computed once, now or ever (`ResultCache`). Calls of a tool with a batched
kernel whose images agree in shape and type of value (or whose kernel takes any together) become one `WorkItem`, and so do the
calls of a tool that takes one at a time; any other call is an item of its own. A `Runner` runs the items, wherever it does.

A call that names an image made earlier in the same turn runs as soon as that image is there, whatever other episodes wait for.
Results are stored in the order of the turns, so that handles do not depend on timing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from enum import Enum, auto
from time import monotonic
from typing import Any, Protocol

from medvistagym_core.execution._base import CallRequest
from medvistagym_core.execution._image_store import named_handles
from medvistagym_core.execution._result_cache import ResultCache
from medvistagym_core.imaging import Image
from medvistagym_core.tools import (
    CheckedArguments,
    OutOfMemoryToolError,
    Tool,
    ToolError,
    ToolResult,
    closest_match,
    free_unused_memory,
)


class WorkItem:
    """One call; or several of a tool with a kernel for many, or of a tool that takes one call at a time.

    Args:
        tool: The tool.
        calls: The arguments of each call, with images in place of handles.

    Attributes:
        results: The results so far, one for each call in order.
    """

    def __init__(self, tool: Tool, calls: Sequence[Mapping[str, Any]]) -> None:
        self.tool = tool
        self.calls = calls
        self.results: list[ToolResult] = []

    @property
    def parts(self) -> list[Sequence[Mapping[str, Any]]]:
        """The calls, those that the tool takes together in one part."""
        return [self.calls] if self.tool.batched or len(self.calls) == 1 else [[call] for call in self.calls]

    def run(self, *, interruptible: bool = False) -> None:
        """Run the calls; afterwards there is a result for each.

        Args:
            interruptible: Whether Ctrl-C ends it: in the calling thread, not in one that nobody waits for.
        """
        if self.tool.batched:
            self.results += self.run_part(self.calls, interruptible=interruptible)
        else:
            self.results += [self._run_call(call, interruptible) for call in self.calls]

    def run_part(self, calls: Sequence[Mapping[str, Any]], *, interruptible: bool = False) -> list[ToolResult]:
        """The results of calls that the tool takes together.

        Args:
            calls: One of `parts`.
            interruptible: As of `run`.
        """
        if len(calls) == 1:
            return [self._run_call(calls[0], interruptible)]
        began = monotonic()
        try:
            results = self.tool.run_batch(calls)
        except BaseException as error:  # noqa: BLE001 an exit costs its calls one error each
            results = [self._exit_result(error, interruptible)] * len(calls)
        share_s = (monotonic() - began) / len(calls)
        return [result.with_seconds(share_s) for result in results]

    def _run_call(self, arguments: Mapping[str, Any], interruptible: bool) -> ToolResult:
        try:
            return self.tool.run(arguments)
        except BaseException as error:  # noqa: BLE001 an exit costs the call one error
            return self._exit_result(error, interruptible)

    def _exit_result(self, error: BaseException, interruptible: bool) -> ToolResult:
        """What an exit or a cancellation of the tool costs each of its calls: one error."""
        if interruptible and isinstance(error, KeyboardInterrupt):
            raise error
        return ToolResult(error=ToolError("tool_failed", f"{self.tool.name} failed with {type(error).__name__}."))


class Runner(Protocol):
    """Runs work items, in any order."""

    def submit(self, items: list[WorkItem]) -> None:
        """Have items run."""
        ...

    def wait(self) -> list[WorkItem]:
        """Items that are done, at least one; an empty list when none is left."""
        ...

    def abandon(self) -> None:
        """Begin nothing more: the caller was interrupted."""
        ...


ResultFilter = Callable[[Tool, Mapping[str, Any], ToolResult], ToolResult]
"""Makes the result that is handed on of a tool, the arguments of a call (images in place of handles) and what it gave."""


def schedule_calls(
    requests: Sequence[CallRequest],
    toolbox: Mapping[str, Tool],
    runner: Runner,
    cache: ResultCache,
    result_filter: ResultFilter | None = None,
) -> list[list[ToolResult]]:
    """The results of every call, as `requests` are nested; new images are in the stores, their handles in the results.

    Args:
        requests: The calls of each episode's turn.
        toolbox: The tools that may be called, by name.
        runner: Runs the calls that have to run.
        cache: Results of earlier calls.
        result_filter: Makes the result that is handed on of what a call gave; equal calls share it.
    """
    state = _ScheduleState(requests, toolbox, cache)
    running: dict[WorkItem, list[_DistinctCall]] = {}
    out_of_memory: list[_DistinctCall] = []  # calls that failed beside others and are run again by themselves
    try:
        while True:
            groups = state.start_ready_calls()
            if not groups and not running and out_of_memory:
                free_unused_memory()
                call = out_of_memory.pop()
                call.alone = True
                groups = [[call]]
            if groups:
                items = [WorkItem(calls[0].tool, [call.arguments for call in calls]) for calls in groups]
                running.update(zip(items, groups, strict=True))
                runner.submit(items)
            finished = runner.wait() if running else []
            if not finished:
                return state.results
            for item in finished:
                for call, result in zip(running.pop(item), item.results, strict=True):
                    if isinstance(result.error, OutOfMemoryToolError) and not (call.alone or state.is_single_call):
                        out_of_memory.append(call)
                    elif result_filter is None:
                        state.deliver(call, result)
                    else:
                        state.deliver(call, result_filter(call.tool, call.arguments, result))
    except BaseException:
        runner.abandon()
        raise


@dataclasses.dataclass(slots=True, eq=False)
class _DistinctCall:
    """A call that has to run.

    There is one for nearly every call of a batch, so it holds as few objects as it can: the collector looks at each.

    Attributes:
        tool: The tool.
        arguments: Its arguments, with images in place of handles.
        key: What its result depends on; None where the tool is not deterministic.
        request: Where its result goes: the episode's request,
        position: and the position in it.
        alone: Whether it runs again by itself, as it exhausted memory beside others.
        result: What it gave, once it is there.
    """

    tool: Tool
    arguments: dict[str, Any]
    key: Hashable
    request: int
    position: int
    alone: bool = False
    result: ToolResult | None = None


class _Running(Enum):
    """What stands for the result of a call that was begun."""

    RUNNING = auto()


class _ScheduleState:
    """How far one `schedule_calls` is.

    Attributes:
        results: For each call, its result; None before it begins, `_Running.RUNNING` until the result is there.
    """

    def __init__(self, requests: Sequence[CallRequest], tools: Mapping[str, Tool], cache: ResultCache) -> None:
        self._requests = requests
        self._tools = tools
        self._cache = cache
        self.results: list[list[Any]] = [[None] * len(calls) for _, calls in requests]
        self._touched = {*range(len(requests))}  # requests in which there may be calls to begin, or images to store
        self._stored = [0] * len(requests)  # calls before the first whose result is not in the store
        self._distinct: dict[Hashable, _DistinctCall] = {}  # of deterministic tools
        self._repeats: dict[Hashable, list[tuple[int, int]]] = {}  # places of equal calls
        self._repaired: dict[tuple[int, int], CheckedArguments] = {}  # of the calls whose arguments had to be mended

    @property
    def is_single_call(self) -> bool:
        """Whether there is one call only, which competes with no other for memory."""
        return len(self.results) == 1 and len(self.results[0]) == 1

    def start_ready_calls(self) -> list[list[_DistinctCall]]:
        """Begin every call that can begin, and store the images of those that are done, each request's in order.

        Returns:
            The calls that are to run now, those that run together in one list.
        """
        groups: dict[Hashable, list[_DistinctCall]] = {}
        touched, self._touched = sorted(self._touched), set()
        for request in touched:
            _, calls = self._requests[request]
            results = self.results[request]
            all_stored = True
            for position in range(self._stored[request], len(calls)):
                if results[position] is None:
                    try:
                        results[position] = self._start_call(request, position, groups, wait=not all_stored)
                    except ToolError as error:
                        results[position] = self._with_repairs(request, position, ToolResult(error=error))
                result = results[position]
                if result is None or result is _Running.RUNNING:
                    all_stored = False
                elif all_stored:
                    if result.images:
                        results[position] = self._store_images(request, position, result)
                    self._stored[request] = position + 1
        return list(groups.values())

    def deliver(self, call: _DistinctCall, result: ToolResult) -> None:
        """Hand out the result of a call."""
        call.result = result
        if call.key is not None:
            self._cache.put(call.key, result)
        self._place_result(call.request, call.position, result)
        for request, position in self._repeats.pop(call.key, ()):
            self._place_result(request, position, result.as_cache_hit())

    def _place_result(self, request: int, position: int, result: ToolResult) -> None:
        results = self.results[request]
        results[position] = self._with_repairs(request, position, result) if self._repaired else result
        if result.images or len(results) > 1:
            self._touched.add(request)

    def _start_call(
        self, request: int, position: int, groups: dict[Hashable, list[_DistinctCall]], *, wait: bool
    ) -> ToolResult | _Running | None:
        """The result of a call that is had at once, `RUNNING` where it is to come, or None while the call cannot begin.

        Args:
            request: Where its result goes: the request,
            position: and the position in it.
            groups: Takes the call if it is to run.
            wait: Whether a missing image may still be made by an earlier call.

        Raises:
            ToolError: The call cannot run.
        """
        store, calls = self._requests[request]
        call = calls[position]
        tool = self._find_tool(call.name)
        arguments, sent, repairs = checked = tool.check(call.arguments)
        if repairs:
            self._repaired[request, position] = checked
        images = store.resolve(tool, arguments)
        if isinstance(images, int):
            if wait:
                return None
            raise ToolError("bad_value", f"{call.name}: there is no image {images}; {store.describe_handles()}.")
        key: Hashable = None
        if tool.deterministic:
            key = self._cache_key(tool, sent, images)
            equal = self._distinct.get(key)
            if equal is None:
                hit = self._cache.get(key)
            elif equal.result is None:
                self._repeats.setdefault(key, []).append((request, position))
                return _Running.RUNNING
            else:
                hit = equal.result.as_cache_hit()
            if hit is not None:
                return self._with_repairs(request, position, hit)
        distinct = _DistinctCall(tool, arguments, key, request, position)
        if key is not None:
            self._distinct[key] = distinct
        groups.setdefault(_group_key(tool, images, request, position), []).append(distinct)
        return _Running.RUNNING

    def _find_tool(self, name: str) -> Tool:
        try:
            return self._tools[name]
        except KeyError:
            suggestion = closest_match(name, list(self._tools))
            guess = f"; did you mean {suggestion}?" if suggestion else "."
            names = ", ".join(self._tools) or "none"
            sentence = f"There is no tool {name[:64]}{guess} The tools are: {names}."
        raise ToolError("unknown_tool", sentence)

    def _cache_key(self, tool: Tool, sent: Mapping[str, Any], images: Sequence[Any]) -> Hashable:
        """What a deterministic result depends on; images by content, or by identity when results are not kept."""
        # Arguments as they were sent: their text tells all, while that of a checked value may leave something out.
        if not images:
            return f"{tool.id} {tool.version} {tool.device} {[*sent.items()]!r}"
        given = [item for item in sent.items() if item[0] not in tool.image_arguments]
        described = f"{tool.id} {tool.version} {tool.device} {given!r}"
        if self._cache.max_bytes:
            content = [image.cache_key if isinstance(image, Image) else image for image in images]
        else:
            content = [id(image) if isinstance(image, Image) else image for image in images]
        return (described, *content)

    def _with_repairs(self, request: int, position: int, result: ToolResult) -> ToolResult:
        """The result with the names of what had to be mended in the arguments of the call at a place."""
        if (request, position) not in self._repaired:
            return result
        return dataclasses.replace(result, repairs=self._repaired[request, position].repairs)

    def _store_images(self, request: int, position: int, result: ToolResult) -> ToolResult:
        store, calls = self._requests[request]
        call = calls[position]
        checked = self._repaired.get((request, position))
        sent = call.arguments if checked is None else checked.sent
        parent = next(named_handles(self._tools[call.name], sent), None)
        return result.with_handles(tuple([store.add(image, parent, call) for image in result.images]))


def _group_key(tool: Tool, images: Sequence[Any], request: int, position: int) -> Hashable:
    """Equal for calls that run as one item."""
    if tool.batched:
        return (tool.name,) if tool.ragged else (tool.name, *_shapes(images))
    if tool.light or not tool.concurrent:  # one after another, in one thread
        return (tool.name,)
    return tool.name, request, position


def batch_key(tool: Tool, arguments: Mapping[str, Any]) -> Hashable:
    """Equal for the calls of a tool that its batched kernel is given together.

    Their images agree in shape and type of value, unless the kernel takes any together.

    Args:
        tool: The tool.
        arguments: Of a call, with images in place of handles.
    """
    if tool.ragged:
        return ()
    images: list[Any] = []
    for name in tool.image_arguments:
        value = arguments[name]
        images += [len(value), *value] if isinstance(value, list) else [value]
    return tuple(_shapes(images))


def _shapes(images: Sequence[Any]) -> list[Any]:
    return [(one.pixels.shape, one.pixels.dtype.str) if isinstance(one, Image) else one for one in images]
