"""Running the calls of many episodes at once.

`LocalExecutor.run` takes one job per episode, `(store, calls)`. Each call is validated, and its handles become images
of that episode's `ImageStore`. Equal calls of a deterministic tool are computed once, now or ever (`cache`). Then:

- a tool that has shown itself quick runs at once, in the calling thread (`watch`), and one that takes less than it would
  take to notice an equal call runs every time (`known`);
- the calls of a tool with a batched kernel, whose images agree in shape and type of value, run as one;
- whatever else there is overlaps in threads (`workers`).

A call that names an image made earlier in the same message runs as soon as that image is there, whatever other episodes
wait for. Results are added to the stores in the order of the messages, so handles do not depend on timing. A fault of
the policy or of a tool is a `ToolResult` with an error, never an exception.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Final, Self

from medvistagym_core.execution._base import CallRequest
from medvistagym_core.execution._image_store import ImageStore
from medvistagym_core.execution._result_cache import ResultCache
from medvistagym_core.execution._schedule import _RUNNING, INLINE_BUDGET_S, CallBatch, RunState
from medvistagym_core.execution._thread_pool import TaskStream, ThreadPool
from medvistagym_core.execution._tool_profile import ToolProfile, WorkItem
from medvistagym_core.execution._watchdog import WATCHDOG
from medvistagym_core.imaging import Image
from medvistagym_core.tools import (
    OutOfMemoryToolError,
    Toolbox,
    ToolCall,
    ToolError,
    ToolResult,
    closest_match,
    free_unused_memory,
)

CACHE_BYTES: Final = 256 * 2**20


class LocalExecutor:
    """Runs tools in this process.

    Args:
        toolbox: The tools that may be called.
        workers: Most calls at work at a time.
        cache_bytes: Memory for results of deterministic tools, by content; 0 for none.
    """

    _inline = True

    def __init__(self, toolbox: Toolbox, *, workers: int = 64, cache_bytes: int = CACHE_BYTES) -> None:
        self.toolbox = toolbox
        self._workers = ThreadPool(workers)
        self._cache = ResultCache(cache_bytes)
        self._tools: dict[str, ToolProfile] = {}

    def close(self) -> None:
        """Let the threads end and drop the cache."""
        self._workers.close()
        self._cache.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def run(self, jobs: Sequence[CallRequest]) -> list[list[ToolResult]]:
        """The results of every call, as `jobs` are nested; images are in the stores, their handles in the results."""
        rows: list[list[Any]] = []
        run: RunState | None = None  # what is over at once needs none
        tools, watched = self._tools, self._inline and WATCHDOG.is_available()
        for store, calls in jobs:
            if watched and len(calls) == 1:
                call = calls[0]
                known = tools.get(call.name)
                if known is not None and known.uncached_inline:
                    result = known.run_inline(call.arguments, store._images)  # noqa: SLF001 as in `_begin`
                    if result is not None:
                        rows.append([self._store_images(store, call, result) if result.images else result])
                        continue
            rows.append([None] * len(calls))
            if run is None:
                run = RunState(jobs, rows, INLINE_BUDGET_S if self._inline else 0.0)
            self._start_ready_calls(run, len(rows) - 1)
        if run is not None and run.groups:
            self._run_in_threads(run)
        return rows

    def _run_in_threads(self, run: RunState) -> None:
        """Run what could not run at once, and what waits for it."""
        batch = self._workers.batch()
        units: dict[int, tuple[CallBatch, list[int]]] = {}
        short: list[tuple[CallBatch, int]] = []  # calls that ran out of memory beside others
        try:
            while True:
                groups, run.groups = list(run.groups.values()), {}
                for group in groups:
                    self._submit(group, self._split_batch(group), batch, units)
                if not batch.pending and short:
                    free_unused_memory()
                    group, k = short.pop()
                    self._submit(group, [[k]], batch, units)
                if not batch.pending:
                    return
                touched: set[int] = set()
                for number, value in batch.wait():
                    group, ks = units.pop(number)
                    for k, result in zip(ks, group.known.to_results(value, len(ks)), strict=True):
                        if (
                            type(result.error) is OutOfMemoryToolError
                            and k not in group.retry_alone
                            and not run.single_call
                        ):
                            group.retry_alone.add(k)
                            short.append((group, k))
                        else:
                            touched |= self._deliver(run, group, k, result)
                for j in sorted(touched):
                    self._start_ready_calls(run, j)
        except BaseException:
            batch.abandon()
            raise

    def _submit(
        self,
        group: CallBatch,
        parts: Sequence[list[int]],
        batch: TaskStream,
        units: dict[int, tuple[CallBatch, list[int]]],
    ) -> None:
        known = group.known
        limits = [self._limit(known, len(part)) for part in parts]
        work = [self._unit(known, [group.arguments[k] for k in part]) for part in parts]
        numbers = batch.add(work, limits, expected_s=known.seconds, busy=known.busy)
        units.update((number, (group, part)) for number, part in zip(numbers, parts, strict=True))

    def _split_batch(self, group: CallBatch) -> list[list[int]]:
        """The calls of a group, as they are run together."""
        everything = range(len(group.arguments))
        return [list(everything)] if group.known.batched else [[k] for k in everything]

    def _limit(self, known: ToolProfile, count: int) -> float | None:
        """Seconds that a thread may take for some calls."""
        return None if known.timeout_s is None else known.timeout_s * count

    def _unit(self, known: ToolProfile, arguments: Sequence[dict[str, Any]]) -> Callable[[], list[ToolResult]]:
        """What a thread does for some calls."""
        return WorkItem(known, arguments)

    def _deliver(self, run: RunState, group: CallBatch, k: int, result: ToolResult) -> set[int]:
        """Hand out the result of a distinct call of a group; the jobs that got it."""
        key = group.keys[k]
        if key is not None:
            run.waiting.pop(key, None)
            run.seen[key] = result
            self._cache.put(key, result)
        for nth, (j, i) in enumerate(group.destinations[k]):
            run.results[j][i] = result.as_cache_hit() if nth else result
        return {j for j, _ in group.destinations[k]}

    def _start_ready_calls(self, run: RunState, j: int) -> None:
        """Begin every call of a job that can be begun, and store the images of those that are done, in order."""
        store, calls = run.jobs[j]
        row = run.results[j]
        done = True  # all calls up to here are
        for i in range(run.settled[j], len(row)):
            result = row[i]
            if result is None:
                try:
                    result = row[i] = self._start_call(run, j, i, calls[i], store, done)
                except ToolError as error:
                    result = row[i] = ToolResult(error=error)
            if not done:
                continue
            if result is None or result is _RUNNING:
                done = False
                continue
            if result.images:
                row[i] = self._store_images(store, calls[i], result)
            run.settled[j] = i + 1

    def _start_call(self, run: RunState, j: int, i: int, call: ToolCall, store: ImageStore, next_: bool) -> Any:
        """A call's result, when it is had at once; `_RUNNING` when it is to come; None when the call must wait."""
        known = self._tools.get(call.name) or self._profile_for(call)
        arguments = known.tool.validate(call.arguments)
        images = store._images  # noqa: SLF001 a method call for each image takes longer than the rest of this line
        marks: Sequence[Any] = ()
        prefix = known.cache_prefix
        # As they were given: JSON values, whose text tells all, while that of a checked value may leave something out.
        plain = "" if prefix is None else repr([pair for pair in call.arguments.items() if pair[0] not in known.images])
        if known.image is not None and type(handle := arguments[known.image]) is int:
            if handle < len(images):
                marks = (images[handle],)
                arguments[known.image] = images[handle]
            elif next_:
                raise _missing_image_error(call, handle, store)
            else:
                return None
        elif known.images:
            marks, missing = _resolve_images(known, arguments, store)
            if missing is not None:
                if next_:
                    raise _missing_image_error(call, missing, store)
                return None
        key: Hashable = None
        if prefix is not None:
            key = self._key(prefix, plain, marks)
            found = run.seen.get(key) or self._cache.get(key)
            if found is not None:
                return found.as_cache_hit()
            if key in run.waiting:
                run.waiting[key].append((j, i))
                return _RUNNING
        if (known.inline or (run.single_call and known.fast)) and (
            run.inline_allowed or (run.inline_s > 0 and known.timeout_s is None)
        ):
            result = known.run_inline(arguments)
            assert result is not None
            run.inline_s -= result.seconds
            if run.inline_s <= 0:
                run.inline_allowed = False
            if key is not None:
                run.seen[key] = result
                self._cache.put(key, result)
            return result
        run.enqueue(known, call.name, arguments, marks, key, (j, i))
        return _RUNNING

    def _key(self, prefix: str, plain: str, marks: Sequence[Any]) -> Hashable:
        """What a deterministic result depends on; images by content, or by identity when results are not kept."""
        if self._cache.max_bytes:
            return prefix, plain, *[mark.cache_key if type(mark) is Image else mark for mark in marks]
        return prefix, plain, *[id(mark) if type(mark) is Image else mark for mark in marks]

    def _profile_for(self, call: ToolCall) -> ToolProfile:
        tool = self.toolbox.get(call.name)
        if tool is None:
            near = closest_match(call.name, list(self.toolbox))
            guess = f"; did you mean {near}?" if near else "."
            names = ", ".join(self.toolbox) or "none"
            raise ToolError("unknown_tool", f"There is no tool {call.name[:64]}{guess} The tools are: {names}.")
        known = self._tools[call.name] = ToolProfile(tool)
        return known

    def _store_images(self, store: ImageStore, call: ToolCall, result: ToolResult) -> ToolResult:
        parent = next(_handles_of(self._tools[call.name].images, call), None)
        return result.with_handles(tuple([store.add(image, parent, call) for image in result.images]))


