"""Runs the items of one `schedule_calls`: batches to workers, as many as they take, and the rest in this process.

A turn's calls of a tool become a batch for each of its workers, or several where calls take long. A worker holds two of them,
one that runs and one that waits, so that a slow tool takes no more memory than that, and only its callers wait for it.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import ray

from medvistagym_core.execution import Runner, WorkItem
from medvistagym_core.tools import ToolError, ToolResult, first_line
from medvistagym_ray.cluster import ObjectStoreFullError, PlacementError, WorkersStoppedError
from medvistagym_ray.workers._call_batch import (
    BatchAnswer,
    Bundle,
    CallBatch,
    ImageAt,
    images_of,
    map_images,
    with_images,
)
from medvistagym_ray.workers._costs import image_bytes
from medvistagym_ray.workers._object_store import store_full_sentence
from medvistagym_ray.workers._packed_image import unpack_image
from medvistagym_ray.workers._remote_tool import CallPart, RemoteTool, ToolTurn
from medvistagym_ray.workers._shared_results import result_key
from medvistagym_ray.workers._worker_group import WorkerGroup
from medvistagym_ray.workers._worker_pool import WorkerPool

WINDOW: Final = 2
"""Batches that a worker holds of those of one run."""
_PART_S: Final = 0.1
"""Work in a batch, if calls take long: much more than sending it, and so little that all workers end at about the same time."""
_LOST_TRIES: Final = 20
_LOOK_S: Final = 1.0
_WARN_S: Final = 60.0
_logger = logging.getLogger("medvistagym_ray")


class RayRunner:
    """Runs work items.

    Args:
        pool: The workers.
        tools: Where tools run, by name.
        open_local: Makes the runner of what stays in this process.
    """

    def __init__(self, pool: WorkerPool, tools: dict[str, RemoteTool], open_local: Callable[[], Runner]) -> None:
        self._pool = pool
        self._tools = tools
        self._open_local = open_local
        self._waiting: dict[WorkerGroup, deque[CallPart]] = {}
        self._held: dict[WorkerGroup, list[int]] = {}
        self._sent: dict[
            Any, tuple[CallPart, Any, int]
        ] = {}  # by the reference of the answer: the images', and the worker
        self._results: dict[WorkItem, list[ToolResult | None]] = {}
        self._left: dict[WorkItem, int] = {}
        self._keys: dict[tuple[WorkItem, int], bytes] = {}
        self._done: list[WorkItem] = []
        self._local: queue.SimpleQueue[list[WorkItem] | BaseException] = queue.SimpleQueue()
        self._local_items = 0
        self._local_runners: list[Runner] = []
        self._turns: dict[str, ToolTurn] = {}
        self._answered = time.monotonic()
        self._first = random.randrange(1 << 16)

    # -- what `schedule_calls` calls

    def submit(self, items: list[WorkItem]) -> None:
        """Have items run."""
        here: list[WorkItem] = []
        away: dict[str, list[WorkItem]] = {}
        for name, group in _by_tool(items).items():
            (away.setdefault(name, group) if self._goes_away(self._tools[name], group) else here.extend(group))
        for name, group in away.items():
            self._enqueue(self._tools[name], group)
        self._answered = time.monotonic()
        self._dispatch()
        if here:
            self._run_here(here)

    def wait(self) -> list[WorkItem]:
        """Items that are done, at least one; an empty list when none is left."""
        while not self._done:
            self._dispatch()
            if not self._sent and not self._local_items:
                return []
            self._take_local(block=not self._sent)
            if self._sent:
                timeout = 0.0 if self._done else 0.002 if self._local_items else _LOOK_S
                ready, _ = ray.wait(list(self._sent), num_returns=1, timeout=timeout)
                if ready and len(self._sent) > 1:
                    ready, _ = ray.wait(list(self._sent), num_returns=len(self._sent), timeout=0)
                for ref in ready:
                    self._receive(ref)
                if ready:
                    self._answered = time.monotonic()
                else:
                    self._check_patience()
        done, self._done = self._done, []
        return done

    def abandon(self) -> None:
        """Begin nothing more: the caller was interrupted."""
        self._waiting.clear()
        for ref in self._sent:
            with contextlib.suppress(Exception):  # its worker has ended already: what it would have given is not wanted
                ray.cancel(ref)
        self._sent.clear()
        for runner in self._local_runners:
            runner.abandon()

    # -- in this process

    def _goes_away(self, remote: RemoteTool, items: Sequence[WorkItem]) -> bool:
        if remote.group is None or not remote.auto:
            return remote.group is not None
        calls = [call for item in items for call in item.calls]
        nbytes = sum(image_bytes(images_of(dict(call), remote.tool.image_arguments)) for call in calls)
        return self._pool.costs.prefers_pool(remote.tool.name, len(calls), nbytes, remote.group)

    def _run_here(self, items: list[WorkItem]) -> None:
        for name, group in _by_tool(items).items():
            self._turns[name] = ToolTurn("local", sum(len(item.calls) for item in group))
        self._local_items += len(items)
        runner = self._open_local()
        self._local_runners.append(runner)
        if self._sent and not all(item.tool.light for item in items):  # workers' answers are waited for meanwhile
            threading.Thread(
                target=self._run_aside, args=(runner, items), daemon=True, name="medvistagym-local"
            ).start()
            return
        runner.submit(items)
        while done := runner.wait():
            self._local.put(done)

    def _run_aside(self, runner: Runner, items: list[WorkItem]) -> None:
        try:
            runner.submit(items)
            while done := runner.wait():
                self._local.put(done)
        except BaseException as error:  # noqa: BLE001 raised where it is waited for
            self._local.put(error)

    def _take_local(self, *, block: bool) -> None:
        while self._local_items:
            try:
                done = self._local.get(block=block and not self._done)
            except queue.Empty:
                return
            if isinstance(done, BaseException):
                raise done
            self._local_items -= len(done)
            self._done += done
            for item in done:
                self._note(item.tool.name, item.results)

    def _note(self, tool: str, results: Sequence[ToolResult]) -> None:
        """Take note of what calls cost of which this process or the pool may run the next."""
        turn = self._turns.get(tool)
        if turn is not None and turn.add(results):
            del self._turns[tool]
            self._pool.costs.note(tool, turn.location, turn.calls, time.perf_counter() - turn.began, turn.kernel_s)

    # -- to the workers

    def _enqueue(self, remote: RemoteTool, items: list[WorkItem]) -> None:
        for item in items:
            self._results[item] = [None] * len(item.calls)
            self._left[item] = len(item.calls)
        if remote.auto:
            self._turns[remote.tool.name] = ToolTurn("pool", sum(len(item.calls) for item in items))
        self._look_up(remote, items)
        group = remote.group
        assert group is not None
        items = [item for item in items if item in self._left]
        if not items:
            return
        group.start()
        self._held.setdefault(group, [0] * len(group.workers))
        units: list[list[tuple[WorkItem, int]]] = []
        calls = sum(self._left[item] for item in items)
        share = max(1, min(group.settings.max_batch, -(-calls // group.replicas)))
        for item in items:
            open_calls = [(item, k) for k, result in enumerate(self._results[item]) if result is None]
            size = share if item.tool.batched and len(item.calls) > 1 else 1
            units += [open_calls[first : first + size] for first in range(0, len(open_calls), size)]
        if remote.seconds is not None:
            share = max(1, min(share, int(_PART_S / max(remote.seconds, 1e-6))))
        parts: list[list[list[tuple[WorkItem, int]]]] = []
        filled = share
        for unit in units:
            if filled + len(unit) > share:
                parts.append([])
                filled = 0
            parts[-1].append(unit)
            filled += len(unit)
        self._waiting.setdefault(group, deque()).extend(CallPart(remote, part) for part in parts)

    def _look_up(self, remote: RemoteTool, items: list[WorkItem]) -> None:
        """Take results that another user of the pool has computed, if looking is cheaper than computing."""
        shared = self._pool.shared
        cheap = remote.seconds is not None and remote.seconds < 2e-3
        if shared is None or not remote.tool.deterministic or cheap or remote.shared is None:
            return
        for item in items:
            for k, call in enumerate(item.calls):
                self._keys[item, k] = result_key(remote.shared, remote.tool.image_arguments, dict(call))
        asked = [(item, k) for item in items for k in range(len(item.calls))]
        for (item, k), result in zip(asked, shared.look_up([self._keys[one] for one in asked]), strict=True):
            if result is not None:
                del self._keys[item, k]
                self._deliver(item, k, result)

    def _dispatch(self) -> None:
        for group, waiting in self._waiting.items():
            held = self._held[group]
            while waiting and min(held) < WINDOW:
                self._send(waiting.popleft(), group, self._least_busy(held))

    def _least_busy(self, held: Sequence[int]) -> int:
        """The worker that holds least of this run's; of several, not the same as for other users of the pool."""
        return min(range(len(held)), key=lambda worker: (held[worker], (worker - self._first) % len(held)))

    def _send(self, part: CallPart, group: WorkerGroup, worker: int) -> None:
        names, shared = part.remote.tool.image_arguments, part.remote.shared
        assert shared is not None
        calls = part.calls
        images = [image for item, k in calls for image in images_of(dict(item.calls[k]), names)]
        places = self._pool.images.place(images) if images else {}
        refs = list(dict.fromkeys(ref for ref, _ in places.values()))
        numbers = {ref: number for number, ref in enumerate(refs)}

        def locate(image: Any) -> ImageAt:
            ref, position = places[id(image)]
            return numbers[ref], position

        positions = {call: position for position, call in enumerate(calls)}
        batch = CallBatch(
            f"{part.id}-{part.tries}",
            shared,
            tuple(map_images(dict(item.calls[k]), names, locate) for item, k in calls),
            tuple(tuple(positions[call] for call in one) for one in part.groups),
        )
        answer, bundle = group.workers[worker].run.remote(batch, *refs)
        self._sent[answer] = part, bundle, worker
        self._held[group][worker] += 1

    def _receive(self, ref: Any) -> None:
        part, bundle_ref, worker = self._sent.pop(ref)
        group = part.remote.group
        assert group is not None
        self._held[group][worker] -= 1
        try:
            answer = ray.get(ref)
            bundle = ray.get(bundle_ref) if answer.keys else []
        except ray.exceptions.ActorDiedError as error:
            group.forget()
            raise _gone(part.remote.tool.name, error) from None
        except ray.exceptions.RayTaskError as error:
            self._fail(part, group, error.cause if isinstance(error.cause, Exception) else error)
        except ray.exceptions.RayError as error:  # a node is gone, with images or an answer that only it had
            self._send_again(part, group, error)
        else:
            self._accept(part, answer, bundle, bundle_ref)

    def _fail(self, part: CallPart, group: WorkerGroup, error: Exception) -> None:
        if isinstance(error, ray.exceptions.ObjectStoreFullError | ray.exceptions.OutOfDiskError):
            raise ObjectStoreFullError(store_full_sentence(f"the results of {part.remote.tool.name}")) from error
        if isinstance(error, ray.exceptions.RayError):
            self._send_again(part, group, error)
            return
        message = f"{part.remote.tool.name} failed on its worker with {type(error).__name__}: {first_line(error)}."
        for item, k in part.calls:
            self._deliver(item, k, ToolResult(error=ToolError("tool_failed", message)))

    def _send_again(self, part: CallPart, group: WorkerGroup, error: Exception) -> None:
        part.tries += 1
        if part.tries > _LOST_TRIES:
            message = f"{part.remote.tool.name} was lost with its node {part.tries} times: {first_line(error)}."
            for item, k in part.calls:
                self._deliver(item, k, ToolResult(error=ToolError("tool_failed", message)))
            return
        self._pool.images.clear()
        self._waiting[group].appendleft(part)

    def _accept(self, part: CallPart, answer: BatchAnswer, bundle: Bundle, bundle_ref: Any) -> None:
        images = [unpack_image(packed, copy=True) for packed in bundle]
        if images:
            self._pool.images.adopt(bundle_ref, images, answer.keys, answer.nbytes)
        to_share: list[tuple[bytes, ToolResult]] = []
        first = 0
        seconds: list[float] = []
        for (item, k), bare, count in zip(part.calls, answer.results, answer.images, strict=True):
            result = with_images(bare, images[first : first + count])
            first += count
            if result.error is None:
                seconds.append(result.seconds)
            if (key := self._keys.pop((item, k), None)) is not None:
                to_share.append((key, result))
            self._deliver(item, k, result)
        if to_share and self._pool.shared is not None:
            self._pool.shared.keep(to_share)
        if seconds:
            part.remote.seconds = sum(seconds) / len(seconds)

    def _deliver(self, item: WorkItem, k: int, result: ToolResult) -> None:
        results = self._results[item]
        results[k] = result
        self._left[item] -= 1
        if not self._left[item]:
            item.results = [one for one in self._results.pop(item) if one is not None]
            del self._left[item]
            self._done.append(item)
            self._note(item.tool.name, item.results)

    def _check_patience(self) -> None:
        """Say when no worker has answered for long, and give up on workers that never began."""
        for group in {part.remote.group for part, _, _ in self._sent.values()}:
            assert group is not None
            group.check_started(self._pool.placement.limits.start_timeout_s)
        if time.monotonic() - self._answered > _WARN_S:
            self._answered = time.monotonic()
            names = ", ".join(sorted({part.remote.tool.name for part, _, _ in self._sent.values()}))
            _logger.warning(
                "no worker of %s has answered for %g s; `medvistagym workers status` shows why", names, _WARN_S
            )


def _gone(tool: str, error: Exception) -> Exception:
    """What it means that workers are gone for good."""
    text = str(error)
    if "creation task" in text or "ModuleNotFoundError" in text:
        last = [line.strip() for line in text.splitlines() if line.strip()][-1][:200]
        return PlacementError(
            f"a worker of {tool} could not begin ({last}): install the same distributions on every node"
        )
    return WorkersStoppedError(
        f"the workers of {tool} were stopped while they were used: run the same command again, which starts others"
    )


def _by_tool(items: Sequence[WorkItem]) -> dict[str, list[WorkItem]]:
    groups: dict[str, list[WorkItem]] = {}
    for item in items:
        groups.setdefault(item.tool.name, []).append(item)
    return groups


__all__ = ["PlacementError", "RayRunner", "RemoteTool"]
