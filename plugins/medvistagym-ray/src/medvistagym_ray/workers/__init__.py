# ruff: noqa: E402
"""Workers that run tools, and the executor that sends them calls.

Uses the core's `execution` and below, and `cluster`; imports Ray.
"""

from __future__ import annotations

from medvistagym_ray.cluster import load_ray

load_ray()  # which is told how to behave before it is imported

from medvistagym_ray.workers._executor import RayExecutor
from medvistagym_ray.workers._service import DEFAULT_POOL, PoolStatus, keep_pool, pool_status, stop_pool
from medvistagym_ray.workers._tool_worker import ToolWorker, WorkerIdentity, WorkerStatus
from medvistagym_ray.workers._worker_group import WorkerGroup, stop_workers
from medvistagym_ray.workers._worker_pool import WorkerPool, close_pool, open_pool

__all__ = [
    "DEFAULT_POOL",
    "PoolStatus",
    "RayExecutor",
    "ToolWorker",
    "WorkerGroup",
    "WorkerIdentity",
    "WorkerPool",
    "WorkerStatus",
    "close_pool",
    "keep_pool",
    "open_pool",
    "pool_status",
    "stop_pool",
    "stop_workers",
]
