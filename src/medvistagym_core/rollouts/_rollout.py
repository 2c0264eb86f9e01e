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
from typing import Literal

from medvistagym_core.environment import (
    Episode,
    EpisodeConfig,
    Task,
    episode_id,
    informative_call_check,
    required_tool,
)
from medvistagym_core.execution import Executor, LocalExecutor
from medvistagym_core.rollouts._image_control import CaseChange
from medvistagym_core.rollouts._policy import ConcurrentPolicy, OraclePolicy, Policy
from medvistagym_core.rollouts._stepping import ConcurrentStepper, LockstepStepper, Stepper
from medvistagym_core.tools import Toolbox
from medvistagym_core.trajectories import PolicyRecord, Trajectory, TrajectoryReader, TrajectoryWriter

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
        again: Episodes to be played once more, since the policy failed in them in an earlier run.
        reason: What went wrong in the last of those that failed, or could not be shown.
        unusable: Episodes of cases that could not be dealt, such as one whose picture is broken; they are left out.
    """

    done: int = 0
    total: int = 0
    correct: int = 0
    played: int = 0
    failed: int = 0
    retried: int = 0
    reason: str | None = None
    unusable: int = 0


@dataclasses.dataclass(frozen=True)
class _UnusableCase:
    """A case that its task could not deal, and why."""

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
    writer: TrajectoryWriter | None = None,
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
    if keep not in ("all", "correct"):
        raise ValueError(f"keep is 'all' or 'correct', not {keep!r}")
    if batch < 1 or samples < 1:
        raise ValueError(f"batch and samples are at least 1, not {batch} and {samples}")
    if split not in task.splits:
        raise ValueError(f"{task.name} has no split {split!r}; it has {', '.join(task.splits)}")
    return _run_episodes(
        policy,
        task,
        toolbox,
        split,
        indices,
        settings,
        seed,
        samples,
        batch,
        keep,
        writer,
        executor,
        progress,
        change_case,
    )


def _run_episodes(
    policy: Policy,
    task: Task,
    toolbox: Toolbox,
    split: str,
    indices: Sequence[int],
    settings: EpisodeConfig | None,
    seed: int,
    samples: int,
    batch: int,
    keep: TrajectoryFilter,
    writer: TrajectoryWriter | None,
    executor: Executor | None,
    progress: Callable[[Progress], None] | None,
    change_case: CaseChange | None,
) -> Iterator[Trajectory]:
    record = PolicyRecord(name=policy.name, sampling=dict(policy.sampling))
    seen, known, again, chosen = set[str](), set[tuple[int, int]](), 0, set(indices)
    if writer is not None:
        ours = (task.name, split, seed)
        again = writer.remove_failed(
            lambda t: (t.task, t.split, t.seed) == ours and t.index in chosen and t.sample < samples
        )
        seen = writer.recorded_ids
        known = {(t.index, t.sample) for t in TrajectoryReader(writer.path) if (t.task, t.split, t.seed) == ours}
    waiting = _episodes(policy, task, toolbox, split, indices, settings, seed, samples, seen, known, change_case)
    state = Progress(total=len(indices) * samples, retried=again)
    live: list[Episode] = []
    with contextlib.ExitStack() as stack:
        tools: Executor = executor or stack.enter_context(LocalExecutor(toolbox))
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
                if isinstance(episode, str):
                    state = dataclasses.replace(state, done=state.done + 1)
                elif isinstance(episode, _UnusableCase):
                    state = dataclasses.replace(
                        state, done=state.done + samples, unusable=state.unusable + samples, reason=episode.reason
                    )
                else:
                    live.append(episode)
            if not live:
                if progress is not None:
                    progress(state)
                return
            stepper.step(live)
            over = [episode for episode in live if episode.done]
            live = [episode for episode in live if not episode.done]
            for episode in over:
                trajectory = episode.to_trajectory(record)
                good = keep == "all" or trajectory.outcome.correct
                failed = trajectory.outcome.ended == "policy_failed"
                if writer is not None:
                    if good:
                        writer.write(trajectory, episode.rendered_images())
                    elif not failed:
                        writer.reject(trajectory)
                state = dataclasses.replace(
                    state,
                    done=state.done + 1,
                    played=state.played + 1,
                    correct=state.correct + trajectory.outcome.correct,
                    failed=state.failed + failed,
                    reason=trajectory.outcome.reason if failed else state.reason,
                )
                if good:
                    yield trajectory
            if over and progress is not None:
                progress(state)


def _episodes(
    policy: Policy,
    task: Task,
    toolbox: Toolbox,
    split: str,
    indices: Sequence[int],
    settings: EpisodeConfig | None,
    seed: int,
    samples: int,
    seen: set[str],
    known: set[tuple[int, int]],
    change_case: CaseChange | None,
) -> Iterator[Episode | str | _UnusableCase]:
    """The episodes to play, in order; the id alone, or nothing, of one that was played before.

    A case of which all episodes are known by position is not dealt again, which may mean decoding pictures.
    """
    for index in indices:
        if all((index, sample) in known for sample in range(samples)):
            yield from [""] * samples
            continue
        try:
            case = task.case(split, index, seed)
            informed, tool = informative_call_check(task, case), required_tool(task, case)
            case = case if change_case is None else change_case(case)
        except ValueError as error:  # such as a broken picture: the other cases can be played
            yield _UnusableCase(str(error))
            continue
        for sample in range(samples):
            if episode_id(case.id, sample) in seen:
                yield episode_id(case.id, sample)
                continue
            episode = Episode(
                case,
                toolbox,
                settings,
                abstention=task.abstention,
                informed=informed,
                needed=tool,
                seed=seed,
                sample=sample,
            )
            if isinstance(policy, OraclePolicy):
                policy.observe_case(case, episode.policy_state)
            yield episode
