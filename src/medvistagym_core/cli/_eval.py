"""`medvistagym eval`: accuracy and tool use of a policy, with its tools, without them, and with other images."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medvistagym_core.cli._console import print_json, print_stderr, print_text
from medvistagym_core.cli._errors import UsageError
from medvistagym_core.cli._eval_measure import Measured, Scoring, TaskCases, image_controls, list_conditions, measure
from medvistagym_core.cli._options import add_common, load_registry
from medvistagym_core.cli._players import share_executor
from medvistagym_core.cli._policy_options import (
    add_policy_options,
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
from medvistagym_core.cli._tool_results import measure_recorded, replacements

if TYPE_CHECKING:
    from medvistagym_core.plugins import Registry
    from medvistagym_core.rollouts import ResultReplacement


__all__ = ["configure"]

_EXAMPLE = """\
medvistagym eval --task scoutvqa --policy expert
medvistagym eval --task scoutvqa --policy random --reward paper,repairs=0.1
medvistagym eval --task scoutvqa --model runs/one --temperature 0 --without-tools --ablate --out results.json
medvistagym eval --task vqa_rad,slake --endpoint http://127.0.0.1:8000/v1 --endpoint-model my-model --run runs/two \\
    --protocol strict,llava-med --images blank,shuffled
medvistagym eval runs/two --endpoint http://127.0.0.1:8000/v1 --endpoint-model my-model --tool-results blank,swapped"""


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
    _check_outputs(options)
    controls = image_controls(options)
    scoring = Scoring(protocol_names(options), make_judge(options), replacements(options))
    registry = load_registry(options)
    if options.recorded_run is not None:
        return _go_on(options, registry, scoring.replacements)
    tasks = find_tasks(options, registry)
    if len(tasks) > 1 and options.out is not None:
        raise UsageError("--out holds the results of one task; --scores holds those of several")
    splits = [split_of(options, task) for task in tasks]
    measured: list[Measured] = []
    with share_executor(options, registry):
        for number, (task, (split, indices)) in enumerate(zip(tasks, splits, strict=True)):
            provenance = print_provenance(task, split)
            origin = {} if provenance is None else dataclasses.asdict(provenance)
            cases = TaskCases(tasks, number, split, indices, origin)
            measured.append(Measured())
            for condition in list_conditions(options, registry, tools_of(options, task), controls):
                measure(options, registry, cases, condition, scoring, measured[-1])
    several = len(tasks) > 1 or bool(options.protocol or controls or scoring.replacements)
    _report(
        options,
        [(task.name, split) for task, (split, _) in zip(tasks, splits, strict=True)],
        measured,
        scoring.judge,
        several=several,
    )
    return 0


def _check_outputs(options: argparse.Namespace) -> None:
    """Refuse what could not be written, or could not be played, before anything is done."""
    if options.out is not None and not options.out.parent.is_dir():
        raise UsageError(f"{options.out}: the folder {options.out.parent} does not exist")
    if options.out is not None and options.out.exists() and options.out.suffix != ".json":
        raise UsageError(f"{options.out} is there already, and is no .json file; name another, so that it is not lost")
    if options.run is not None and any((options.run / name).is_file() for name in ("recipe.yaml", "metrics.jsonl")):
        raise UsageError(
            f"{options.run} is the folder of a training, whose own scores would be lost: name another folder with --run"
        )
    if options.samples < 1:
        raise UsageError(f"--samples must be at least 1, not {options.samples}")
    check_report_options(options)


def _report(
    options: argparse.Namespace,
    splits: Sequence[tuple[str, str]],
    measured: Sequence[Measured],
    judge: ChosenJudge,
    *,
    several: bool,
) -> None:
    """Write and print what came of the tasks.

    Args:
        options: The command's options.
        splits: Name and split of each task.
        measured: What was measured of each.
        judge: Who judged.
        several: Whether the scores say more than the table of results, and are printed too.
    """
    from medvistagym_core.scoring import format_markdown, format_report, make_report
    from medvistagym_core.trajectories import Results, format_table

    results = [
        Results(task=task, split=split, seed=options.seed, rows=tuple(each.rows), notes=tuple(each.notes))
        for (task, split), each in zip(splits, measured, strict=True)
    ]
    scored = [one for each in measured for one in each.scored]
    reliance = [one for each in measured for one in each.reliance]
    notes = [note for each in measured for note in each.notes]
    report = make_report(scored, judge=judge.settings, reliance=reliance, notes=notes)
    if options.out is not None:
        results[0].save(options.out)
    write_report(options, report, scored)
    if options.run is not None:
        report.save(options.run / "scores.json")
        write_whole(options.run / "scores.md", [format_markdown(report)])
    if options.json:
        print_json(report.model_dump() if several else results[0].model_dump(exclude_none=True))
        return
    for one in results:
        if len(results) > 1:
            print_text(f"{one.task} {one.split}")
        print_text(format_table(one.rows))
    if several:
        print_text(f"\n{format_report(report)}")
        print_report_notes(report)
    else:
        for line in results[0].notes:
            print_stderr(line)


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
