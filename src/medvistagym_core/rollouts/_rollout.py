"""Rollouts: a policy on many cases, many episodes at once.

`rollout` keeps up to `batch` episodes going, lets the policy act on all of them together (or on each as soon as it can,
where it is a `ConcurrentPolicy`) and runs their tool calls together. It yields each finished episode's trajectory, and
writes it first when it has a writer. A policy that fails, or writes what is no text, ends its episodes with the reason
on record and the run goes on; so does a tool that fails. One that cannot act at all (`PolicyUnavailableError`) ends the
run, and the episodes it was asked about are played when it is run again. Stopping a rollout at any moment, by Ctrl-C or
by not asking for more, leaves a file that reads; running it again with the same file goes on where it stopped, and
plays the episodes once more in which the policy failed. A case that its task cannot deal (`ValueError`) is left out and
counted.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence

from pydantic import ValidationError

from medvistagym_core.environment import (
    Episode,
    EpisodeConfig,
    Task,
    deal_case,
    episode_id,
    informative_call_check,
    required_tool,
)
from medvistagym_core.execution import Executor, LocalExecutor
from medvistagym_core.rollouts._image_control import CaseChange
from medvistagym_core.rollouts._policy import ConcurrentPolicy, OraclePolicy, Policy
from medvistagym_core.rollouts._recorder import Progress, RolloutRecorder, TrajectoryFilter, TrajectoryLog
from medvistagym_core.rollouts._stepping import ConcurrentStepper, LockstepStepper, Stepper
from medvistagym_core.tools import Toolbox, first_fault
from medvistagym_core.trajectories import PolicyRecord, Trajectory


class _PlayedBefore:
    """An episode that is not played again."""


@dataclasses.dataclass(frozen=True)
class _UnusableCase:
    """A case that its task could not deal, how many episodes it would have been, and why."""

    episodes: int
    reason: str


def rollout(
    policy: Policy,
    task: Task,
    toolbox: Toolbox,
    split: str,
    indices: Sequence[int],
    settings: EpisodeConfig | None = None,
    *,
    seed: int = 0,
    samples: int = 1,
    batch: int = 64,
    keep: TrajectoryFilter = "all",
    writer: TrajectoryLog | None = None,
    executor: Executor | None = None,
    progress: Callable[[Progress], None] | None = None,
    change_case: CaseChange | None = None,
) -> Iterator[Trajectory]:
    """Play cases and yield the trajectories as episodes finish.

    Args:
        policy: Who acts.
        task: Where cases come from.
        toolbox: The tools that may be called.
        split: Split of the cases.
        indices: Positions of the cases in the split.
        settings: How episodes are played.
        seed: Seed of the cases.
        samples: Episodes of each case.
        batch: Most episodes at once.
        keep: "all", or "correct" to keep only episodes with a right answer (rejection sampling).
        writer: Where kept trajectories are written; episodes that are in its file already are not played again, but for
            those in which the policy failed, which are taken out of it first.
        executor: Runs the calls; one of this process when None.
        progress: Called when episodes finish.
        change_case: Puts another case in place of each, such as one without its images (`image_control`). What the task knows
            of informative calls it says of the case as dealt.

    Raises:
        PolicyUnavailableError: The policy cannot act at all.
        ValueError: `keep`, `batch` or `samples` is out of range, or the task has no such split.
    """
    if batch < 1 or samples < 1:
        raise ValueError(f"batch and samples are at least 1, not {batch} and {samples}")
    if split not in task.splits:
        raise ValueError(f"{task.name} has no split {split!r}; it has {', '.join(task.splits)}")
    recorder = RolloutRecorder(task.name, split, indices, seed, samples, keep, writer, progress)
    cases = _Cases(task, split, indices, seed, samples, change_case)
    return _play_episodes(
        policy, cases.episodes(policy, toolbox, settings, recorder), batch, executor or toolbox, recorder
    )


def _play_episodes(
    policy: Policy,
    waiting: Iterator[Episode | _PlayedBefore | _UnusableCase],
    batch: int,
    executor: Executor | Toolbox,
    recorder: RolloutRecorder,
) -> Iterator[Trajectory]:
    """Play the waiting episodes, `batch` at a time; of a toolbox, by an executor of this process that is closed afterwards."""
    record = PolicyRecord(name=policy.name, sampling=dict(policy.sampling))
    live: list[Episode] = []
    with contextlib.ExitStack() as stack:
        tools = stack.enter_context(LocalExecutor(executor)) if isinstance(executor, Toolbox) else executor
        stepper: Stepper
        if isinstance(policy, ConcurrentPolicy):
            stepper = stack.enter_context(ConcurrentStepper(policy, tools, batch))
        else:
            stepper = LockstepStepper(policy, tools)
        while True:
            while len(live) < batch:
                episode = next(waiting, None)
                if episode is None:
                    break
                if isinstance(episode, _PlayedBefore):
                    recorder.skip()
                elif isinstance(episode, _UnusableCase):
                    recorder.leave_out(episode.episodes, episode.reason)
                else:
                    live.append(episode)
            if not live:
                recorder.report()
                return
            stepper.step(live)
            over = [episode for episode in live if episode.done]
            live = [episode for episode in live if not episode.done]
            for episode in over:
                try:
                    trajectory = episode.to_trajectory(record)
                except Exception as error:  # noqa: BLE001 - a task's case or a plugin's values; the others go on
                    recorder.lose(episode.id, _describe(error))
                    continue
                if recorder.finish(trajectory, episode.rendered_images()):
                    yield trajectory
            if over:
                recorder.report()


@dataclasses.dataclass(frozen=True)
class _Cases:
    """The cases to play, each `samples` times; attributes as the arguments of `rollout`."""

    task: Task
    split: str
    indices: Sequence[int]
    seed: int
    samples: int
    change_case: CaseChange | None

    def episodes(
        self, policy: Policy, toolbox: Toolbox, settings: EpisodeConfig | None, recorder: RolloutRecorder
    ) -> Iterator[Episode | _PlayedBefore | _UnusableCase]:
        """The episodes to play, in order; those that were played before are only counted.

        A case of which all episodes were recorded by position is not dealt again, which may mean decoding pictures.
        """
        oracle = policy if isinstance(policy, OraclePolicy) else None
        for index in self.indices:
            if all((index, sample) in recorder.positions for sample in range(self.samples)):
                yield from [_PlayedBefore()] * self.samples
                continue
            try:
                case = deal_case(self.task, self.split, index, self.seed)
                informed, tool = informative_call_check(self.task, case), required_tool(self.task, case)
                case = case if self.change_case is None else self.change_case(case)
            except ValueError as error:  # such as a broken picture: the other cases can be played
                yield _UnusableCase(self.samples, str(error))
                continue
            for sample in range(self.samples):
                if episode_id(case.id, sample) in recorder.recorded:
                    yield _PlayedBefore()
                    continue
                episode = Episode(
                    case,
                    toolbox,
                    settings,
                    abstention=self.task.abstention,
                    informed=informed,
                    needed=tool,
                    seed=self.seed,
                    sample=sample,
                )
                if oracle is not None:
                    oracle.observe_case(case, episode.policy_state)
                yield episode


def _describe(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return ": ".join(first_fault(error))
    return f"{type(error).__name__}: {error}"[:500]
