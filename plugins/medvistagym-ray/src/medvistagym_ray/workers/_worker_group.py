"""The workers of one tool, or of a pool that tools share."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Any, Final

import ray

from medvistagym_ray.cluster import NAMESPACE, PRIVATE_PREFIX, Demand, PlacementError, WorkerSettings
from medvistagym_ray.workers._tool_worker import WorkerIdentity, actor_class

_ASK_S: Final = 20.0
_logger = logging.getLogger("medvistagym_ray")


class WorkerGroup:
    """Workers that run the same tools.

    Those of a named pool are there for all who name it, and stay when this program ends; whoever comes first decides how many
    there are. Others end with this program.

    Args:
        pool: Name of the pool of workers that the group is part of.
        name: Its name in it.
        settings: How many workers, and what each of them takes; `replicas` is given.
    """

    def __init__(self, pool: str, name: str, settings: WorkerSettings) -> None:
        self.pool = pool
        self.name = name
        self.settings = settings
        self.workers: list[Any] = []
        self._greetings: list[Any] = []
        self._started = 0.0

    @property
    def replicas(self) -> int:
        """How many workers there are, or will be."""
        return self.settings.replicas or 1

    @property
    def demand(self) -> Demand:
        """What they reserve."""
        return Demand(self.name, self.replicas, self.settings.demand(), self.settings.labels)

    @property
    def shared(self) -> bool:
        """Whether others may use them."""
        return not self.pool.startswith(PRIVATE_PREFIX)

    def start(self) -> None:
        """Start the workers, or take those that are there; they may still be on their way.

        Raises:
            PlacementError: This process plays episodes for a program whose workers have ended.
        """
        if self.workers:
            return
        if not self.shared and ray.get_runtime_context().get_actor_id() is not None:
            self._join()
            return
        self._take_settings_of_others()
        actor = actor_class(self.settings)
        options: dict[str, Any] = {
            "namespace": NAMESPACE,
            "get_if_exists": True,
            "num_cpus": self.settings.num_cpus,
            "num_gpus": self.settings.num_gpus,
            "resources": self.settings.resources,
            "label_selector": self.settings.labels or None,
            "lifetime": "detached" if self.shared else None,
        }
        identities = [WorkerIdentity(self.pool, self.name, k) for k in range(self.replicas)]
        self.workers = [actor.options(name=one.actor_name, **options).remote(one, self.settings) for one in identities]
        self._started = time.monotonic()
        self._greetings = [worker.echo.remote(None) for worker in self.workers]

    def _join(self) -> None:
        """Take the workers that the program has started whose episodes this process plays: its own would end with it.

        Raises:
            PlacementError: There are none.
        """
        names = [WorkerIdentity(self.pool, self.name, k).actor_name for k in range(self.replicas)]
        try:
            self.workers = [ray.get_actor(name, NAMESPACE) for name in names]
        except ValueError:
            raise PlacementError(f"{self.name} has no workers in the pool {self.pool}, which has ended") from None

    def _take_settings_of_others(self) -> None:
        """Go by what the workers of a shared pool were started with."""
        if not self.shared:
            return
        with contextlib.suppress(ValueError):
            first = ray.get_actor(WorkerIdentity(self.pool, self.name, 0).actor_name, NAMESPACE)
            with contextlib.suppress(ray.exceptions.GetTimeoutError):
                settings = ray.get(first.status.remote(), timeout=_ASK_S).settings
                if settings != self.settings:
                    _logger.warning(
                        "%s: the pool %s was started with %s, which stays until `medvistagym workers stop`",
                        self.name, self.pool, _in_words(settings),
                    )  # fmt: skip
                self.settings = settings

    def check_started(self, timeout_s: float) -> None:
        """Refuse to wait any longer for workers of which none has begun.

        Raises:
            PlacementError: None has, and `timeout_s` has passed.
        """
        if not self._greetings or time.monotonic() - self._started < timeout_s:
            return
        ready, _ = ray.wait(self._greetings, timeout=0)
        if ready:
            self._greetings = []
            return
        wanted = " and ".join(f"{amount:g} {name}" for name, amount in self.settings.demand().items()) or "a process"
        raise PlacementError(
            f"{self.name} has waited {timeout_s:g} s for {wanted}, which others hold: `medvistagym workers status` shows who; "
            "stop some, or ask for less in the placement file"
        )

    def wait_until_started(self, timeout_s: float) -> None:
        """Wait for all workers.

        Raises:
            PlacementError: Some have not begun after `timeout_s`.
        """
        self.start()
        if self._greetings:
            ray.wait(self._greetings, num_returns=len(self._greetings), timeout=timeout_s)
            self.check_started(0.0)

    def stop(self) -> None:
        """End the workers."""
        stop_workers(self.workers)
        self.forget()

    def forget(self) -> None:
        """Let go of the workers, which have ended; the next call starts others."""
        self.workers, self._greetings = [], []


def stop_workers(workers: Sequence[Any]) -> None:
    """End workers for good, also those at work or on their way."""
    farewells = [worker.retire.remote() for worker in workers]
    if farewells:
        with contextlib.suppress(Exception):  # they are killed below, whatever they answer
            ray.wait(farewells, num_returns=len(farewells), timeout=1.0)
    for worker in workers:
        with contextlib.suppress(Exception):  # it has ended already, or the cluster has
            ray.kill(worker, no_restart=True)


def _in_words(settings: WorkerSettings) -> str:
    given = settings.model_dump(exclude_defaults=True)
    return ", ".join(f"{name} {value}" for name, value in given.items()) or "the defaults"