def referenced_handles(toolbox: Toolbox, call: ToolCall) -> tuple[int, ...]:
    """The handles that a call names, in the order of its tool's arguments, whether they exist or not."""
    tool = toolbox.get(call.name)
    return () if tool is None else tuple(_handles_of(tool.image_arguments, call))


def _handles_of(images: Sequence[str], call: ToolCall) -> Iterator[int]:
    for name in images:
        value = call.arguments.get(name)
        for handle in value if isinstance(value, list) else (value,):
            if isinstance(handle, int) and not isinstance(handle, bool) and handle >= 0:
                yield handle


def _handles(store: ImageStore) -> str:
    if len(store) < 2:
        return "the only image is 0" if len(store) else "there are no images"
    return f"the images are 0 to {len(store) - 1}"


def _missing_image_error(call: ToolCall, handle: int, store: ImageStore) -> ToolError:
    return ToolError("bad_value", f"{call.name}: there is no image {handle}; {_handles(store)}.")


def _resolve_images(known: ToolProfile, arguments: dict[str, Any], store: ImageStore) -> tuple[list[Any], int | None]:
    """Put images in place of handles.

    Returns:
        The images in order, with the length of each list before it and None for one left out; and the first handle that
        there is not.
    """
    marks: list[Any] = []
    for name in known.images:
        value = arguments[name]
        if value is None:
            marks.append(None)
            continue
        handles = value if isinstance(value, list) else [value]
        missing = next((handle for handle in handles if handle >= len(store)), None)
        if missing is not None:
            return [], missing
        images = [store[handle] for handle in handles]
        if isinstance(value, list):
            marks.append(len(images))
        marks += images
        arguments[name] = images if isinstance(value, list) else images[0]
    return marks, None
