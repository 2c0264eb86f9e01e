"""Running the calls of many episodes at once.

`LocalExecutor.run` takes one job per episode, `(store, calls)`. Each call is validated, its handles become images of
that episode's `ImageStore`, and all calls of a tool become one group: equal calls of a deterministic tool are
computed once, a tool with a batched kernel runs once, and tools overlap. A call that names an image made earlier in
the same message waits for it. Results are added to the stores in the order of the messages, so handles do not depend
on timing. A fault of the policy or of a tool is a `ToolResult` with an error, never an exception.
"""

from __future__ import annotations

import dataclasses
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol, Self

from medvistagym_core.image import Image
from medvistagym_core.registry import Toolbox
from medvistagym_core.tool import Tool, ToolCall, ToolError, ToolResult, nearest
from medvistagym_core.workers import TIMED_OUT, Workers

CACHE_BYTES: Final = 256 * 2**20


@dataclasses.dataclass(frozen=True, eq=False)
class StoredImage:
    """An image of an episode and where it came from: the handle it was made from and the call that made it, if any."""

    image: Image
    parent: int | None = None
    call: ToolCall | None = None


class ImageStore:
    """The images of one episode by handle: 0, 1, ..."""

    def __init__(self, images: Sequence[Image] = ()) -> None:
        self._stored = [StoredImage(image) for image in images]

    def add(self, image: Image, parent: int | None = None, call: ToolCall | None = None) -> int:
        """Store an image; its handle."""
        self._stored.append(StoredImage(image, parent, call))
        return len(self._stored) - 1

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, handle: int) -> Image:
        return self._stored[handle].image

    def __iter__(self) -> Iterator[StoredImage]:
        return iter(self._stored)


Job = tuple[ImageStore, Sequence[ToolCall]]


class Executor(Protocol):
    """Runs the calls of many episodes."""

    @property
    def toolbox(self) -> Toolbox: ...
    def run(self, jobs: Sequence[Job]) -> list[list[ToolResult]]: ...
    def close(self) -> None: ...


@dataclasses.dataclass(eq=False)
class _Group:
    """Distinct calls of one tool, and the places `(job, call)` that wait for each."""

    tool: Tool
    arguments: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    places: list[list[tuple[int, int]]] = dataclasses.field(default_factory=list)
    keys: list[str | None] = dataclasses.field(default_factory=list)
    index: dict[str, int] = dataclasses.field(default_factory=dict)
    prefix: str | None = None  # of the keys of a deterministic tool

    def __post_init__(self) -> None:
        spec = self.tool.spec
        self.prefix = f"{spec.id} {spec.version} " if spec.deterministic else None


class LocalExecutor:
    """Runs tools in threads of this process.

    Args:
        toolbox: The tools that may be called.
        workers: Most calls at work at a time.
        cache_bytes: Memory for results of deterministic tools, by content; 0 for none.
    """

    def __init__(self, toolbox: Toolbox, *, workers: int = 64, cache_bytes: int = CACHE_BYTES) -> None:
        self.toolbox = toolbox
        self._workers = Workers(workers)
        self._room = cache_bytes
        self._cache: OrderedDict[str, tuple[ToolResult, int]] = OrderedDict()
        self._cached_bytes = 0

    def close(self) -> None:
        """Let the threads end and drop the cache."""
        self._workers.close()
        self._cache.clear()
        self._cached_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def run(self, jobs: Sequence[Job]) -> list[list[ToolResult]]:
        """The results of every call, as `jobs` are nested; images are in the stores, their handles in the results."""
        results: list[list[ToolResult | None]] = [[None] * len(calls) for _, calls in jobs]
        settled = [0] * len(jobs)
        left = [j for j, (_, calls) in enumerate(jobs) if calls]
        while left:
            self._compute(self._gather(jobs, left, results, settled), results)
            for j in left:
                row, (store, calls) = results[j], jobs[j]
                while settled[j] < len(calls) and (result := row[settled[j]]) is not None:
                    if result.images:
                        row[settled[j]] = _commit(store, calls[settled[j]], result, self.toolbox)
                    settled[j] += 1
            left = [j for j in left if settled[j] < len(jobs[j][1])]
        return [[result for result in row if result is not None] for row in results]

    def _gather(
        self, jobs: Sequence[Job], left: Sequence[int], results: list[list[ToolResult | None]], settled: list[int]
    ) -> list[_Group]:
        groups: dict[str, _Group] = {}
        for j in left:
            store, calls = jobs[j]
            row = results[j]
            for i in range(settled[j], len(calls)):
                if row[i] is not None:
                    continue
                call = calls[i]
                try:
                    group = groups.get(call.name) or _Group(self._tool(call))
                    tool = group.tool
                    arguments = tool.validate(call.arguments)
                    missing = _missing_handle(tool, arguments, store) if tool.image_arguments else None
                    if missing is not None and i > settled[j]:
                        continue
                    if missing is not None:
                        raise ToolError("bad_value", f"{call.name}: there is no image {missing}; {_handles(store)}.")
                except ToolError as error:
                    row[i] = ToolResult(error=error)
                    continue
                groups[call.name] = group
                key = None
                if group.prefix is not None:
                    key = group.prefix + _key(tool, arguments, store, by_content=self._room > 0)
                    if key in self._cache:
                        self._cache.move_to_end(key)
                        row[i] = dataclasses.replace(self._cache[key][0], cached=True, seconds=0.0)
                        continue
                    if key in group.index:
                        group.places[group.index[key]].append((j, i))
                        continue
                    group.index[key] = len(group.arguments)
                group.keys.append(key)
                group.arguments.append(_resolved(tool, arguments, store))
                group.places.append([(j, i)])
        return list(groups.values())

    def _compute(self, groups: Sequence[_Group], results: list[list[ToolResult | None]]) -> None:
        units: list[tuple[_Group, list[int]]] = []
        for group in groups:
            everything = list(range(len(group.arguments)))
            units += [(group, everything)] if group.tool.batched else [(group, [k]) for k in everything]
        if not units:
            return
        limits = [None if (t := g.tool.spec.timeout_s) is None else t * len(ks) for g, ks in units]
        values = self._workers.run([_Unit(g.tool, [g.arguments[k] for k in ks]) for g, ks in units], limits)
        for (group, ks), value in zip(units, values, strict=True):
            for k, result in zip(ks, _outcome(group.tool, value, len(ks)), strict=True):
                self._remember(group.keys[k], result)
                for nth, (j, i) in enumerate(group.places[k]):
                    results[j][i] = dataclasses.replace(result, cached=True, seconds=0.0) if nth else result

    def _tool(self, call: ToolCall) -> Tool:
        tool = self.toolbox.get(call.name)
        if tool is None:
            near = nearest(call.name, list(self.toolbox))
            guess = f"; did you mean {near}?" if near else "."
            known = ", ".join(self.toolbox) or "none"
            raise ToolError("unknown_tool", f"There is no tool {call.name[:64]}{guess} The tools are: {known}.")
        return tool

    def _remember(self, key: str | None, result: ToolResult) -> None:
        if key is None or not self._room or not result.ok:
            return
        size = 1024 + len(result.text) + sum(image.pixels.nbytes for image in result.images)
        if size > self._room // 4 or key in self._cache:
            return
        self._cache[key] = (result, size)
        self._cached_bytes += size
        while self._cached_bytes > self._room:
            self._cached_bytes -= self._cache.popitem(last=False)[1][1]


