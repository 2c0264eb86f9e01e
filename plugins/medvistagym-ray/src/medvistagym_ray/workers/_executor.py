"""The executor whose tools run in Ray workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

import ray

from medvistagym_core.execution import CallRequest, LocalExecutor, ResultCache, ResultFilter, schedule_calls
from medvistagym_core.tools import Toolbox, ToolResult
from medvistagym_ray.cluster import AUTO, LOCAL, PlacementError, RayTarget, by_choice_of_nodes
from medvistagym_ray.workers._remote_tool import RemoteTool
from medvistagym_ray.workers._runner import RayRunner
from medvistagym_ray.workers._worker_pool import WorkerPool, close_pool, open_pool

_CACHE_BYTES: Final = 256 * 2**20


class RayExecutor:
    """Runs tools in workers on the machines of a Ray cluster, or of a Ray of its own on this one.

    Workers start when they are first needed, or at once where they reserve a GPU or the like. Executors of one program that
    have the same target share them.

    Args:
        toolbox: The tools that may be called.
        target: `[HOST:PORT][?pool=NAME&placement=FILE]`; see `RayTarget`.
        cache_bytes: Memory for results of deterministic tools, by content; 0 for none.
        result_filter: Makes the result that is handed on of what each call gave; None hands it on as it is. Workers, and the
            results that users of a pool share, know nothing of it.

    Raises:
        RayUnavailableError: Ray cannot be reached or started.
        PlacementError: A tool cannot be placed, or cannot be sent to another process.
        ValueError: The target is none.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        target: str | RayTarget = "",
        *,
        cache_bytes: int = _CACHE_BYTES,
        result_filter: ResultFilter | None = None,
    ) -> None:
        self.toolbox = toolbox
        self.target = RayTarget.parse(target) if isinstance(target, str) else target
        self._pool = open_pool(self.target)
        self._closed = False
        try:
            self._pool.check(toolbox.values())
            self._tools = {name: self._place_tool(name) for name in toolbox}
            self._reserve()
        except BaseException:
            self.close()
            raise
        self._local = LocalExecutor(toolbox, cache_bytes=0)
        self._cache = ResultCache(cache_bytes)
        self._result_filter = result_filter

    def _place_tool(self, name: str) -> RemoteTool:
        tool = self.toolbox[name]
        settings = self._pool.placement.for_tool(tool)
        auto = settings.pool == AUTO
        in_worker = ray.get_runtime_context().get_actor_id() is not None  # which plays episodes beside many others
        if settings.pool == LOCAL or (auto and in_worker):
            return RemoteTool(tool, None, None, auto=False)
        try:
            shared = self._pool.share_tool(tool, settings)
        except PlacementError:
            if not auto:
                raise
            return RemoteTool(tool, None, None, auto=False)  # a function of a notebook, which runs as well here
        return RemoteTool(tool, shared, self._pool.group_of(settings, tool), auto=auto)

    def _reserve(self) -> None:
        """Start workers that reserve something now, and those first that fewest nodes can hold: Ray moves none to make room."""
        groups = {remote.group for remote in self._tools.values() if remote.group is not None and not remote.auto}
        reserving = [group for group in groups if group.demand.resources or group.demand.labels]
        for group in sorted(reserving, key=lambda group: by_choice_of_nodes(group.demand)):
            group.start()

    @property
    def pool(self) -> WorkerPool:
        """Its workers."""
        return self._pool

    @property
    def worker_target(self) -> RayTarget:
        """The target by which processes on the cluster use the same workers."""
        placement = self.target.placement
        return RayTarget(None, self._pool.name, None if placement is None else placement.absolute())

    def run(self, requests: Sequence[CallRequest]) -> list[list[ToolResult]]:
        """The results of every call, as `requests` are nested; images are in the stores, their handles in the results.

        Raises:
            WorkersStoppedError: The workers were stopped by somebody.
            PlacementError: The workers wait for what others hold.
            ObjectStoreFullError: There is no room for the images.
        """
        runner = RayRunner(self._pool, self._tools, self._local.open_runner)
        return schedule_calls(requests, self.toolbox, runner, self._cache, self._result_filter)

    def start(self, *, all_tools: bool = False) -> None:
        """Start the workers, and wait until they have begun.

        Args:
            all_tools: Also those of tools that may run in this process, too.

        Raises:
            PlacementError: Some wait for what others hold.
        """
        remotes = [remote for remote in self._tools.values() if all_tools or not remote.auto]
        groups = {remote.group: None for remote in remotes if remote.group is not None}
        for group in groups:
            group.start()
        for group in groups:
            group.wait_until_started(self._pool.placement.limits.start_timeout_s)

    def load(self) -> None:
        """Have every worker load its tools now, rather than at the first call.

        Raises:
            PlacementError: One cannot; the sentence says why.
        """
        loading = {
            worker.load.remote(remote.shared): name
            for name, remote in self._tools.items()
            if remote.group is not None
            for worker in remote.group.workers
        }
        for ref, name in loading.items():
            if fault := ray.get(ref):
                raise PlacementError(f"{name}: {fault}")

    def placements(self) -> dict[str, str]:
        """Where each tool runs, and for one that may run in either place, why."""
        chosen = self._pool.costs.describe()
        placements: dict[str, str] = {}
        for name, remote in self._tools.items():
            if remote.group is None:
                placements[name] = "in this process"
            elif remote.auto:
                placements[name] = chosen.get(name, "in this process or in the pool cpu, whichever is faster")
            else:
                many = remote.group.replicas
                placements[name] = f"{many} worker{'' if many == 1 else 's'} of {remote.group.name}"
        return placements

    def choices(self) -> dict[str, str]:
        """Where each function that may run in either place ran last, and why; none that was not called."""
        chosen = self._pool.costs.describe()
        return {name: chosen[name] for name, remote in self._tools.items() if remote.auto and name in chosen}

    def close(self) -> None:
        """End the workers that are this program's alone, with the last executor that uses them."""
        if self._closed:
            return
        self._closed = True
        if hasattr(self, "_local"):
            self._local.close()
            self._cache.clear()
        close_pool(self._pool)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
