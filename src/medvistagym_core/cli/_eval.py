"""`medvistagym eval`: accuracy and tool use of a policy, with its tools, without them, and with other images."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvistagym_core.cli._console import print_json, print_stderr, print_text
from medvistagym_core.cli._errors import CommandError, UsageError
from medvistagym_core.cli._options import add_common, load_registry, select_toolbox
from medvistagym_core.cli._players import LocalPlayers, RemotePlayers, share_executor, start_players
from medvistagym_core.cli._policy_options import (
    RolloutProgressBar,
    add_policy_options,
    check_same_policy,
    decoding_label,
    split_of,
    tools_of,
)
from medvistagym_core.cli._score_options import (
    ChosenJudge,
    add_judge_options,
    add_report_options,
    check_report_options,
    make_judge,
    print_report_notes,
    protocol_names,
    write_report,
    write_whole,
)
from medvistagym_core.cli._task_options import find_tasks, print_provenance
from medvistagym_core.cli._tool_results import measure_recorded, measure_replaced, replacements

if TYPE_CHECKING:
    from medvistagym_core.environment import Task
    from medvistagym_core.plugins import Registry
    from medvistagym_core.rollouts import ImageControl, ResultReplacement
    from medvistagym_core.scoring import ScoredCondition, ToolReliance
    from medvistagym_core.tools import Toolbox
    from medvistagym_core.trajectories import ResultRow, Trajectory


__all__ = ["configure"]

_EXAMPLE = """\
medvistagym eval --task scoutvqa --policy expert
medvistagym eval --task scoutvqa --policy random --reward paper,repairs=0.1
medvistagym eval --task scoutvqa --model runs/one --temperature 0 --without-tools --ablate --out results.json
medvistagym eval --task vqa_rad,slake --endpoint http://127.0.0.1:8000/v1 --endpoint-model my-model --run runs/two \\
    --protocol strict,llava-med --images blank,shuffled
medvistagym eval runs/two --endpoint http://127.0.0.1:8000/v1 --endpoint-model my-model --tool-results blank,swapped"""


@dataclasses.dataclass(frozen=True)
class _Condition:
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


@dataclasses.dataclass
class _Measured:
    """What was measured so far."""

    rows: list[ResultRow]
    notes: list[str]
    scored: list[ScoredCondition]
    reliance: list[ToolReliance]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_common(parser, _EXAMPLE, json=True)
    add_policy_options(parser, ("expert", "random"), cases=None, split="test")
    parser.add_argument("--samples", metavar="N", type=int, default=1, help="episodes of each case (default: 1)")
    parser.add_argument("--without-tools", action="store_true", help="also measure it without any tool")
    parser.add_argument("--ablate", action="store_true", help="also measure it with each tool left out")
    parser.add_argument(
        "--images",
        metavar="KIND[,KIND...]",
        help="also measure it with other images: blank, shuffled (another case's) or none; says how much of the score stays",
    )
    parser.add_argument(
        "recorded_run",
        metavar="RUN",
        nargs="?",
        type=Path,
        help="with --tool-results: go on from the episodes of this run folder or trajectory file, in place of playing",
    )
    parser.add_argument(
        "--tool-results",
        metavar="KIND[,KIND...]",
        help="also let the policy go on from its last tool result replaced: blank, shuffled (another episode's) or swapped "
        "(one with another right answer), in this process; says how often its answer changes",
    )
    add_judge_options(parser)
    parser.add_argument(
        "--run",
        metavar="FOLDER",
        type=Path,
        help="keep every episode there, with scores.json and scores.md; the same command goes on with a run that was stopped",
    )
    parser.add_argument("--out", metavar="FILE", type=Path, help="also write the results document there (JSON)")
    add_report_options(parser)
    parser.set_defaults(execute=_eval)


def _eval(options: argparse.Namespace) -> int:
    from medvistagym_core.scoring import format_markdown, format_report, make_report
    from medvistagym_core.trajectories import Results, format_table

    if options.out is not None and not options.out.parent.is_dir():
        raise UsageError(f"{options.out}: the folder {options.out.parent} does not exist")
    if options.out is not None and options.out.exists() and options.out.suffix != ".json":
        raise UsageError(f"{options.out} is there already, and is no .json file; name another, so that it is not lost")
    if options.samples < 1:
        raise UsageError(f"--samples must be at least 1, not {options.samples}")
    check_report_options(options)
    protocols, judge, controls = protocol_names(options), make_judge(options), _controls(options)
    kinds = replacements(options)
    registry = load_registry(options)
    if options.recorded_run is not None:
        return _go_on(options, registry, kinds)
    tasks = find_tasks(options, registry)
    if len(tasks) > 1 and options.out is not None:
        raise UsageError("--out holds the results of one task; --scores holds those of several")
    splits = [split_of(options, task) for task in tasks]
    results, scored = [], []
    reliance: list[ToolReliance] = []
    with share_executor(options, registry):
        for number, (task, (split, indices)) in enumerate(zip(tasks, splits, strict=True)):
            provenance = print_provenance(task, split)
            origin = {} if provenance is None else dataclasses.asdict(provenance)
            measured = _Measured([], [], [], [])
            for condition in _conditions(options, registry, tools_of(options, task), controls):
                own = kinds if condition.control is None and not condition.suffix else []
                _measure(
                    options, registry, tasks, number, split, indices, condition, protocols, judge, origin, own, measured
                )
            results.append(
                Results(
                    task=task.name,
                    split=split,
                    seed=options.seed,
                    rows=tuple(measured.rows),
                    notes=tuple(measured.notes),
                )
            )
            scored += measured.scored
            reliance += measured.reliance
    report = make_report(
        scored, judge=judge.settings, reliance=reliance, notes=[note for each in results for note in each.notes]
    )
    if options.out is not None:
        results[0].save(options.out)
    write_report(options, report, scored)
    if options.run is not None:
        report.save(options.run / "scores.json")
        write_whole(options.run / "scores.md", [format_markdown(report)])
    more = len(tasks) > 1 or bool(options.protocol or controls or kinds)
    if options.json:
        print_json(report.model_dump() if more else results[0].model_dump(exclude_none=True))
        return 0
    for each in results:
        if len(results) > 1:
            print_text(f"{each.task} {each.split}")
        print_text(format_table(each.rows))
    if more:
        print_text(f"\n{format_report(report)}")
        print_report_notes(report)
    else:
        for line in results[0].notes:
            print_stderr(line)
    return 0


