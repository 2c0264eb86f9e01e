"""The trajectories that SFT learns from: those of files that pass a filter, read one by one when they are needed."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from medvistagym_core.trajectories import Trajectory
from medvistagym_trl._recipe import DataFilter, RecipeError
from medvistagym_trl.rollout._trajectory_files import PictureLoader, TrajectoryFile

_MIN_HARD_WEIGHT: Final = 0.1
"""Least weight of a question that is answered right every time."""

Refusal = Callable[[Trajectory], str | None]
"""Says why a trajectory cannot be learnt from, or None."""


@dataclasses.dataclass(frozen=True)
class DataReport:
    """What became of the trajectories that were given.

    Attributes:
        files: Number of files read.
        total: Trajectories in them.
        kept: Trajectories that are learnt from.
        questions: Questions that these answer.
        dropped: Number of trajectories left out, by reason.
    """

    files: int
    total: int
    kept: int
    questions: int
    dropped: dict[str, int]

    def __str__(self) -> str:
        left_out = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items())
        return (
            f"{self.kept} of {self.total} trajectories from {self.files} file{'s' if self.files != 1 else ''} are learnt from, "
            f"on {self.questions} questions" + (f"; left out: {left_out}" if left_out else "")
        )


class TrajectoryData:
    """Trajectories that pass a filter.

    The files are scanned once; what stays in memory is a few numbers for each trajectory.

    Args:
        files: The files.
        chosen: The filter.
        refusal: Says what of the recipe's format, tools and limits a trajectory does not fit.
        length: Tokens of a trajectory's conversation; asked only where the filter limits them.

    Attributes:
        report: What was left out, and why.

    Raises:
        RecipeError: A file cannot be read, or nothing is left.
    """

    def __init__(
        self,
        files: Sequence[TrajectoryFile],
        chosen: DataFilter,
        *,
        refusal: Refusal = lambda trajectory: None,
        length: Callable[[Trajectory, PictureLoader], int] | None = None,
    ) -> None:
        self._files = list(files)
        self._chosen = chosen
        scan = _Scan(chosen, refusal, length)
        for number, file in enumerate(self._files):
            for position, trajectory in file.scan():
                scan.add(number, position, trajectory, file.picture)
            scan.add_rejected(file.rejected())
        self._entries = scan.select()
        self._pass_rates = scan.pass_rates()
        self.report = DataReport(
            files=len(self._files),
            total=scan.total,
            kept=len(self._entries),
            questions=len(np.unique(self._entries["question"])),
            dropped=dict(scan.dropped.most_common()),
        )
        if not len(self._entries):
            raise RecipeError(f"sft.data: no trajectory passes sft.filter: {self.report}")

    def __len__(self) -> int:
        return len(self._entries)

    def read(self, index: int) -> tuple[Trajectory, PictureLoader]:
        """A trajectory, and what loads its images."""
        entry = self._entries[index]
        file = self._files[int(entry["file"])]
        return file.read(int(entry["position"])), file.picture

    def draw(self, count: int, seed: int) -> np.ndarray:
        """Positions int64 (count,) of the trajectories to learn from, in order, by the filter's weights.

        Weighted by trajectory, they are passes over all of them, each in a new order.

        Args:
            count: How many.
            seed: Seed of the draw.
        """
        rng = np.random.default_rng([seed, len(self)])
        if self._chosen.weights == "trajectory":
            passes = [rng.permutation(len(self)) for _ in range(-(-count // len(self)))]
            return np.concatenate(passes)[:count] if passes else np.zeros(0, np.int64)
        questions = self._entries["question"]
        sizes = np.bincount(questions, minlength=len(self._pass_rates))
        weights = 1.0 / sizes[questions]
        if self._chosen.weights == "hard_question":
            weights *= np.maximum(1.0 - self._pass_rates[questions], _MIN_HARD_WEIGHT)
        return rng.choice(len(self), size=count, p=weights / weights.sum())


_ENTRY: Final = np.dtype(
    [("file", np.int32), ("position", np.int64), ("question", np.int32), ("calls", np.int32), ("size", np.int32)]
)


class _Scan:
    """What is gathered of trajectories while files are scanned."""

    def __init__(
        self, chosen: DataFilter, refusal: Refusal, length: Callable[[Trajectory, PictureLoader], int] | None
    ) -> None:
        self._chosen, self._refusal, self._length = chosen, refusal, length
        self._entries: list[tuple[int, int, int, int, int]] = []
        self._questions: dict[str, int] = {}
        self._played: Counter[int] = Counter()
        self._right: Counter[int] = Counter()
        self._seen: set[bytes] = set()
        self.total = 0
        self.dropped: Counter[str] = Counter()

    def add(self, file: int, position: int, trajectory: Trajectory, load: PictureLoader) -> None:
        self.total += 1
        question = self._question(trajectory.case)
        self._played[question] += 1
        self._right[question] += trajectory.outcome.correct
        reason = self._reason(trajectory, load)
        if reason is not None:
            self.dropped[reason] += 1
            return
        size = sum(len(turn.text) for turn in trajectory.turns)
        self._entries.append((file, position, question, trajectory.calls, size))

    def add_rejected(self, ids: Sequence[str]) -> None:
        for each in ids:
            self._played[self._question(each.partition("#")[0])] += 1

    def pass_rates(self) -> np.ndarray:
        """Share of right answers float64 (questions,)."""
        return np.array([self._right[k] / max(1, self._played[k]) for k in range(len(self._questions))])

    def select(self) -> np.ndarray:
        """The entries that also keep to the pass rates, the cap of a question and the limit, in the order of the files."""
        entries = np.array(self._entries, _ENTRY)
        rates = self.pass_rates()
        if len(entries):
            rate = rates[entries["question"]]
            inside = (rate >= self._chosen.min_pass_rate) & (rate <= self._chosen.max_pass_rate)
            self._count("of a question outside the pass rates", ~inside)
            entries = entries[inside]
        if self._chosen.per_question is not None and len(entries):
            order = np.lexsort((np.arange(len(entries)), entries["size"], entries["calls"], entries["question"]))
            questions = entries["question"][order]
            first = np.searchsorted(questions, questions)
            inside = np.zeros(len(entries), bool)
            inside[order] = np.arange(len(entries)) - first < self._chosen.per_question
            self._count(f"over {self._chosen.per_question} of one question", ~inside)
            entries = entries[inside]
        limit = self._chosen.limit
        if limit is not None and len(entries) > limit:
            order = np.lexsort((entries["position"], entries["file"]))
            inside = np.zeros(len(entries), bool)
            inside[order[:limit]] = True
            self._count(f"over the limit of {limit}", ~inside)
            entries = entries[inside]
        return entries

    def _count(self, reason: str, dropped: np.ndarray) -> None:
        if dropped.any():
            self.dropped[reason] += int(dropped.sum())

    def _question(self, case: str) -> int:
        return self._questions.setdefault(case, len(self._questions))

    def _reason(self, trajectory: Trajectory, load: PictureLoader) -> str | None:
        chosen = self._chosen
        if trajectory.split not in chosen.splits:
            return f"of the {trajectory.split} split"
        if trajectory.outcome.ended == "policy_failed":
            return "in which the policy failed"
        if chosen.correct and not trajectory.outcome.correct:
            return "with a wrong answer" if not trajectory.outcome.abstained else "that give no answer"
        if trajectory.calls < chosen.min_calls:
            return f"with fewer than {chosen.min_calls} calls"
        if chosen.max_calls is not None and trajectory.calls > chosen.max_calls:
            return f"with more than {chosen.max_calls} calls"
        if not chosen.failed_calls and any(call.error for turn in trajectory.turns for call in turn.calls):
            return "with a call that failed"
        if (reason := self._refusal(trajectory)) is not None:
            return reason
        digest = _digest(trajectory)
        if digest in self._seen:
            return "that repeat another"
        if (
            chosen.max_tokens is not None
            and self._length is not None
            and self._length(trajectory, load) > chosen.max_tokens
        ):
            return f"longer than {chosen.max_tokens} tokens"
        self._seen.add(digest)
        return None


def _digest(trajectory: Trajectory) -> bytes:
    """Equal for trajectories that say the same about the same case."""
    content = repr((trajectory.task, trajectory.case, trajectory.seed, [turn.text for turn in trajectory.turns]))
    return hashlib.blake2b(content.encode("utf-8", "replace"), digest_size=16).digest()
