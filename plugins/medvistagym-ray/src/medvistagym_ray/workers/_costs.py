"""What calls of a function cost in this process and in a pool, as measured, and which is less."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, Final

import numpy as np
import ray

from medvistagym_ray.workers._worker_group import WorkerGroup

_WEIGHT: Final = 0.3  # of the newest measurement
_WORTH_S: Final = 0.02
"""Seconds of work in a turn below which a pool is not started: starting one takes seconds."""
_GAIN: Final = 1.5


@dataclasses.dataclass
class CallCost:
    """What a function costs.

    Attributes:
        kernel_s: Seconds of its code a call.
        local_s: Seconds a call that a turn takes in this process, where calls overlap.
        pool_s: The same in the pool; None until it was tried.
        nbytes: Bytes of the images of a call.
        choice: Where its calls went last, and why.
    """

    kernel_s: float | None = None
    local_s: float | None = None
    pool_s: float | None = None
    nbytes: float = 0.0
    choice: str = "in this process, where it is measured first"


@dataclasses.dataclass(frozen=True)
class PoolCost:
    """What a pool costs besides the tools' own time.

    Attributes:
        overhead_s: Seconds from sending a batch to having its answer.
        bytes_per_s: Bytes of images that cross in a second.
    """

    overhead_s: float = 2e-3
    bytes_per_s: float = 1e9


def measure_pool(group: WorkerGroup) -> PoolCost:
    """The cost of a pool whose workers have begun."""
    worker = group.workers[0]
    trips = []
    for _ in range(5):
        began = time.perf_counter()
        ray.get(worker.echo.remote(None))
        trips.append(time.perf_counter() - began)
    block = np.zeros(8 << 20, np.uint8)
    began = time.perf_counter()
    ray.get(worker.echo.remote(ray.put(block)))
    crossing_s = max(time.perf_counter() - began - min(trips), 1e-4)
    return PoolCost(2 * min(trips), block.nbytes / crossing_s)


class CallCosts:
    """The costs of all functions that may run in either place."""

    def __init__(self) -> None:
        self._costs: dict[str, CallCost] = {}
        self._pools: dict[str, PoolCost] = {}

    def describe(self) -> dict[str, str]:
        """Where the calls of each function went last, and why."""
        return {name: cost.choice for name, cost in self._costs.items()}

    def note(self, tool: str, place: str, calls: int, seconds: float, kernel_s: float | None) -> None:
        """Take note of calls that ran.

        Args:
            tool: The function's name.
            place: "local" or "pool".
            calls: How many.
            seconds: From handing them over until the last was done.
            kernel_s: Seconds of the function's code a call.
        """
        cost = self._costs.setdefault(tool, CallCost())
        if kernel_s is not None:
            cost.kernel_s = _mix(cost.kernel_s, kernel_s)
        if place == "local":
            cost.local_s = _mix(cost.local_s, seconds / calls)
        else:
            cost.pool_s = _mix(cost.pool_s, seconds / calls)

    def prefers_pool(self, tool: str, calls: int, nbytes: int, group: WorkerGroup) -> bool:
        """Whether the pool is faster for so many calls at once; it is started when it would be, by far."""
        cost = self._costs.setdefault(tool, CallCost())
        cost.nbytes = _mix(cost.nbytes or None, nbytes / calls)
        if cost.local_s is None or cost.kernel_s is None:
            return False
        pool = self._pools.get(group.name)
        local_s = calls * cost.local_s
        overhead = pool or PoolCost()
        expected_s = overhead.overhead_s + nbytes / overhead.bytes_per_s + calls * cost.kernel_s / group.replicas
        if cost.pool_s is not None:
            expected_s = calls * cost.pool_s
        better = local_s > expected_s
        if pool is None:
            better = local_s > _WORTH_S and local_s > _GAIN * expected_s
            if better:
                group.wait_until_started(60.0)
                self._pools[group.name] = measure_pool(group)
        here_ms, there_ms = local_s * 1e3, expected_s * 1e3
        location = f"in the pool {group.name}" if better else "in this process"
        cost.choice = (
            f"{location}: {cost.kernel_s * 1e3:.2g} ms a call; {calls} together take {here_ms:.2g} ms in this process and "
            f"{there_ms:.2g} ms in the pool"
        )
        return better


def _mix(before: float | None, now: float) -> float:
    return now if before is None else (1 - _WEIGHT) * before + _WEIGHT * now


def image_bytes(images: list[Any]) -> int:
    """Bytes of images' pixels."""
    return sum(int(image.pixels.nbytes) for image in images)
