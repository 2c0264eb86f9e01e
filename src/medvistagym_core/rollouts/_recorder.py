"""The bookkeeping of a rollout: which episodes are kept, where they go, and how many there are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

from medvistagym_core.imaging import RenderedImage
from medvistagym_core.trajectories import Trajectory, UnreadableRecordError

TrajectoryFilter = Literal["all", "correct"]


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a rollout is.

    Attributes:
        done: Episodes finished, those of an earlier run of the same file included.
        total: Episodes in all.
        correct: Right answers among those finished now.
        played: Episodes finished now.
        failed: Episodes finished now in which the policy failed.
        retried: Episodes to be played once more, since the policy failed in them in an earlier run.
        reason: What went wrong in the last of those that failed, could not be shown, or were lost.
        unusable: Episodes of cases that could not be dealt, such as one whose picture is broken; they are left out.
        lost: Episodes played now whose record no file can hold, such as one with a reward that is no number.
    """

    done: int = 0
    total: int = 0
    correct: int = 0
    played: int = 0
    failed: int = 0
    retried: int = 0
    reason: str | None = None
    unusable: int = 0
    lost: int = 0


class TrajectoryLog(Protocol):
    """Where finished episodes go; a `TrajectoryWriter` is one."""

    @property
    def recorded_ids(self) -> set[str]:
        """Ids of the episodes that are not played again."""
        ...

    def recorded_positions(self, task: str, split: str, seed: int) -> set[tuple[int, int]]:
        """Index and sample of the episodes of a split that are kept, which need not be dealt again.

        Args:
            task: Name of the task.
            split: Split of the cases.
            seed: Seed of the cases.
        """
        ...

    def remove_failed(self, unwanted: Callable[[Trajectory], bool]) -> int:
        """Drop episodes in which the policy failed, so that they are played again; how many there were."""
        ...

    def write(self, trajectory: Trajectory, pictures: Mapping[str, RenderedImage]) -> None:
        """Keep an episode and its pictures.

        Args:
            trajectory: The episode.
            pictures: What its policy was shown, by SHA-256.

        Raises:
            UnreadableRecordError: No file can hold the record; nothing is kept.
        """
        ...

    def reject(self, trajectory: Trajectory) -> None:
        """Note that an episode was played and is not kept."""
        ...

    def reject_id(self, identifier: str) -> None:
        """Note that the episode of this id was played and is not kept."""
        ...


class RolloutRecorder:
    """Keeps the episodes of a rollout, each once, and counts them.

    Args:
        task: Name of the task.
        split: Split of the cases.
        indices: Positions of the cases in the split.
        seed: Seed of the cases.
        samples: Episodes of each case.
        keep: "all", or "correct" to keep only episodes with a right answer.
        log: Where kept episodes go; those that are in it already are not played again, but for those in which the policy
            failed, which are taken out of it first.
        progress: Called when episodes finish.

    Attributes:
        recorded: Ids of the episodes that are not to be played.
        positions: Index and sample of those of them that are kept.
        progress: How far the rollout is.

    Raises:
        ValueError: `keep` is neither "all" nor "correct".
    """

    def __init__(
        self,
        task: str,
        split: str,
        indices: Sequence[int],
        seed: int,
        samples: int = 1,
        keep: TrajectoryFilter = "all",
        log: TrajectoryLog | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        if keep not in ("all", "correct"):
            raise ValueError(f"keep is 'all' or 'correct', not {keep!r}")
        self._keep = keep
        self._log = log
        self._report = progress
        self.recorded, self.positions = set[str](), set[tuple[int, int]]()
        again, chosen = 0, set(indices)
        if log is not None:
            ours = (task, split, seed)
            again = log.remove_failed(
                lambda t: (t.task, t.split, t.seed) == ours and t.index in chosen and t.sample < samples
            )
            self.recorded, self.positions = log.recorded_ids, log.recorded_positions(*ours)
        self.progress = Progress(total=len(indices) * samples, retried=again)

    def skip(self) -> None:
        """Count an episode that was played before."""
        self.progress = dataclasses.replace(self.progress, done=self.progress.done + 1)

    def leave_out(self, count: int, reason: str | None) -> None:
        """Count episodes whose case cannot be dealt.

        Args:
            count: How many.
            reason: Why, as a sentence for whoever watches.
        """
        state = self.progress
        self.progress = dataclasses.replace(
            state, done=state.done + count, unusable=state.unusable + count, reason=reason
        )

    def finish(self, trajectory: Trajectory, pictures: Mapping[str, RenderedImage]) -> bool:
        """Take in an episode that is over; whether it is kept.

        Args:
            trajectory: The episode.
            pictures: What its policy was shown, by SHA-256.
        """
        kept = self._keep == "all" or trajectory.outcome.correct
        failed = trajectory.outcome.ended == "policy_failed"
        if self._log is not None:
            if kept:
                try:
                    self._log.write(trajectory, pictures)
                except UnreadableRecordError as error:
                    self.lose(trajectory.id, str(error))
                    return False
            elif not failed:
                self._log.reject(trajectory)
        state = self.progress
        self.progress = dataclasses.replace(
            state,
            done=state.done + 1,
            played=state.played + 1,
            correct=state.correct + trajectory.outcome.correct,
            failed=state.failed + failed,
            reason=trajectory.outcome.reason if failed else state.reason,
        )
        return kept

    def lose(self, episode_id: str, reason: str) -> None:
        """Count an episode that was played and cannot be recorded.

        Args:
            episode_id: Its id.
            reason: Why, as the end of a sentence for whoever watches.
        """
        reason = f"the episode {episode_id} cannot be recorded: {reason}"
        state = self.progress
        self.progress = dataclasses.replace(state, done=state.done + 1, lost=state.lost + 1, reason=reason)
        if self._log is not None:
            self._log.reject_id(episode_id)

    def report(self) -> None:
        """Tell whoever counts how far it is."""
        if self._report is not None:
            self._report(self.progress)
