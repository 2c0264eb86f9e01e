"""Workers that run tools, and the executor that sends them calls.

Uses the core's `execution` and below, and `cluster`; imports Ray.
"""

from __future__ import annotations

from medvistagym_ray.workers._executor import RayExecutor
from medvistagym_ray.workers._tool_worker import ToolWorker, WorkerIdentity, WorkerStatus
from medvistagym_ray.workers._worker_group import WorkerGroup, stop_workers
from medvistagym_ray.workers._worker_pool import WorkerPool, close_pool, open_pool

__all__ = [
    "RayExecutor",
    "ToolWorker",
    "WorkerGroup",
    "WorkerIdentity",
    "WorkerPool",
    "WorkerStatus",
    "close_pool",
    "open_pool",
    "stop_workers",
]
