"""Rollouts: a policy on many cases, many episodes at once.

`rollout` keeps up to `batch` episodes going, lets the policy act on all of them together and runs their tool calls together. It
yields each finished episode's trajectory, and writes it first when it has a writer. A policy that fails, or writes what is no
text, ends its episodes with the reason on record and the run goes on; so does a tool that fails. One that cannot act at all
(`PolicyUnavailableError`) ends the run, and the episodes it was asked about are played when it is run again. Stopping a rollout
at any moment, by Ctrl-C or by not asking for more, leaves a file that reads; running it again with the same file goes on where
it stopped, and plays the episodes once more in which the policy failed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

from medvistagym_core.environment import (
    Episode,
    EpisodeConfig,
    Task,
    episode_id,
    informative_call_check,
    required_tool,
    step_episodes,
)
from medvistagym_core.execution import Executor, LocalExecutor
from medvistagym_core.protocol import Turn
from medvistagym_core.rollouts._policy import OraclePolicy, Policy, PolicyUnavailableError
from medvistagym_core.rollouts._recorder import Progress, RolloutRecorder, TrajectoryFilter, TrajectoryLog
from medvistagym_core.tools import Toolbox
from medvistagym_core.trajectories import PolicyRecord, Trajectory


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

    Raises:
        PolicyUnavailableError: The policy cannot act at all.
        ValueError: `keep`, `batch` or `samples` is out of range.
    """
    if batch < 1 or samples < 1:
        raise ValueError(f"batch and samples are at least 1, not {batch} and {samples}")
    recorder = RolloutRecorder(task.name, split, indices, seed, samples, keep, writer, progress)
    waiting = _episodes(policy, task, toolbox, split, indices, settings, seed, samples, recorder.recorded)
    return _run_episodes(policy, toolbox, waiting, batch, executor, recorder)


def _run_episodes(
    policy: Policy,
    toolbox: Toolbox,
    waiting: Iterator[Episode | str],
    batch: int,
    executor: Executor | None,
    recorder: RolloutRecorder,
) -> Iterator[Trajectory]:
    record = PolicyRecord(name=policy.name, sampling=dict(policy.sampling))
    live: list[Episode] = []
    with contextlib.ExitStack() as stack:
        tools: Executor = executor or stack.enter_context(LocalExecutor(toolbox))
        while True:
            while len(live) < batch:
                episode = next(waiting, None)
                if episode is None:
                    break
                if isinstance(episode, str):
                    recorder.skip()
                else:
                    live.append(episode)
            if not live:
                recorder.report()
                return
            _step_all(policy, tools, live)
            over = [episode for episode in live if episode.done]
            live = [episode for episode in live if not episode.done]
            for episode in over:
                trajectory = episode.to_trajectory(record)
                if recorder.finish(trajectory, episode.rendered_images()):
                    yield trajectory
            if over:
                recorder.report()


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
) -> Iterator[Episode | str]:
    """The episodes to play, in order; the id alone of one that was played before."""
    for index in indices:
        case = task.case(split, index, seed)
        known, tool = informative_call_check(task, case), required_tool(task, case)
        for sample in range(samples):
            if episode_id(case.id, sample) in seen:
                yield episode_id(case.id, sample)
                continue
            episode = Episode(
                case,
                toolbox,
                settings,
                abstention=task.abstention,
                informed=known,
                needed=tool,
                seed=seed,
                sample=sample,
            )
            if isinstance(policy, OraclePolicy):
                policy.observe_case(case, episode.policy_state)
            yield episode


def _step_all(policy: Policy, executor: Executor, live: Sequence[Episode]) -> None:
    """One turn of every live episode; those whose policy failed are over."""
    began = time.perf_counter()
    said: list[object]
    try:
        said = list(policy.act([episode.observation() for episode in live]))
        if len(said) != len(live):
            raise ValueError(f"it wrote {len(said)} turns for {len(live)} observations")
    except PolicyUnavailableError:
        raise
    except Exception as error:  # noqa: BLE001 - a policy that fails is data
        said = [error] * len(live)
    seconds = time.perf_counter() - began
    able: list[Episode] = []
    turns: list[str | Turn] = []
    for episode, text in zip(live, said, strict=True):
        if isinstance(text, str | Turn):
            able.append(episode)
            turns.append(text)
        else:
            shown = (
                f"{type(text).__name__}: {text}"
                if isinstance(text, Exception)
                else f"it wrote {type(text).__name__}, not text"
            )
            episode.stop("policy_failed", shown[:500])
    step_episodes(executor, able, turns, seconds)
