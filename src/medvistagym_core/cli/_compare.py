"""`medvistagym compare`: two runs question by question, and trainings beside each other."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.cli._console import print_json, print_stderr, print_text
from medvistagym_core.cli._errors import UsageError
from medvistagym_core.cli._options import add_common, load_registry
from medvistagym_core.cli._score_options import add_judge_options, make_judge, protocol_names

if TYPE_CHECKING:
    from medvistagym_core.scoring import TrainingRun

__all__ = ["configure"]

_EXAMPLE = """\
medvistagym compare runs/first runs/second
medvistagym compare runs/first/trajectories/a.jsonl runs/first/trajectories/b.jsonl --protocol medvlthinker
medvistagym compare runs/seed-0 runs/seed-1 runs/seed-2 --curves curves.svg"""
_PAIR: Final = 2


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_common(parser, _EXAMPLE, json=True)
    parser.add_argument(
        "runs",
        metavar="RUN",
        type=Path,
        nargs="+",
        help="two run folders or trajectory files on the same questions; or one or more folders of trainings",
    )
    parser.add_argument(
        "--curves",
        metavar="FILE",
        type=Path,
        help="draw the metrics of trainings over each other, as .svg or .png, with the curves that ship with their recipe",
    )
    parser.add_argument("--no-reference", action="store_true", help="leave the shipped curves out")
    add_judge_options(parser)
    parser.add_argument(
        "--show", metavar="N", type=int, default=20, help="most questions that are listed (default: 20)"
    )
    parser.set_defaults(execute=_compare)


def _compare(options: argparse.Namespace) -> int:
    from medvistagym_core.scoring import is_training

    if options.curves is not None or len(options.runs) != _PAIR:
        return _compare_trainings(options)
    if not options.json and all(is_training(run) for run in options.runs):
        _compare_trainings(options)
        print_text("")
        if not all((run / "trajectories").is_dir() for run in options.runs):
            return 0
    return _compare_questions(options)


def _compare_questions(options: argparse.Namespace) -> int:
    from medvistagym_core.scoring import compare_runs, format_comparison

    protocols, judge = protocol_names(options), make_judge(options)
    if len(protocols) > 1:
        raise UsageError(f"compare takes one protocol, not {', '.join(protocols)}")
    if options.show < 0:
        raise UsageError(f"--show must be at least 0, not {options.show}")
    first, second = options.runs
    try:
        found = compare_runs(first, second, protocols[0], judge=judge.ask, judge_calls=judge.concurrency)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if options.json:
        print_json([dataclasses.asdict(each) for each in found])
        return 0
    print_text("\n\n".join(format_comparison(each, options.show) for each in found))
    print_stderr(f"`medvistagym view {second}` shows the episodes; search there for the name of a case.")
    return 0


def _compare_trainings(options: argparse.Namespace) -> int:
    from medvistagym_core.scoring import format_trainings, plot_trainings, read_training, training_table

    try:
        runs = [read_training(run) for run in dict.fromkeys(options.runs)]
        references = [] if options.no_reference else _references(options, runs)
        if options.curves is not None:
            plot_trainings(runs, references, options.curves)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if options.json:
        shown: list[dict[str, Any]] = training_table([*runs, *references])
        print_json({"runs": [run.name for run in runs], "references": [run.name for run in references], "rows": shown})
        return 0
    print_text(format_trainings([*runs, *references]))
    if options.curves is not None:
        print_stderr(f"the curves are in {options.curves}")
    return 0


def _references(options: argparse.Namespace, runs: Sequence[TrainingRun]) -> list[TrainingRun]:
    """The curves that ship with the recipes of some runs."""
    from medvistagym_core.rollouts import HasReferenceRuns
    from medvistagym_core.scoring import read_training

    recipes = {run.recipe for run in runs}
    shipped = [
        each.reference_runs() for each in load_registry(options).trainers.values() if isinstance(each, HasReferenceRuns)
    ]
    return [
        read_training(folder, f"reference {name}")
        for folders in shipped
        for name, folder in folders.items()
        if name in recipes
    ]
