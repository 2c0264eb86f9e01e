"""Rollouts over many processes: cases go out to workers, episodes come back, and this process alone keeps them.

Each worker is handed a share of the cases at a time, and hands back each episode as it ends. A worker that dies is restarted,
and what it had not handed back is played again, by whoever is free; an episode that comes twice is kept once.
"""

from __future__ import annotations

import logging
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, Self

import ray

from medvistagym_core.rollouts import ImageControl, Progress, RolloutRecorder, TrajectoryLog
from medvistagym_core.tools import first_line
from medvistagym_core.trajectories import Trajectory
from medvistagym_ray.cluster import (
    NAMESPACE,
    PRIVATE_PREFIX,
    Connection,
    Demand,
    Placement,
    PlacementError,
    RayTarget,
    check_fit,
    cluster_nodes,
)
from medvistagym_ray.rollouts._episode_worker import (
    CasesDone,
    OpenPlayers,
    PlayersRecord,
    RecordedEpisodes,
    episode_actor,
)
from medvistagym_ray.workers import WorkerIdentity, stop_workers

POOL: Final = "episodes"
"""The pool of the placement file that says what each of these workers takes."""
_SHARES: Final = 4
_BACKPRESSURE: Final = 16
_LOOK_S: Final = 1.0
_OPEN_S: Final = 1800
"""Seconds within which a policy is opened, such as a checkpoint of some GB."""
_WARN_S: Final = 60
_logger = logging.getLogger("medvistagym_ray")

_How = tuple[str, int, int, int, ImageControl | None]
"""Split, seed, samples, batch and images of a rollout."""


class EpisodeWorkersLostError(RuntimeError):
    """Workers die as soon as they play, or cannot begin."""


class _Share:
    """Cases that a worker plays, and the episodes of them that came back from earlier tries."""

    def __init__(self, indices: Sequence[int]) -> None:
        self.indices = indices
        self.received: set[str] = set()


class _Seat:
    """A worker, and what it does: `playing` a share, or `opening` its policy."""

    def __init__(self, worker: Any) -> None:
        self.worker = worker
        self.share: _Share | None = None
        self.waiting_for: Any = worker.open.remote()
        self.interrupted = False  # whether its process was ended, and its policy is to be opened anew

    @property
    def playing(self) -> bool:
        return self.share is not None


