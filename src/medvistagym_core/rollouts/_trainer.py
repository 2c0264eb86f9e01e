"""The `Trainer` contract: it trains a policy on a task with a toolbox, and loads policies that it trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from medvistagym_core.environment import EpisodeConfig, Task
from medvistagym_core.rollouts._policy import Policy
from medvistagym_core.tools import Toolbox
from medvistagym_core.trajectories import Results

if TYPE_CHECKING:
    from medvistagym_core.plugins import Registry


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
    """What a run would be.

    Attributes:
        text: For a terminal.
        document: The same as JSON.
    """

    text: str
    document: Mapping[str, Any]


@runtime_checkable
class PlansTraining(Protocol):
    """A trainer that can say what a run would be, without running it; `medvistagym train --dry-run` asks it."""

    def plan(
        self,
        registry: Registry,
        *,
        recipe: str | Path | None = None,
        changes: Mapping[str, Any] | None = None,
        tools: str | None = None,
        model: str | Path | None = None,
        quick: bool = False,
    ) -> TrainingPlan:
        """What `Trainer.train` would do with the same arguments. It trains nothing, and writes nothing.

        Args:
            registry: As for `Trainer.train`, likewise the others.
            recipe: Name of a recipe, or a file.
            changes: Settings of the recipe to change, by dotted name.
            tools: Toolbox selection.
            model: A checkpoint to train.
            quick: Whether it is the run that shows only that everything runs.

        Raises:
            SelectionError: Something cannot be had, or cannot work; a sentence says why.
        """
        ...


@dataclasses.dataclass(frozen=True)
class LaunchRequest:
    """On what a training would be launched; `medvistagym train --gpus` asks.

    Attributes:
        gpus: Devices of the machine.
        arguments: Those of `medvistagym train`, without the ones that only plan or launch.
        parallel: How devices share the weights, by a name of the trainer's; its choice when None.
        device_gib: Memory of a device; what is there, or the trainer's choice, when None.
        rates: Rates that the time of a step follows from, as they were given.
    """

    gpus: int
    arguments: tuple[str, ...] = ()
    parallel: str | None = None
    device_gib: float | None = None
    rates: tuple[str, ...] = ()


@runtime_checkable
class LaunchesTraining(Protocol):
    """A trainer that runs on several devices; `medvistagym train --gpus` asks it. Its `plan` takes a `launch` too."""

    def launch_command(self, request: LaunchRequest) -> Sequence[str]:
        """The command that starts all processes of a training.

        Raises:
            SelectionError: They cannot be had; a sentence says why.
        """
        ...


@runtime_checkable
class ChecksTraining(Protocol):
    """A trainer that can refuse a run before it is started; `medvistagym train --gpus` asks it once for all processes."""

    def check(
        self,
        registry: Registry,
        *,
        run: Path,
        recipe: str | Path | None = None,
        changes: Mapping[str, Any] | None = None,
        tools: str | None = None,
        model: str | Path | None = None,
        quick: bool = False,
        resume: bool = False,
        processes: int = 1,
    ) -> None:
        """Refuse what `Trainer.train` would refuse in each of several processes, as far as that is quick to find out.

        Args:
            registry: As for `Trainer.train`, likewise the others.
            run: The run folder.
            recipe: Name of a recipe, or a file.
            changes: Settings of the recipe to change, by dotted name.
            tools: Toolbox selection.
            model: A checkpoint to train.
            quick: Whether it is the run that shows only that everything runs.
            resume: Whether the run goes on.
            processes: How many there will be.

        Raises:
            SelectionError: Something cannot be had; a sentence says why.
        """
        ...


@runtime_checkable
class HasReferenceRuns(Protocol):
    """A trainer that ships curves of finished trainings; `medvistagym compare` lays runs of the same recipe over them."""

    def reference_runs(self) -> Mapping[str, Path]:
        """Folders with `metrics.jsonl` and `results.json`, by the name of their recipe."""
        ...


@runtime_checkable
class Trainer(Protocol):
    """Trains policies; a plugin offers some by the hook `medvistagym_trainers`, and `medvistagym train` calls it."""

    @property
    def name(self) -> str:
        """What `--trainer` calls it."""
        ...

    @property
    def description(self) -> str:
        """One line."""
        ...

    def recipes(self) -> Mapping[str, str]:
        """The recipes that come with it, with a line about each."""
        ...

    def tool_schemas(self, toolbox: Toolbox) -> Sequence[Mapping[str, Any]]:
        """The schemas that it shows a policy for a toolbox, in order; the conformance kit compares them."""
        ...

    def train(
        self,
        registry: Registry,
        *,
        run: Path,
        recipe: str | Path | None = None,
        changes: Mapping[str, Any] | None = None,
        tools: str | None = None,
        model: str | Path | None = None,
        quick: bool = False,
        resume: bool = False,
    ) -> Results:
        """Train, evaluate, and leave everything in a run folder.

        Args:
            registry: What is installed: tasks, tools, reward terms, graders, readers and executors come from here.
            run: The run folder.
            recipe: Name of one of `recipes`, or a file; the trainer's own default when None.
            changes: Settings of the recipe to change, by dotted name.
            tools: Toolbox selection; the recipe's, or else the task's own, when None.
            model: A checkpoint to train.
            quick: A run of about a minute that shows only that everything runs.
            resume: Go on with the run in `run`.

        Raises:
            SelectionError: Something that was asked for cannot be had; a sentence says why. Nothing was written.
        """
        ...

    def load_policy(
        self,
        registry: Registry,
        path: str | Path,
        task: Task,
        toolbox: Toolbox,
        *,
        temperature: float | None = None,
        seed: int = 0,
    ) -> tuple[Policy, EpisodeConfig]:
        """Open a trained policy.

        Args:
            registry: What is installed.
            path: A run folder, or a checkpoint.
            task: The task to play.
            toolbox: The tools it is given, which need not be those it was trained with.
            temperature: Of sampling; 0 is greedy; None is the temperature it was trained with, or 1.
            seed: Of sampling.

        Returns:
            The policy, and how its episodes are played.
        """
        ...