def _measure(
    options: argparse.Namespace,
    registry: Registry,
    tasks: Sequence[Task],
    number: int,
    split: str,
    indices: range,
    condition: _Condition,
    protocols: Sequence[str],
    judge: ChosenJudge,
    origin: dict[str, Any],
    kinds: Sequence[ResultReplacement],
    measured: _Measured,
) -> None:
    """Play a task, by its place among those that were named, under one condition, and add what came of it."""
    from medvistagym_core.scoring import rendered_prompt, score_condition
    from medvistagym_core.trajectories import summarize, summarize_trust

    task = tasks[number]
    name = _file_name(task.name, split, condition.name)
    file = None if options.run is None else options.run / "trajectories" / name
    players = start_players(options, registry, tasks, number, condition.toolbox, condition.select)
    label = f"{players.name}{condition.suffix}"
    episodes = RolloutProgressBar(condition.name)
    try:
        if file is not None:
            check_same_policy(file, players.name, players.sampling, players.weights, "--run")
        trajectories = _play(options, players, split, indices, condition, file, episodes)
    finally:
        episodes.close()
        players.close()
    progress = episodes.progress
    if not trajectories:
        raise CommandError(f"{task.name}: no case could be shown: {progress.reason}")
    if progress.played and progress.failed == progress.played:
        reason = next((t.outcome.reason for t in trajectories if t.outcome.reason), "no reason is known")
        raise CommandError(f"{label} failed in every episode: {reason}")
    if progress.failed:
        measured.notes.append(f"{label} failed in {progress.failed} of {progress.played} episodes, counted as wrong.")
    if progress.unusable:
        measured.notes.append(
            f"{progress.unusable} episodes of {task.name} ({condition.name}) could not be shown and are left out: "
            f"{progress.reason}."
        )
    decoding, with_reward = decoding_label(players.sampling), options.reward is not None
    for rows_of in (summarize, summarize_trust):
        measured.rows += rows_of(trajectories, label, decoding, task.families, with_reward=with_reward)
    measured.scored.append(
        score_condition(
            trajectories,
            protocols,
            condition=condition.name,
            file="" if file is None else f"trajectories/{name}",
            tools=list(condition.toolbox),
            judge=judge.ask,
            judge_calls=judge.concurrency,
            rendered_prompt=rendered_prompt(trajectories[0]),
            provenance=origin,
            facets=options.facet,
        )
    )
    if kinds:
        toolbox = condition.toolbox
        measured.reliance += measure_replaced(options, registry, task, lambda _: task, toolbox, trajectories, kinds)


def _go_on(options: argparse.Namespace, registry: Registry, kinds: Sequence[ResultReplacement]) -> int:
    """Let the policy go on from the episodes of a run with replaced results."""
    from medvistagym_core.scoring import format_report, make_report

    if not kinds:
        raise UsageError(
            f"{options.recorded_run}: a run is named for --tool-results; `medvistagym score` scores it again"
        )
    if options.task is not None or options.task_file is not None:
        raise UsageError("name a run to go on from, or a task to play, not both")
    if options.workers is not None:
        raise UsageError(
            "--workers spreads episodes that are played, and the policy goes on from a run in this process: leave it out"
        )
    report = make_report([], reliance=measure_recorded(options, registry, kinds))
    write_report(options, report, [])
    if options.json:
        print_json(report.model_dump())
    else:
        print_text(format_report(report))
    return 0


def _play(
    options: argparse.Namespace,
    players: LocalPlayers | RemotePlayers,
    split: str,
    indices: range,
    condition: _Condition,
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


def _conditions(
    options: argparse.Namespace, registry: Registry, select: str, controls: Sequence[ImageControl]
) -> list[_Condition]:
    """What to measure under: first the tools that were chosen."""
    from medvistagym_core.scoring import IMAGE_CONDITIONS

    whole = select_toolbox(registry, select, options.device)
    found = [_Condition("tools" if len(whole) else "no tools", "", select, whole)]
    if options.without_tools and len(whole):
        found.append(_Condition("no tools", ", no tools", "", select_toolbox(registry, "")))
    if options.ablate:
        for name in whole:
            rest = ",".join(f"{tool}={whole[tool].id}" for tool in whole if tool != name)
            toolbox = select_toolbox(registry, rest, options.device)
            found.append(_Condition(f"without {name}", f", without {name}", rest, toolbox))
    found += [
        _Condition(IMAGE_CONDITIONS[kind], f", {IMAGE_CONDITIONS[kind]}", select, whole, kind) for kind in controls
    ]
    return found


def _controls(options: argparse.Namespace) -> list[ImageControl]:
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