class EpisodeWorkers:
    """Processes that play episodes.

    Args:
        open_players: Opens a policy, a task and tools in each process.
        count: How many processes.
        target: The Ray that they run on, and the placement file, whose pool `episodes` says what each of them takes.
        max_deaths: For each worker, deaths in a row without an episode between them, beyond which something is wrong with
            what they play.

    Raises:
        RayUnavailableError: Ray cannot be had.
        PlacementError: The cluster has no room for them.
        EpisodeWorkersLostError: They cannot begin.
        ValueError: `count` is out of range.
    """

    def __init__(self, open_players: OpenPlayers, count: int, target: RayTarget, *, max_deaths: int = 4) -> None:
        if count < 1:
            raise ValueError(f"there is at least 1 worker, not {count}")
        placement = Placement() if target.placement is None else Placement.read(target.placement)
        self._limits = placement.limits
        self._max_deaths = max_deaths
        self._connection = Connection(target.address, placement.limits.object_store_mib)
        self._seats: list[_Seat] = []
        try:
            settings = placement.for_pool(POOL)
            check_fit([Demand(POOL, count, settings.demand(), settings.labels)], cluster_nodes())
            options: dict[str, Any] = {
                "namespace": NAMESPACE,
                "num_cpus": settings.num_cpus,
                "num_gpus": settings.num_gpus,
                "resources": settings.resources,
                "label_selector": settings.labels or None,
            }
            pool = f"{PRIVATE_PREFIX}{uuid.uuid4().hex[:12]}"
            identities = [WorkerIdentity(pool, POOL, k) for k in range(count)]
            actor = episode_actor()
            self._seats = [
                _Seat(actor.options(name=one.actor_name, **options).remote(one, settings, open_players))
                for one in identities
            ]
            self.record = self._first_record()
        except BaseException:
            self.close()
            raise

    def _first_record(self) -> PlayersRecord:
        """What the first worker that is ready has opened."""
        begun, _ = ray.wait([seat.worker.status.remote() for seat in self._seats], timeout=self._limits.start_timeout_s)
        if not begun:
            raise PlacementError(
                f"no worker for episodes has begun within {self._limits.start_timeout_s:g} s: "
                "`medvistagym workers status` shows what others hold"
            )
        openings = [seat.waiting_for for seat in self._seats]
        for waited in range(0, _OPEN_S, _WARN_S):
            ready, _ = ray.wait(openings, timeout=_WARN_S)
            if ready:
                break
            _logger.warning("the workers for episodes have been opening their policy for %d s", waited + _WARN_S)
        else:
            raise EpisodeWorkersLostError(
                f"no worker for episodes has opened its policy within {_OPEN_S} s: play one of the cases without --workers to "
                "see why"
            )
        try:
            record = _value(ready[0])
        except ray.exceptions.RayError as error:
            _check_could_begin(error)
            raise
        assert isinstance(record, PlayersRecord)
        return record

    def rollout(
        self,
        split: str,
        indices: Sequence[int],
        *,
        seed: int = 0,
        samples: int = 1,
        batch: int = 64,
        keep: Literal["all", "correct"] = "all",
        log: TrajectoryLog | None = None,
        progress: Callable[[Progress], None] | None = None,
        images: ImageControl | None = None,
    ) -> Iterator[Trajectory]:
        """Play cases and yield the trajectories as episodes come back; see `medvistagym_core.rollouts.rollout`.

        Args:
            split: Split of the cases.
            indices: Positions of the cases in the split.
            seed: Seed of the cases.
            samples: Episodes of each case.
            batch: Most episodes at once in each process.
            keep: "all", or "correct" to keep only episodes with a right answer.
            log: Where kept trajectories are written; episodes that are in it already are not played again.
            progress: Called when episodes finish.
            images: Which images are shown in place of the cases' own (`medvistagym_core.rollouts.image_control`).

        Raises:
            EpisodeWorkersLostError: Workers die as soon as they play, or cannot begin.
            ValueError: `batch` or `samples` is below 1.
        """
        if batch < 1 or samples < 1:
            raise ValueError(f"batch and samples are at least 1, not {batch} and {samples}")
        recorder = RolloutRecorder(self.record.task, split, indices, seed, samples, keep, log, progress)
        size = max(1, min(-(-len(indices) // (len(self._seats) * _SHARES)), _SHARES * batch // samples))
        shares = deque(_Share(indices[first : first + size]) for first in range(0, len(indices), size))
        for seat in self._seats:
            if seat.interrupted:
                seat.waiting_for, seat.interrupted = seat.worker.open.remote(), False
        try:
            yield from self._play(shares, recorder, (split, seed, samples, batch, images))
        finally:
            for seat in self._seats:
                if seat.playing:  # the caller asks for no more
                    ray.kill(seat.worker, no_restart=False)
                    seat.share, seat.waiting_for, seat.interrupted = None, None, True

    def _play(self, shares: deque[_Share], recorder: RolloutRecorder, how: _How) -> Iterator[Trajectory]:
        seen: set[str] = set()
        deaths = 0
        while shares or any(seat.playing for seat in self._seats):
            handles = [seat.waiting_for for seat in self._seats if seat.waiting_for is not None]
            ready = set(ray.wait(handles, num_returns=1, timeout=_LOOK_S)[0]) if handles else set()
            for seat in self._seats:
                if seat.waiting_for is not None and seat.waiting_for not in ready:
                    continue
                try:
                    received = None if seat.waiting_for is None else self._next(seat)
                except ray.exceptions.RayError as error:
                    _check_could_begin(error)
                    deaths += 1
                    if deaths > self._max_deaths * len(self._seats):
                        raise EpisodeWorkersLostError(
                            f"workers died {deaths} times in a row and no episode ended between ({first_line(error)}): "
                            "play one of the cases without --workers to see why"
                        ) from None
                    if seat.share is not None:
                        shares.appendleft(seat.share)
                    seat.share, seat.waiting_for = None, seat.worker.open.remote()
                    continue
                if isinstance(received, CasesDone):
                    assert seat.share is not None
                    for _ in range(received.skipped - len(seat.share.received)):
                        recorder.skip()
                    if received.unusable:
                        recorder.leave_out(received.unusable, received.reason)
                    seat.share, seat.waiting_for = None, None
                elif received is not None and not isinstance(received, PlayersRecord):
                    assert seat.share is not None
                    deaths = 0
                    seat.share.received.add(received.trajectory.id)
                    if received.trajectory.id not in seen:
                        seen.add(received.trajectory.id)
                        kept = recorder.finish(received.trajectory, received.pictures)
                        recorder.report()
                        if kept:
                            yield received.trajectory
                elif isinstance(received, PlayersRecord):
                    seat.waiting_for = None
                if not seat.playing and seat.waiting_for is None and shares:
                    self._hand_out(seat, shares.popleft(), recorder, how)
        recorder.report()

    def _hand_out(self, seat: _Seat, share: _Share, recorder: RolloutRecorder, how: _How) -> None:
        recorded = RecordedEpisodes(recorder.recorded | share.received, recorder.positions)
        split, *rest = how
        play = seat.worker.play.options(_generator_backpressure_num_objects=_BACKPRESSURE)
        seat.share = share
        seat.waiting_for = play.remote(split, list(share.indices), *rest, recorded)

    def _next(self, seat: _Seat) -> Any:
        """What a worker handed over.

        Raises:
            RayError: The worker died.
            Exception: What playing raised, such as `PolicyUnavailableError`.
        """
        if not seat.playing:
            return _value(seat.waiting_for)
        return _value(next(seat.waiting_for))

    def close(self) -> None:
        """End the processes."""
        stop_workers([seat.worker for seat in self._seats])
        self._seats = []
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _value(ref: Any) -> Any:
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, Exception) and not isinstance(error.cause, ray.exceptions.RayError):
            raise error.cause from None  # as if it had been raised here
        raise


def _check_could_begin(error: Exception) -> None:
    """Raise what keeps workers from beginning, which no other try changes.

    Raises:
        EpisodeWorkersLostError: The error says that one could not begin.
    """
    text = str(error)
    if isinstance(error, ray.exceptions.ActorDiedError) and "creation task" in text:
        last = [line.strip() for line in text.splitlines() if line.strip()][-1][:200]
        raise EpisodeWorkersLostError(
            f"a worker for episodes could not begin ({last}): install the same distributions on every node"
        ) from None
