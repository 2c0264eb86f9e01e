"""What the policy did in some steps of its training, as trajectories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from medvistagym_core.environment import Episode, episode_id
from medvistagym_core.trajectories import PolicyRecord, SamplingParams, TrajectoryWriter


class TrainingTrajectoryLog:
    """A trajectory file of training episodes.

    Args:
        path: The file; what it holds stays, so that a run can be resumed.
        sampling: How the policy sampled.
    """

    def __init__(self, path: Path, sampling: SamplingParams) -> None:
        self._path, self._sampling = path, sampling

    def write(self, step: int, episodes: Sequence[Episode]) -> None:
        """Add the finished episodes of a training step, unless they are there.

        Episodes of one case are numbered as they come: they are the group that GRPO compared.

        Args:
            step: Number of the step, from 1.
            episodes: All of one toolbox, in the order of the batch.

        Raises:
            LockMismatchError: The file was begun with another toolbox.
            FileInUseError: Another writer has the file.
        """
        if not episodes:
            return
        policy = PolicyRecord(name=f"GRPO, step {step}", sampling={**self._sampling, "step": step})
        samples: Counter[str] = Counter()
        with TrajectoryWriter(self._path, episodes[0].toolbox) as writer:
            seen = writer.recorded_ids
            for episode in episodes:
                case = episode.case.id
                sample, samples[case] = samples[case], samples[case] + 1
                if (name := episode_id(case, sample)) not in seen:
                    record = episode.to_trajectory(policy).model_copy(update={"id": name, "sample": sample})
                    writer.write(record, episode.rendered_images())
