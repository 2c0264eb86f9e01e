"""What plays a rollout: policy, task and tools, opened in this process or in several (`--workers`)."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medvistagym_core.cli._console import print_stderr
from medvistagym_core.cli._errors import UsageError
from medvistagym_core.cli._options import load_registry, make_executor, select_toolbox
from medvistagym_core.cli._policy_options import make_policy
from medvistagym_core.cli._ray import import_ray
from medvistagym_core.cli._task_options import find_tasks

if TYPE_CHECKING:
    from medvistagym_core.environment import EpisodeConfig, Task
    from medvistagym_core.execution import Executor
    from medvistagym_core.plugins import Registry
    from medvistagym_core.rollouts import ImageControl, Policy, Progress, TrajectoryLog
    from medvistagym_core.tools import Toolbox
    from medvistagym_core.trajectories import SamplingParams, Trajectory

__all__ = ["LocalPlayers", "RemotePlayers", "open_players", "share_executor", "start_players"]

Keep = Literal["all", "correct"]


class LocalPlayers:
    """A policy, a task and tools in this process.

    Attributes:
        name: What reports call the policy.
        sampling: The settings that it samples with.
        weights: Weights of the reward's terms.
        task: Name of the task.
    """

    def __init__(self, policy: Policy, config: EpisodeConfig, task: Task, toolbox: Toolbox, executor: Executor) -> None:
        self.name = policy.name
        self.sampling: SamplingParams = policy.sampling
        self.weights: Mapping[str, float] = config.reward.weights
        self.task = task.name
        self._parts = policy, task, toolbox
        self._config = config
        self._executor = executor

    def play(
        self,
        split: str,
        indices: Sequence[int],
        *,
        seed: int,
        samples: int = 1,
        batch: int,
        keep: Keep = "all",
        log: TrajectoryLog | None = None,
        progress: Callable[[Progress], None] | None = None,
        images: ImageControl | None = None,
    ) -> Iterator[Trajectory]:
        """Play cases, where `images` says so with other images; see `medvistagym_core.rollouts.rollout`."""
        from medvistagym_core.rollouts import image_control, rollout

        policy, task, toolbox = self._parts
        change = None if images is None else image_control(images, task, seed=seed)
        return rollout(
            policy, task, toolbox, split, indices, self._config, seed=seed, samples=samples, batch=batch, keep=keep,
            writer=log, executor=self._executor, progress=progress, change_case=change,
        )  # fmt: skip

    def close(self) -> None:
        """Let go of the tools, and say where an executor ran them that chooses by what they cost."""
        choices: Callable[[], Mapping[str, str]] | None = getattr(self._executor, "choices", None)
        if choices is not None:
            for name, where in choices().items():
                print_stderr(f"medvistagym: {name} ran {where}")
        self._executor.close()


class RemotePlayers:
    """Processes that have opened the same each, and the executor whose workers they share; see `LocalPlayers`."""

    def __init__(self, workers: Any, executor: Executor) -> None:
        self.name: str = workers.record.name
        self.sampling: SamplingParams = workers.record.sampling
        self.weights: Mapping[str, float] = workers.record.weights
        self._workers = workers
        self._executor = executor

    def play(self, split: str, indices: Sequence[int], **how: Any) -> Iterator[Trajectory]:
        """Play cases; see `LocalPlayers.play`."""
        episodes: Iterator[Trajectory] = self._workers.rollout(split, indices, **how)
        return episodes

    def close(self) -> None:
        """End the processes."""
        self._workers.close()
        self._executor.close()


def open_players(options: argparse.Namespace, number: int, select: str, folder: Path) -> LocalPlayers:
    """What the options ask for, opened in this process, which is another than the program's.

    Args:
        options: Of `sample` or `eval`.
        number: Place of the task among those that they name.
        select: The tools.
        folder: The program's working folder, to which files that tasks are made of may be relative.
    """
    if folder.is_dir():
        os.chdir(folder)
    registry = load_registry(options)
    task = find_tasks(options, registry)[number]
    return _open(options, registry, task, select_toolbox(registry, select, options.device))


def _open(options: argparse.Namespace, registry: Registry, task: Task, toolbox: Toolbox) -> LocalPlayers:
    policy, config = make_policy(options, registry, task, toolbox)
    return LocalPlayers(policy, config, task, toolbox, make_executor(registry, options.executor, toolbox))


@contextlib.contextmanager
def share_executor(options: argparse.Namespace, registry: Registry) -> Iterator[None]:
    """Keep what all executors of a kind share, such as a Ray that was started for them, while players come and go."""
    with contextlib.closing(make_executor(registry, options.executor, select_toolbox(registry, ""))):
        yield


def start_players(
    options: argparse.Namespace, registry: Registry, tasks: Sequence[Task], number: int, toolbox: Toolbox, select: str
) -> LocalPlayers | RemotePlayers:
    """What the options ask for, in as many processes as they say.

    Args:
        options: Of `sample` or `eval`.
        registry: What is installed.
        tasks: The tasks that they name.
        number: Place of the one that is played.
        toolbox: The tools.
        select: The selection that leads to them, by which other processes find them.

    Raises:
        UsageError: It cannot be had.
    """
    if options.workers is None:
        return _open(options, registry, tasks[number], toolbox)
    if options.executor.partition(":")[0] != "ray":
        raise UsageError("--workers needs --executor ray, or ray:HOST:PORT for a cluster")
    rollouts = import_ray("rollouts")
    with contextlib.ExitStack() as undo:
        executor: Any = make_executor(registry, options.executor, toolbox)
        undo.callback(executor.close)
        try:
            executor.start()
            there = argparse.Namespace(**{name: _absolute(value) for name, value in vars(options).items()})
            there.workers, there.executor = None, f"ray:{executor.worker_target}"
            opened_there = partial(open_players, there, number, select, Path.cwd())
            workers = rollouts.EpisodeWorkers(opened_there, options.workers, executor.target)
        except ValueError as error:
            raise UsageError(f"--workers {options.workers}: {error}") from error
        undo.pop_all()
        return RemotePlayers(workers, executor)


def _absolute(value: Any) -> Any:
    """Paths as another process finds them, whose folder is not this one's."""
    if isinstance(value, list):
        return [_absolute(one) for one in value]
    return value.absolute() if isinstance(value, Path) else value
