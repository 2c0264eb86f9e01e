"""A pool that is kept for others: how it is started, what it does, and how it is stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import ray

from medvistagym_core.tools import Toolbox
from medvistagym_ray.cluster import NAMESPACE, PRIVATE_PREFIX, Connection, Node, RayTarget, cluster_nodes
from medvistagym_ray.workers._executor import RayExecutor
from medvistagym_ray.workers._shared_results import GROUP as SHARED_RESULTS
from medvistagym_ray.workers._tool_worker import WorkerStatus
from medvistagym_ray.workers._worker_group import stop_workers

DEFAULT_POOL: Final = "default"
_ASK_S: Final = 5.0
_LOOK_S: Final = 1.0


class PoolStatus(NamedTuple):
    """What runs on a cluster.

    Attributes:
        address: The cluster's head.
        nodes: Its nodes.
        workers: Those that answered.
        silent: Names of those that did not: they are starting, or a tool holds their interpreter.
    """

    address: str
    nodes: list[Node]
    workers: list[WorkerStatus]
    silent: list[str]


def keep_pool(toolbox: Toolbox, target: RayTarget, ready: Callable[[RayExecutor], None]) -> None:
    """Start a pool and keep it until somebody stops it, or this program is interrupted.

    Args:
        toolbox: The tools whose workers are started.
        target: Where; a pool without a name is called `default`.
        ready: Called once the workers have begun.

    Raises:
        RayUnavailableError: Ray cannot be had.
        PlacementError: The workers cannot be placed, or a tool cannot be loaded.
    """
    target = RayTarget(target.address, target.pool or DEFAULT_POOL, target.placement)
    with RayExecutor(toolbox, target) as executor:
        pool = str(target.pool)
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            executor.start(all_tools=True)
            executor.load()
            ready(executor)
            while _names(pool):
                time.sleep(_LOOK_S)
        finally:
            _stop(pool)


def _interrupt(number: int, frame: object) -> None:
    """End as by Ctrl-C: Ray's own handler of SIGTERM writes a traceback."""
    raise KeyboardInterrupt


def pool_status(address: str | None, pool: str | None = None) -> PoolStatus:
    """What the workers of a pool do, or those of all pools.

    Args:
        address: As for `RayTarget`; the Ray that runs on this machine if None.
        pool: The pool's name.

    Raises:
        RayUnavailableError: No Ray runs there.
    """
    with contextlib.closing(Connection(address or _running())) as connection:
        asked: dict[Any, str] = {}
        silent: list[str] = []
        for name in _names(pool):
            try:
                asked[ray.get_actor(name, NAMESPACE).status.remote()] = name
            except (ValueError, AttributeError):  # gone meanwhile, or no worker: the results that a pool shares
                continue
        ready = ray.wait(list(asked), num_returns=len(asked), timeout=_ASK_S)[0] if asked else []
        workers: list[WorkerStatus] = []
        for ref, name in asked.items():
            try:
                if ref not in ready:
                    raise ray.exceptions.GetTimeoutError
                workers.append(ray.get(ref))
            except ray.exceptions.RayError:
                silent.append(name)
        workers.sort(key=lambda status: status.identity)
        return PoolStatus(connection.address, cluster_nodes(), workers, sorted(silent))


def stop_pool(address: str | None, pool: str | None = None) -> list[str]:
    """End the workers of a pool, or those of all pools that have a name; the names of those that ended.

    Args:
        address: As for `RayTarget`; the Ray that runs on this machine if None.
        pool: The pool's name.

    Raises:
        RayUnavailableError: No Ray runs there.
    """
    with contextlib.closing(Connection(address or _running())):
        return _stop(pool)


def _running() -> str | None:
    """The Ray that the variable RAY_ADDRESS names, or the one that runs on this machine."""
    return None if os.environ.get("RAY_ADDRESS") else "auto"


def _names(pool: str | None) -> list[str]:
    """Names of the workers of a pool, or of all."""
    actors = ray.util.list_named_actors(all_namespaces=True)
    names = [actor["name"] for actor in actors if actor["namespace"] == NAMESPACE]
    return sorted(name for name in names if pool is None or name.startswith(f"{pool}/"))


def _stop(pool: str | None) -> list[str]:
    """End all actors of a pool, or of all pools but those that are one program's alone and end with it.

    Returns:
        The names of those that are workers, and not the results that users of a pool share.
    """
    names = [name for name in _names(pool) if pool is not None or not name.startswith(PRIVATE_PREFIX)]
    workers = []
    for name in names:
        with contextlib.suppress(ValueError):
            workers.append(ray.get_actor(name, NAMESPACE))
    stop_workers(workers)
    return [name for name in names if f"/{SHARED_RESULTS}/" not in name]
