"""The process that plays episodes: an actor of Ray that opens a policy, and hands each episode back as it ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import psutil
import ray

from medvistagym_core.imaging import RenderedImage
from medvistagym_core.rollouts import ImageControl, Progress, TrajectoryLog
from medvistagym_core.trajectories import SamplingParams, Trajectory
from medvistagym_ray.cluster import WorkerSettings
from medvistagym_ray.workers import WorkerIdentity, WorkerStatus


class Players(Protocol):
    """A policy, a task and tools, ready to play; what `open_players` makes in each process."""

    @property
    def name(self) -> str:
        """What reports call the policy."""
        ...

    @property
    def sampling(self) -> SamplingParams:
        """The settings that the policy samples with."""
        ...

    @property
    def weights(self) -> Mapping[str, float]:
        """Weights of the reward's terms."""
        ...

    @property
    def task(self) -> str:
        """Name of the task."""
        ...

    def play(
        self,
        split: str,
        indices: Sequence[int],
        *,
        seed: int,
        samples: int,
        batch: int,
        log: TrajectoryLog,
        progress: Callable[[Progress], None],
        images: ImageControl | None,
    ) -> Iterator[Trajectory]:
        """Play cases; episodes that are in the log are left out, and each that ends is written to it.

        Args:
            split: Split of the cases.
            indices: Positions of the cases in the split.
            seed: Seed of the cases.
            samples: Episodes of each case.
            batch: Most episodes at once.
            log: Where trajectories are written.
            progress: Told of episodes that could not be shown, at the end at the latest.
            images: Which images are shown in place of the cases' own; None for their own.
        """
        ...

    def close(self) -> None:
        """Let go of tools and models."""
        ...


OpenPlayers = Callable[[], Players]
"""Can be pickled, and is called in each process."""


class PlayersRecord(NamedTuple):
    """What a program must know of the policy that its workers have opened.

    Attributes:
        name: The policy's name in trajectories.
        sampling: How it samples.
        weights: Weight of each term of the reward.
        task: The task's name.
    """

    name: str
    sampling: SamplingParams
    weights: Mapping[str, float]
    task: str


class PlayedEpisode(NamedTuple):
    """An episode and its pictures, by hash."""

    trajectory: Trajectory
    pictures: Mapping[str, RenderedImage]


class CasesDone(NamedTuple):
    """The end of a worker's share.

    Attributes:
        skipped: Episodes that it left out, since they had been played.
        unusable: Episodes that could not be shown, or not be recorded.
        reason: Why, of the last of those.
    """

    skipped: int
    unusable: int
    reason: str | None


class RecordedEpisodes(NamedTuple):
    """What is not played again: ids of episodes, and index and sample of those whose case need not be dealt for it."""

    ids: set[str]
    positions: set[tuple[int, int]]


class _Collector:
    """A log that keeps the episode that was written last, until it is taken."""

    def __init__(self, recorded: RecordedEpisodes) -> None:
        self.recorded_ids, self._positions = recorded
        self._pictures: Mapping[str, RenderedImage] = {}

    def recorded_positions(self, task: str, split: str, seed: int) -> set[tuple[int, int]]:
        return self._positions

    def remove_failed(self, unwanted: Callable[[Trajectory], bool]) -> int:
        return 0

    def write(self, trajectory: Trajectory, pictures: Mapping[str, RenderedImage]) -> None:
        self._pictures = pictures

    def reject(self, trajectory: Trajectory) -> None:
        raise AssertionError("a worker keeps every episode; it is the program that chooses")

    def reject_id(self, identifier: str) -> None:
        """The program hears of it as one of those that were left out."""

    def take_pictures(self) -> dict[str, RenderedImage]:
        """The pictures of the last episode, without what can be made of them."""
        return {sha: RenderedImage(picture.pixels) for sha, picture in self._pictures.items()}


class EpisodeWorker:
    """Plays cases.

    Args:
        identity: Which worker it is.
        settings: How it was started.
        open_players: Opens the policy, the task and the tools.
    """

    def __init__(self, identity: WorkerIdentity, settings: WorkerSettings, open_players: OpenPlayers) -> None:
        self._identity = identity
        self._settings = settings
        self._open_players = open_players
        self._players: Players | None = None
        self._opening = threading.Lock()
        self._done = self._running = 0

    @ray.method(concurrency_group="play", max_task_retries=-1)
    def open(self) -> PlayersRecord:
        """Open the policy, if that has not been done; it raises whatever that raises."""
        players = self._opened()
        return PlayersRecord(players.name, dict(players.sampling), dict(players.weights), players.task)

    @ray.method(concurrency_group="play", num_returns="streaming", max_task_retries=0)
    def play(
        self,
        split: str,
        indices: Sequence[int],
        seed: int,
        samples: int,
        batch: int,
        images: ImageControl | None,
        recorded: RecordedEpisodes,
    ) -> Iterator[PlayedEpisode | CasesDone]:
        """Play cases, and hand over each episode as it ends.

        Args:
            split: Split of the cases.
            indices: Their positions in the split.
            seed: Seed of the cases.
            samples: Episodes of each.
            batch: Most episodes at once.
            images: Which images are shown in place of the cases' own.
            recorded: The episodes that are not to be played.
        """
        log = _Collector(recorded)
        total = len(indices) * samples
        self._running, played, last = total, 0, Progress()

        def note(progress: Progress) -> None:
            nonlocal last
            last = progress

        try:
            for trajectory in self._opened().play(
                split, indices, seed=seed, samples=samples, batch=batch, log=log, progress=note, images=images
            ):
                played += 1
                self._done += 1
                self._running = total - played
                yield PlayedEpisode(trajectory, log.take_pictures())
        finally:
            self._running = 0
        left_out = last.unusable + last.lost
        yield CasesDone(total - played - left_out, left_out, last.reason)

    @ray.method(concurrency_group="status")
    def status(self) -> WorkerStatus:
        """How it is; answered beside whatever is played."""
        node = str(ray.get_runtime_context().get_node_id())
        memory = int(psutil.Process().memory_info().rss)
        return WorkerStatus(
            self._identity, node, os.getpid(), (), 0, self._running, self._done, 0.0, 0.0, memory, 0, self._settings
        )

    @ray.method(concurrency_group="status")
    def retire(self) -> None:
        """Nothing is left behind."""

    def _opened(self) -> Players:
        with self._opening:
            if self._players is None:
                self._players = self._open_players()
            return self._players


def episode_actor() -> Any:
    """The class as an actor of Ray, which is restarted when its process dies."""
    return ray.remote(concurrency_groups={"play": 1, "status": 1}, max_restarts=-1)(EpisodeWorker)
