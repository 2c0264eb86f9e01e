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
from medvistagym_core.cli._run_comparison import add_comparison_options, compare_questions

if TYPE_CHECKING:
    from medvistagym_core.scoring import RunComparison, TrainingRun

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
    add_comparison_options(parser)
    parser.set_defaults(execute=_compare)


def _compare(options: argparse.Namespace) -> int:
    from medvistagym_core.scoring import is_training

    pair = len(options.runs) == _PAIR and options.curves is None
    trainings = not pair or all(is_training(run) for run in options.runs)
    tables = _compare_trainings(options) if trainings else None
    questions: list[RunComparison] | None = None
    if pair and (not trainings or all((run / "trajectories").is_dir() for run in options.runs)):
        questions = compare_questions(options, "compare", *options.runs, may_differ=trainings)
    if options.json:
        rows = None if questions is None else [dataclasses.asdict(each) for each in questions]
        print_json(tables if not pair else rows if tables is None else {"trainings": tables, "questions": rows})
    elif questions:
        if trainings:
            print_text("")
        _print_questions(options, questions)
    return 0


def _print_questions(options: argparse.Namespace, comparisons: Sequence[RunComparison]) -> None:
    from medvistagym_core.scoring import format_comparison

    print_text("\n\n".join(format_comparison(each, options.show) for each in comparisons))
    print_stderr(f"`medvistagym view {options.runs[1]}` shows the episodes; search there for the name of a case.")


def _compare_trainings(options: argparse.Namespace) -> dict[str, Any]:
    """Draw trainings, print them unless JSON is asked for, and return what that would be."""
    from medvistagym_core.scoring import format_trainings, plot_trainings, read_training, training_table

    try:
        runs = [read_training(run) for run in dict.fromkeys(options.runs)]
        references = [] if options.no_reference else _references(options, runs)
        if options.curves is not None:
            plot_trainings(runs, references, options.curves)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if not options.json:
        print_text(format_trainings([*runs, *references]))
    if options.curves is not None:
        print_stderr(f"the curves are in {options.curves}")
    return {
        "runs": [run.name for run in runs],
        "references": [run.name for run in references],
        "rows": training_table([*runs, *references]),
    }


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
