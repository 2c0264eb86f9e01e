"""The process that runs tools: an actor of Ray, restarted when it dies.

It loads a tool when the first call of it comes, and sets up what the tool keeps. Calls wait in the order in which they come and
run `concurrency` at a time. A call that exceeds its time limit ends the process, as does one that crashes it; Ray starts
another and sends it again what the first had been sent, and the journal tells the second what the first died at.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import psutil
import ray

from medvistagym_core.execution import load_tool
from medvistagym_core.tools import Tool, ToolError, ToolResult, first_line, schema_hash
from medvistagym_ray.cluster import WorkerSettings
from medvistagym_ray.workers._call_batch import (
    BareResult,
    BatchAnswer,
    Bundle,
    CallBatch,
    ImageAt,
    SharedTool,
    map_images,
    without_images,
)
from medvistagym_ray.workers._call_journal import CallJournal
from medvistagym_ray.workers._call_runner import CallRunner
from medvistagym_ray.workers._packed_image import PackedImage, pack_image, unpack_image

LOAD_S: Final = 600.0
"""Seconds within which a tool is loaded and set up, a network of some GB included."""
WAITING: Final = 16
"""Batches that a worker takes in before it runs them: with them, `WorkerStatus.queued` counts what waits."""


class WorkerIdentity(NamedTuple):
    """Which worker it is.

    Attributes:
        pool: Name of its pool.
        group: The tool, or the shared pool within `pool`, that it serves.
        replica: Its number in the group, from 0.
    """

    pool: str
    group: str
    replica: int

    @property
    def actor_name(self) -> str:
        """Its name in Ray."""
        return f"{self.pool}/{self.group}/{self.replica}"


class WorkerStatus(NamedTuple):
    """How a worker is.

    Attributes:
        tools: What it has loaded.
        queued: Calls that wait in it.
        running: Calls that run.
        done: Calls that this process ran.
        mean_s: Mean time of the last calls.
        p95_s: Time that 95 of 100 of them did not exceed.
        memory_bytes: Memory of its process.
        deaths: Processes of this worker that died before this one.
        settings: How it was started.
        identity: Which worker it is.
        node: Id of the node that it runs on.
        pid: Its process there.
    """

    identity: WorkerIdentity
    node: str
    pid: int
    tools: tuple[str, ...]
    queued: int
    running: int
    done: int
    mean_s: float
    p95_s: float
    memory_bytes: int
    deaths: int
    settings: WorkerSettings


class ToolWorker:
    """Runs batches of calls.

    Args:
        identity: Which worker it is.
        settings: How it runs.
    """

    def __init__(self, identity: WorkerIdentity, settings: WorkerSettings) -> None:
        context = ray.get_runtime_context()
        self._identity = identity
        self._settings = settings
        self._node = str(context.get_node_id())
        self._journal = CallJournal(str(context.get_actor_id()))
        self._threads = ThreadPoolExecutor(settings.concurrency, "medvistagym-tool")
        self._tools: dict[str, Tool] = {}
        self._loading = threading.Lock()
        self._runner = CallRunner(self._journal)

    @ray.method(concurrency_group="run", num_returns=2)
    def run(self, batch: CallBatch, *bundles: Bundle) -> tuple[BatchAnswer, Bundle]:
        """The results of a batch, and the images that they made.

        Args:
            batch: The calls.
            bundles: The images that they name, which Ray has brought to this machine.
        """
        self._runner.receive(len(batch.calls))
        results = self._threads.submit(self._run, batch, bundles).result()
        return _answer(batch.tool.name, results)

    @ray.method(concurrency_group="run")
    def load(self, tool: SharedTool) -> str:
        """Load a tool before the first call of it; why that failed, or nothing."""
        try:
            self._threads.submit(self._tool, tool).result()
        except ToolError as error:
            return error.message
        return ""

    @ray.method(concurrency_group="status")
    def status(self) -> WorkerStatus:
        """How it is; answered beside whatever runs."""
        return WorkerStatus(
            self._identity,
            self._node,
            os.getpid(),
            tuple(sorted(tool.name for tool in self._tools.values())),
            *self._runner.counts(),
            int(psutil.Process().memory_info().rss),
            self._journal.process,
            self._settings,
        )

    @ray.method(concurrency_group="status")
    def echo(self, value: Any) -> int:
        """The number of bytes that came, to measure how long that takes."""
        return int(getattr(value, "nbytes", 0))

    @ray.method(concurrency_group="status")
    def retire(self) -> None:
        """Remove what a restarted worker would read: there will be none."""
        self._journal.remove()

    # -- running

    def _run(self, batch: CallBatch, bundles: Sequence[Bundle]) -> list[ToolResult]:
        try:
            tool = self._tool(batch.tool)
        except ToolError as error:
            self._runner.refuse(len(batch.calls))
            return [ToolResult(error=error)] * len(batch.calls)
        unpacked: dict[ImageAt, Any] = {}

        def image(place: ImageAt) -> Any:
            if place not in unpacked:
                bundle, position = place
                unpacked[place] = unpack_image(bundles[bundle][position])
            return unpacked[place]

        calls = [map_images(arguments, tool.image_arguments, image) for arguments in batch.calls]
        keys = [f"{batch.id}:{k}" for k in range(len(calls))]
        results: list[ToolResult | None] = [None] * len(calls)
        groups: Sequence[Sequence[int]] = batch.groups
        if self._journal.deaths or self._journal.late:
            results = [self._answer_interrupted(tool, key) for key in keys]
            groups = self._without_suspects([[k for k in group if results[k] is None] for group in groups], keys)
        self._runner.run(tool, calls, keys, groups, results)
        self._journal.forget(keys)
        return [result for result in results if result is not None]

    def _without_suspects(self, groups: Sequence[Sequence[int]], keys: Sequence[str]) -> list[list[int]]:
        """The groups, but that each call at which a process died is run by itself."""
        apart: list[list[int]] = []
        for group in groups:
            suspects = [k for k in group if keys[k] in self._journal.deaths]
            apart += [[k for k in group if k not in suspects], *([k] for k in suspects)]
        return [group for group in apart if group]

    def _answer_interrupted(self, tool: Tool, key: str) -> ToolResult | None:
        """The answer to a call that is not run again."""
        if key in self._journal.late:
            return ToolResult(
                error=ToolError("timeout", f"{tool.name} took longer than {tool.timeout_s:g} s and was given up.")
            )
        deaths = self._journal.deaths.get(key, 0)
        if deaths > self._settings.retries:
            times = "" if deaths == 1 else " each time it was tried"
            return ToolResult(error=ToolError("tool_failed", f"{tool.name} ended its worker{times}."))
        return None

    def _tool(self, shared: SharedTool) -> Tool:
        """The tool, loaded and set up.

        Raises:
            ToolError: `tool_failed`, since it cannot be had on this machine.
        """
        with self._loading:
            if shared.key not in self._tools:
                key = f"load:{shared.key}"
                if key in self._journal.late or self._journal.deaths.get(key, 0) > self._settings.retries:
                    raise ToolError("tool_failed", f"{shared.name} ended its worker each time it was loaded.")
                with self._journal.running() as note:
                    note([key], LOAD_S)
                    self._tools[shared.key] = self._load(shared)
            return self._tools[shared.key]

    def _load(self, shared: SharedTool) -> Tool:
        here = f"on the node {self._node[:8]}"
        try:
            tool = load_tool(shared.reference)
        except BaseException as error:
            message = str(error).strip().split("\n")[0][:300]
            hint = " (its file is not there: install it on every node, or put it into a folder that all nodes share)"
            lost = shared.reference.file is not None and isinstance(error, FileNotFoundError)
            raise ToolError(
                "tool_failed",
                f"{shared.name} could not be loaded {here}: {type(error).__name__}: {message}{hint if lost else ''}.",
            ) from error
        if schema_hash(tool.spec) != shared.fingerprint:
            raise ToolError(
                "tool_failed",
                f"{shared.name} is another version {here} than where it is called: install the same on both.",
            )
        with contextlib.suppress(Exception):  # the call meets it again, and says what is wrong
            tool.setup()
        return tool


def _answer(tool: str, results: Sequence[ToolResult]) -> tuple[BatchAnswer, Bundle]:
    """Results with their images apart."""
    bundle: Bundle = []
    counts: list[int] = []
    bare: list[BareResult] = []
    for result in results:
        packed = _pack_images(tool, result)
        if isinstance(packed, ToolError):
            result, packed = ToolResult(error=packed), []
        bundle += packed
        counts.append(len(packed))
        bare.append(without_images(result))
    keys = tuple(one.key for one in bundle)
    return BatchAnswer(tuple(bare), tuple(counts), keys, sum(one.nbytes for one in bundle)), bundle


def _pack_images(tool: str, result: ToolResult) -> list[PackedImage] | ToolError:
    try:
        return [pack_image(image) for image in result.images]
    except Exception as error:  # noqa: BLE001 whatever the image's parts raise
        return ToolError("tool_failed", f"{tool} gave a result that cannot be handed over: {first_line(error)}.")


def actor_class(settings: WorkerSettings) -> Any:
    """The class as an actor of Ray whose calls are sent again whenever its process dies."""
    groups = {"run": settings.concurrency + WAITING, "status": 1}
    return ray.remote(concurrency_groups=groups, max_restarts=-1, max_task_retries=-1)(ToolWorker)
