"""What the executors of this program share: the connection, the workers by tool, and the images in the object store."""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Iterable
from typing import Final

from medvistagym_core.execution import NotImportableToolError, tool_references
from medvistagym_core.tools import Tool, core_version, schema_hash
from medvistagym_ray.cluster import (
    AUTO,
    CPU_POOL,
    LOCAL,
    PRIVATE_PREFIX,
    Connection,
    Placement,
    PlacementError,
    RayTarget,
    ToolSettings,
    WorkerSettings,
    check_fit,
    cluster_nodes,
)
from medvistagym_ray.workers._call_batch import SharedTool
from medvistagym_ray.workers._costs import CallCosts
from medvistagym_ray.workers._object_store import ImageObjects, store_share
from medvistagym_ray.workers._shared_results import SharedResults
from medvistagym_ray.workers._worker_group import WorkerGroup

_MAX_DEFAULT_REPLICAS: Final = 64

_lock = threading.Lock()
_open: dict[RayTarget, WorkerPool] = {}


class WorkerPool:
    """The workers that a target leads to. Use `open_pool`.

    Attributes:
        name: The pool's name; one that begins with `job-` is this program's alone and ends with it.
        images: Images in the object store.
        costs: What functions cost here and there.
        shared: Results that the pool's users share; None where there are no others.
    """

    def __init__(self, target: RayTarget) -> None:
        self.target = target
        self.users = 0
        self.placement = Placement() if target.placement is None else Placement.read(target.placement)
        self._connection = Connection(target.address, self.placement.limits.object_store_mib)
        self.name = target.pool or f"{PRIVATE_PREFIX}{uuid.uuid4().hex[:12]}"
        self.images = ImageObjects(store_share())
        self.costs = CallCosts()
        cache_mib = self.placement.limits.cache_mib
        named = not self.name.startswith(PRIVATE_PREFIX)
        self.shared = SharedResults(self.name, cache_mib << 20) if named and cache_mib else None
        self._groups: dict[str, WorkerGroup] = {}
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        """The address of the cluster's head."""
        return self._connection.address

    def group_of(self, settings: ToolSettings, tool: Tool) -> WorkerGroup:
        """The workers of a tool, which may not have been started.

        Args:
            settings: What the placement says of the tool; its `pool` decides who shares the workers.
            tool: The tool.
        """
        if settings.pool is None:
            return self._group(f"{tool.plugin}.{tool.name}", settings)
        pool = CPU_POOL if settings.pool == AUTO else settings.pool
        return self._group(pool, self.placement.for_pool(pool), pooled=True)

    def _group(self, name: str, settings: WorkerSettings, *, pooled: bool = False) -> WorkerGroup:
        with self._lock:
            if name not in self._groups:
                worker_settings = WorkerSettings.model_validate(
                    {field: getattr(settings, field) for field in WorkerSettings.model_fields}
                )
                replicas = worker_settings.replicas or (_cluster_cpus() if pooled else 1)
                self._groups[name] = WorkerGroup(
                    self.name, name, worker_settings.model_copy(update={"replicas": replicas})
                )
            return self._groups[name]

    def groups(self) -> list[WorkerGroup]:
        """The workers that were asked for so far."""
        return list(self._groups.values())

    def check(self, tools: Iterable[Tool]) -> None:
        """Refuse tools that cannot be placed.

        Raises:
            PlacementError: The placement names none of them, or asks for what no node has.
        """
        tools = list(tools)
        self.placement.check_names(tools)
        groups: dict[str, WorkerGroup] = {}
        for tool in tools:
            settings = self.placement.for_tool(tool)
            if settings.pool not in (LOCAL, AUTO):
                group = self.group_of(settings, tool)
                groups[group.name] = group
        demands = [group.demand for group in groups.values()]
        check_fit([demand for demand in demands if demand.resources or demand.labels], cluster_nodes())

    def share_tool(self, tool: Tool, settings: ToolSettings) -> SharedTool:
        """A tool as workers can have it.

        Args:
            tool: The tool.
            settings: What the placement says of it; decides the device that it is set up on.

        Raises:
            PlacementError: It cannot be sent to another process.
        """
        worker = settings if settings.pool in (None, AUTO, LOCAL) else self.placement.for_pool(str(settings.pool))
        device = worker.device or ("cuda" if worker.num_gpus else tool.device)
        try:
            reference = tool_references([tool.on_device(device)])[tool.name]
        except NotImportableToolError as error:
            reason = str(error).partition(": ")[2]
            raise PlacementError(
                f"{reason}; or keep it in this process, by a placement file with the line `{tool.name}: {{pool: {LOCAL}}}`"
            ) from None
        fingerprint = schema_hash(tool.spec)
        key = f"{tool.id}|{tool.spec.version}|{fingerprint}|{core_version()}|{device}"
        return SharedTool(tool.name, key, fingerprint, reference)

    def close(self) -> None:
        """End the workers that are this program's alone, and let go of Ray."""
        for group in self.groups():
            if not group.shared:
                group.stop()
        self.images.clear()
        self._connection.close()


def open_pool(target: RayTarget) -> WorkerPool:
    """The pool that a target leads to; the same for all of this program that ask for it, until the last has closed it.

    Raises:
        RayUnavailableError: Ray cannot be had.
        PlacementError: The placement file says none.
    """
    with _lock:
        if target not in _open:
            _open[target] = WorkerPool(target)
        _open[target].users += 1
        return _open[target]


def close_pool(pool: WorkerPool) -> None:
    """Let go of a pool."""
    with _lock:
        pool.users -= 1
        if pool.users:
            return
        _open.pop(pool.target, None)
    pool.close()


def _cluster_cpus() -> int:
    total = sum(node.resources.get("CPU", 0.0) for node in cluster_nodes() if node.alive)
    return max(1, min(_MAX_DEFAULT_REPLICAS, math.floor(total)))
