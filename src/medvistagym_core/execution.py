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
from typing import Any, Final, NamedTuple, Protocol, Self

from medvistagym_core.cache import ResultCache
from medvistagym_core.errors import MemoryExhaustedError, ToolError, nearest
from medvistagym_core.image import Image
from medvistagym_core.known import Known, Unit
from medvistagym_core.memory import release
from medvistagym_core.registry import Toolbox
from medvistagym_core.result import ToolResult
from medvistagym_core.tool import ToolCall
from medvistagym_core.watch import WATCH
from medvistagym_core.workers import Batch, Workers

CACHE_BYTES: Final = 256 * 2**20
_RUNNING: Final = object()
INLINE_S: Final = 0.002  # what a run may spend in the calling thread before the other cores are worth their threads


class StoredImage(NamedTuple):
    """An image of an episode and where it came from: the handle it was made from and the call that made it, if any."""

    image: Image
    parent: int | None = None
    call: ToolCall | None = None


class ImageStore:
    """The images of one episode by handle: 0, 1, ..."""

    def __init__(self, images: Sequence[Image] = ()) -> None:
        self._images: Sequence[Image] = images if type(images) is tuple else [*images]
        self._origins: dict[int, tuple[int | None, ToolCall | None]] = {}  # of those that were added later

    def add(self, image: Image, parent: int | None = None, call: ToolCall | None = None) -> int:
        """Store an image; its handle."""
        handle = len(self._images)
        if not isinstance(self._images, list):  # those of a case are shared by its episodes, most of which add none
            self._images = [*self._images]
        self._images.append(image)
        self._origins[handle] = parent, call
        return handle

    @property
    def images(self) -> tuple[Image, ...]:
        """The images, by handle."""
        return tuple(self._images)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, handle: int) -> Image:
        return self._images[handle]

    def __iter__(self) -> Iterator[StoredImage]:
        for handle, image in enumerate(self._images):
            yield StoredImage(image, *self._origins.get(handle, ()))


Job = tuple[ImageStore, Sequence[ToolCall]]


class Group:
    """Distinct calls that are run together where their tool can; the places `(job, call)` that wait for each, and those that
    ran out of memory and are run again by themselves.
    """

    __slots__ = ("arguments", "keys", "known", "places", "short")

    def __init__(self, known: Known) -> None:
        self.known = known
        self.arguments: list[dict[str, Any]] = []
        self.keys: list[Hashable] = []
        self.places: list[list[tuple[int, int]]] = []
        self.short: set[int] = set()


class Run:
    """How far one `run` of an executor is.

    Attributes:
        jobs: What is to be run.
        rows: For each call of the jobs that were looked at, its result, `_RUNNING`, or None while it has not begun.
        settled: For each job, the number of calls before the first without a result.
        seen: Results of deterministic tools by key.
        waiting: Places that wait for the same call of a deterministic tool, by key.
        groups: Calls that are about to be handed to threads.
        inline_s: Seconds that may still be spent in the calling thread.
        here: Whether tools with a time limit may run there.
        lone: Whether there is one call only, which no kernel can take together with others.
    """

    __slots__ = ("groups", "here", "inline_s", "jobs", "lone", "rows", "seen", "settled", "waiting")

    def __init__(self, jobs: Sequence[Job], rows: list[list[Any]], inline_s: float) -> None:
        self.jobs = jobs
        self.rows = rows
        self.settled = [0] * len(jobs)
        self.seen: dict[Hashable, ToolResult] = {}
        self.waiting: dict[Hashable, list[tuple[int, int]]] = {}
        self.groups: dict[Hashable, Group] = {}
        self.inline_s = inline_s
        self.here = inline_s > 0 and WATCH.ready()
        self.lone = len(jobs) == 1 and len(jobs[0][1]) == 1

    def join(
        self,
        known: Known,
        name: str,
        arguments: dict[str, Any],
        marks: Sequence[Any],
        key: Hashable,
        place: tuple[int, int],
    ) -> None:
        """Put a call into the group of those it can run with."""
        kind: Hashable = name
        if known.batched:
            shapes = [(mark.pixels.shape, mark.pixels.dtype.str) if type(mark) is Image else mark for mark in marks]
            kind = name, *shapes
        group = self.groups.get(kind)
        if group is None:
            group = self.groups[kind] = Group(known)
        places = [place]
        if key is not None:
            self.waiting[key] = places
        group.arguments.append(arguments)
        group.keys.append(key)
        group.places.append(places)


