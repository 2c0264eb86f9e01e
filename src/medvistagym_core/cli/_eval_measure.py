"""What `medvistagym eval` measures: the cases of a task, played and scored under one condition after another."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvistagym_core.cli._errors import CommandError, UsageError
from medvistagym_core.cli._options import select_toolbox
from medvistagym_core.cli._players import LocalPlayers, RemotePlayers, start_players
from medvistagym_core.cli._policy_options import RolloutProgressBar, check_same_policy, decoding_label
from medvistagym_core.cli._score_options import ChosenJudge
from medvistagym_core.cli._tool_results import measure_replaced

if TYPE_CHECKING:
    from medvistagym_core.environment import Task
    from medvistagym_core.plugins import Registry
    from medvistagym_core.rollouts import ImageControl, Progress, ResultReplacement
    from medvistagym_core.scoring import ScoredCondition, ToolReliance
    from medvistagym_core.tools import Toolbox
    from medvistagym_core.trajectories import ResultRow, Trajectory


__all__ = ["Measured", "Scoring", "TaskCases", "image_controls", "list_conditions", "measure"]


@dataclasses.dataclass(frozen=True)
class Condition:
    """Something to measure under.

    Attributes:
        name: What reports call it.
        suffix: What is added to the policy's name in the table.
        select: The selection that leads to the tools.
        toolbox: The tools.
        control: Which images are shown in place of the case's own.
    """

    name: str
    suffix: str
    select: str
    toolbox: Toolbox
    control: ImageControl | None = None


@dataclasses.dataclass(frozen=True)
class Scoring:
    """How answers are scored: the protocols, the judge, and what tool results are replaced by."""

    protocols: Sequence[str]
    judge: ChosenJudge
    replacements: Sequence[ResultReplacement]


@dataclasses.dataclass(frozen=True)
class TaskCases:
    """The cases of one of the tasks that are measured.

    Attributes:
        tasks: All tasks that were named.
        number: Place of this one among them.
        split: Split of the cases.
        indices: Positions of the cases in the split.
        provenance: Where they are from.
    """

    tasks: Sequence[Task]
    number: int
    split: str
    indices: range
    provenance: dict[str, Any]

    @property
    def task(self) -> Task:
        """The task."""
        return self.tasks[self.number]


@dataclasses.dataclass
class Measured:
    """What was measured of a task so far."""

    rows: list[ResultRow] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    scored: list[ScoredCondition] = dataclasses.field(default_factory=list)
    reliance: list[ToolReliance] = dataclasses.field(default_factory=list)


def measure(
    options: argparse.Namespace,
    registry: Registry,
    cases: TaskCases,
    condition: Condition,
    scoring: Scoring,
    measured: Measured,
) -> None:
    """Play the cases of a task under one condition, and add what came of it."""
    from medvistagym_core.trajectories import summarize, summarize_trust

    task = cases.task
    name = _file_name(task.name, cases.split, condition.name)
    file = None if options.run is None else options.run / "trajectories" / name
    players = start_players(options, registry, cases.tasks, cases.number, condition.toolbox, condition.select)
    label = f"{players.name}{condition.suffix}"
    episodes = RolloutProgressBar(condition.name)
    try:
        if file is not None:
            check_same_policy(file, players.name, players.sampling, players.weights, "--run")
        trajectories = _play(options, players, cases.split, cases.indices, condition, file, episodes)
    finally:
        episodes.close()
        players.close()
    measured.notes += _notes(task.name, condition, label, trajectories, episodes.progress)
    decoding, with_reward = decoding_label(players.sampling), options.reward is not None
    for rows_of in (summarize, summarize_trust):
        measured.rows += rows_of(trajectories, label, decoding, task.families, with_reward=with_reward)
    file_shown = "" if file is None else f"trajectories/{name}"
    measured.scored.append(_score(options, trajectories, condition, scoring, file_shown, cases.provenance))
    if scoring.replacements and condition.control is None and not condition.suffix:
        measured.reliance += measure_replaced(
            options, registry, task, lambda _: task, condition.toolbox, trajectories, scoring.replacements
        )


def _notes(
    task: str, condition: Condition, label: str, trajectories: Sequence[Trajectory], progress: Progress
) -> list[str]:
    """What a reader of the figures must know of the episodes.

    Raises:
        CommandError: None could be shown, or the policy failed in all of them.
    """
    notes = []
    if not trajectories:
        raise CommandError(f"{task}: no case could be shown: {progress.reason}")
    if progress.played and progress.failed == progress.played:
        reason = next((t.outcome.reason for t in trajectories if t.outcome.reason), "no reason is known")
        raise CommandError(f"{label} failed in every episode: {reason}")
    if progress.failed:
        notes.append(f"{label} failed in {progress.failed} of {progress.played} episodes, counted as wrong.")
    if progress.unusable:
        notes.append(
            f"{progress.unusable} episodes of {task} ({condition.name}) could not be shown and are left out: "
            f"{progress.reason}."
        )
    return notes


def _score(
    options: argparse.Namespace,
    trajectories: Sequence[Trajectory],
    condition: Condition,
    scoring: Scoring,
    file: str,
    provenance: dict[str, Any],
) -> ScoredCondition:
    from medvistagym_core.scoring import rendered_prompt, score_condition

    return score_condition(
        trajectories,
        scoring.protocols,
        condition=condition.name,
        file=file,
        tools=list(condition.toolbox),
        judge=scoring.judge.ask,
        judge_calls=scoring.judge.concurrency,
        rendered_prompt=rendered_prompt(trajectories[0]),
        provenance=provenance,
        facets=options.facet,
    )


def _play(
    options: argparse.Namespace,
    players: LocalPlayers | RemotePlayers,
    split: str,
    indices: range,
    condition: Condition,
    file: Path | None,
    episodes: RolloutProgressBar,
) -> list[Trajectory]:
    """The episodes of a condition, those of an earlier run of the same folder included."""
    from medvistagym_core.rollouts import PolicyUnavailableError
    from medvistagym_core.trajectories import TrajectoryReader, TrajectoryWriter

    play = partial(
        players.play, split, indices, seed=options.seed, samples=options.samples, batch=options.batch,
        progress=episodes, images=condition.control,
    )  # fmt: skip
    if file is None:
        return list(play())
    goes_on = f"{file} holds what was finished, and the same command goes on with it"
    try:
        with TrajectoryWriter(file, condition.toolbox) as writer:
            played = list(play(log=writer))
    except PolicyUnavailableError as error:
        raise CommandError(f"{error}; {goes_on}") from error
    except KeyboardInterrupt as interrupt:
        interrupt.add_note(goes_on)
        raise
    if episodes.progress.done == len(played):
        return played
    chosen = set(indices)
    return [
        trajectory
        for trajectory in TrajectoryReader(file)
        if trajectory.seed == options.seed and trajectory.index in chosen and trajectory.sample < options.samples
    ]


def list_conditions(
    options: argparse.Namespace, registry: Registry, select: str, controls: Sequence[ImageControl]
) -> list[Condition]:
    """What to measure under: first the tools that were chosen."""
    from medvistagym_core.scoring import IMAGE_CONDITIONS

    whole = select_toolbox(registry, select, options.device)
    found = [Condition("tools" if len(whole) else "no tools", "", select, whole)]
    if options.without_tools and len(whole):
        found.append(Condition("no tools", ", no tools", "", select_toolbox(registry, "")))
    if options.ablate:
        for name in whole:
            rest = ",".join(f"{tool}={whole[tool].id}" for tool in whole if tool != name)
            toolbox = select_toolbox(registry, rest, options.device)
            found.append(Condition(f"without {name}", f", without {name}", rest, toolbox))
    found += [
        Condition(IMAGE_CONDITIONS[kind], f", {IMAGE_CONDITIONS[kind]}", select, whole, kind) for kind in controls
    ]
    return found


def image_controls(options: argparse.Namespace) -> list[ImageControl]:
    """The images of `--images`.

    Raises:
        UsageError: There is no such kind.
    """
    from medvistagym_core.rollouts import IMAGE_CONTROLS

    names = [] if options.images is None else [part.strip() for part in options.images.split(",") if part.strip()]
    unknown = [name for name in names if name not in IMAGE_CONTROLS]
    if unknown or (options.images is not None and not names) or len(set(names)) < len(names):
        raise UsageError(f"--images takes {', '.join(IMAGE_CONTROLS)}, or several of them, not {options.images!r}")
    return [kind for kind in IMAGE_CONTROLS if kind in names]


def _file_name(task: str, split: str, condition: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", f"{task}-{split}-{condition}") + ".jsonl"