@dataclasses.dataclass(frozen=True, eq=False)
class _Unit:
    """What one thread does in one go."""

    tool: Tool
    arguments: Sequence[dict[str, Any]]

    def __call__(self) -> list[ToolResult]:
        if len(self.arguments) == 1:
            return [self.tool.run(self.arguments[0])]
        start = time.perf_counter()
        results = self.tool.run_batch(self.arguments)
        share = (time.perf_counter() - start) / len(results)
        return [dataclasses.replace(result, seconds=share) for result in results]


def _outcome(tool: Tool, value: Any, count: int) -> list[ToolResult]:
    if value is TIMED_OUT:
        error = ToolError("timeout", f"{tool.name} took longer than {tool.spec.timeout_s:g} s and was given up.")
    elif isinstance(value, BaseException):
        error = ToolError("tool_failed", f"{tool.name} failed with {type(value).__name__}.")
    else:
        return list(value)
    return [ToolResult(error=error) for _ in range(count)]


def named_handles(toolbox: Toolbox, call: ToolCall) -> tuple[int, ...]:
    """The handles that a call names, in the order of its tool's arguments, whether they exist or not."""
    tool = toolbox.get(call.name)
    if tool is None:
        return ()
    given = [call.arguments.get(name) for name in tool.image_arguments]
    listed = [handle for value in given for handle in (value if isinstance(value, list) else [value])]
    return tuple(h for h in listed if isinstance(h, int) and not isinstance(h, bool) and h >= 0)


def _commit(store: ImageStore, call: ToolCall, result: ToolResult, toolbox: Toolbox) -> ToolResult:
    parent = next(iter(named_handles(toolbox, call)), None)
    handles = tuple(store.add(image, parent, call) for image in result.images)
    return dataclasses.replace(result, handles=handles)


def _each_handle(tool: Tool, arguments: dict[str, Any]) -> Iterator[int]:
    for name in tool.image_arguments:
        value = arguments[name]
        if isinstance(value, list):
            yield from value
        elif value is not None:
            yield value


def _missing_handle(tool: Tool, arguments: dict[str, Any], store: ImageStore) -> int | None:
    return next((handle for handle in _each_handle(tool, arguments) if handle >= len(store)), None)


def _handles(store: ImageStore) -> str:
    if len(store) < 2:
        return "the only image is 0" if len(store) else "there are no images"
    return f"the images are 0 to {len(store) - 1}"


def _resolved(tool: Tool, arguments: dict[str, Any], store: ImageStore) -> dict[str, Any]:
    out = dict(arguments)
    for name in tool.image_arguments:
        value = out[name]
        if isinstance(value, list):
            out[name] = [store[handle] for handle in value]
        elif value is not None:
            out[name] = store[value]
    return out


def _key(tool: Tool, arguments: dict[str, Any], store: ImageStore, *, by_content: bool) -> str:
    """What a deterministic result depends on; images by content, or by identity when results are not kept."""
    if not tool.image_arguments:
        return repr(arguments)
    images = [store[handle] for handle in _each_handle(tool, arguments)]
    marks = [image.digest if by_content else str(id(image)) for image in images]
    plain = [
        (name, value if name not in tool.image_arguments else len(value) if isinstance(value, list) else value is None)
        for name, value in arguments.items()
    ]
    return f"{plain!r} {marks}"