class Executor(Protocol):
    """Runs the calls of many episodes."""

    @property
    def toolbox(self) -> Toolbox: ...
    def run(self, jobs: Sequence[Job]) -> list[list[ToolResult]]: ...
    def close(self) -> None: ...


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
        self._workers = Workers(workers)
        self._cache = ResultCache(cache_bytes)
        self._tools: dict[str, Known] = {}

    def close(self) -> None:
        """Let the threads end and drop the cache."""
        self._workers.close()
        self._cache.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def run(self, jobs: Sequence[Job]) -> list[list[ToolResult]]:
        """The results of every call, as `jobs` are nested; images are in the stores, their handles in the results."""
        rows: list[list[Any]] = []
        run: Run | None = None  # what is over at once needs none
        tools, watched = self._tools, self._inline and WATCH.ready()
        for store, calls in jobs:
            if watched and len(calls) == 1:
                call = calls[0]
                known = tools.get(call.name)
                if known is not None and known.swift:
                    result = known.run_here(call.arguments, store._images)  # noqa: SLF001 as in `_begin`
                    if result is not None:
                        rows.append([self._commit(store, call, result) if result.images else result])
                        continue
            rows.append([None] * len(calls))
            if run is None:
                run = Run(jobs, rows, INLINE_S if self._inline else 0.0)
            self._advance(run, len(rows) - 1)
        if run is not None and run.groups:
            self._overlap(run)
        return rows

    def _overlap(self, run: Run) -> None:
        """Run what could not run at once, and what waits for it."""
        batch = self._workers.batch()
        units: dict[int, tuple[Group, list[int]]] = {}
        short: list[tuple[Group, int]] = []  # calls that ran out of memory beside others
        try:
            while True:
                groups, run.groups = list(run.groups.values()), {}
                for group in groups:
                    self._submit(group, self._parts(group), batch, units)
                if not batch.left and short:
                    release()
                    group, k = short.pop()
                    self._submit(group, [[k]], batch, units)
                if not batch.left:
                    return
                touched: set[int] = set()
                for number, value in batch.wait():
                    group, ks = units.pop(number)
                    for k, result in zip(ks, group.known.outcome(value, len(ks)), strict=True):
                        if type(result.error) is MemoryExhaustedError and k not in group.short and not run.lone:
                            group.short.add(k)
                            short.append((group, k))
                        else:
                            touched |= self._settle(run, group, k, result)
                for j in sorted(touched):
                    self._advance(run, j)
        except BaseException:
            batch.abandon()
            raise

    def _submit(
        self, group: Group, parts: Sequence[list[int]], batch: Batch, units: dict[int, tuple[Group, list[int]]]
    ) -> None:
        known = group.known
        limits = [self._limit(known, len(part)) for part in parts]
        work = [self._unit(known, [group.arguments[k] for k in part]) for part in parts]
        numbers = batch.add(work, limits, expected_s=known.seconds, busy=known.busy)
        units.update((number, (group, part)) for number, part in zip(numbers, parts, strict=True))

    def _parts(self, group: Group) -> list[list[int]]:
        """The calls of a group, as they are run together."""
        everything = range(len(group.arguments))
        return [list(everything)] if group.known.batched else [[k] for k in everything]

    def _limit(self, known: Known, count: int) -> float | None:
        """Seconds that a thread may take for some calls."""
        return None if known.limit is None else known.limit * count

    def _unit(self, known: Known, arguments: Sequence[dict[str, Any]]) -> Callable[[], list[ToolResult]]:
        """What a thread does for some calls."""
        return Unit(known, arguments)

    def _settle(self, run: Run, group: Group, k: int, result: ToolResult) -> set[int]:
        """Hand out the result of a distinct call of a group; the jobs that got it."""
        key = group.keys[k]
        if key is not None:
            run.waiting.pop(key, None)
            run.seen[key] = result
            self._cache.put(key, result)
        for nth, (j, i) in enumerate(group.places[k]):
            run.rows[j][i] = result.again() if nth else result
        return {j for j, _ in group.places[k]}

    def _advance(self, run: Run, j: int) -> None:
        """Begin every call of a job that can be begun, and store the images of those that are done, in order."""
        store, calls = run.jobs[j]
        row = run.rows[j]
        done = True  # all calls up to here are
        for i in range(run.settled[j], len(row)):
            result = row[i]
            if result is None:
                try:
                    result = row[i] = self._begin(run, j, i, calls[i], store, done)
                except ToolError as error:
                    result = row[i] = ToolResult(error=error)
            if not done:
                continue
            if result is None or result is _RUNNING:
                done = False
                continue
            if result.images:
                row[i] = self._commit(store, calls[i], result)
            run.settled[j] = i + 1

    def _begin(self, run: Run, j: int, i: int, call: ToolCall, store: ImageStore, next_: bool) -> Any:
        """A call's result, when it is had at once; `_RUNNING` when it is to come; None when the call must wait."""
        known = self._tools.get(call.name) or self._found(call)
        arguments = known.tool.validate(call.arguments)
        images = store._images  # noqa: SLF001 a method call for each image takes longer than the rest of this line
        marks: Sequence[Any] = ()
        prefix = known.prefix
        # As they were given: JSON values, whose text tells all, while that of a checked value may leave something out.
        plain = "" if prefix is None else repr([pair for pair in call.arguments.items() if pair[0] not in known.images])
        if known.image is not None and type(handle := arguments[known.image]) is int:
            if handle < len(images):
                marks = (images[handle],)
                arguments[known.image] = images[handle]
            elif next_:
                raise _absent(call, handle, store)
            else:
                return None
        elif known.images:
            marks, missing = _resolved(known, arguments, store)
            if missing is not None:
                if next_:
                    raise _absent(call, missing, store)
                return None
        key: Hashable = None
        if prefix is not None:
            key = self._key(prefix, plain, marks)
            found = run.seen.get(key) or self._cache.get(key)
            if found is not None:
                return found.again()
            if key in run.waiting:
                run.waiting[key].append((j, i))
                return _RUNNING
        if (known.inline or (run.lone and known.trusted)) and (run.here or (run.inline_s > 0 and known.limit is None)):
            result = known.run_here(arguments)
            assert result is not None
            run.inline_s -= result.seconds
            if run.inline_s <= 0:
                run.here = False
            if key is not None:
                run.seen[key] = result
                self._cache.put(key, result)
            return result
        run.join(known, call.name, arguments, marks, key, (j, i))
        return _RUNNING

    def _key(self, prefix: str, plain: str, marks: Sequence[Any]) -> Hashable:
        """What a deterministic result depends on; images by content, or by identity when results are not kept."""
        if self._cache.room:
            return prefix, plain, *[mark.identity if type(mark) is Image else mark for mark in marks]
        return prefix, plain, *[id(mark) if type(mark) is Image else mark for mark in marks]

    def _found(self, call: ToolCall) -> Known:
        tool = self.toolbox.get(call.name)
        if tool is None:
            near = nearest(call.name, list(self.toolbox))
            guess = f"; did you mean {near}?" if near else "."
            names = ", ".join(self.toolbox) or "none"
            raise ToolError("unknown_tool", f"There is no tool {call.name[:64]}{guess} The tools are: {names}.")
        known = self._tools[call.name] = Known(tool)
        return known

    def _commit(self, store: ImageStore, call: ToolCall, result: ToolResult) -> ToolResult:
        parent = next(_handles_of(self._tools[call.name].images, call), None)
        return result.stored(tuple([store.add(image, parent, call) for image in result.images]))


def named_handles(toolbox: Toolbox, call: ToolCall) -> tuple[int, ...]:
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


def _absent(call: ToolCall, handle: int, store: ImageStore) -> ToolError:
    return ToolError("bad_value", f"{call.name}: there is no image {handle}; {_handles(store)}.")


def _resolved(known: Known, arguments: dict[str, Any], store: ImageStore) -> tuple[list[Any], int | None]:
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
