"""The program `python -m medvistagym_trl.science`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from medvistagym_core.plugins import Registry, SelectionError
from medvistagym_trl._libraries import configure_libraries
from medvistagym_trl._recipe import RecipeError, load_recipe
from medvistagym_trl.science._figures import plot_policies, plot_tool_use, plot_trajectory_counts
from medvistagym_trl.science._report import format_study, write_study
from medvistagym_trl.science._study import begin_study, run_seed, run_seeds

DESCRIPTION: Final = """\
Run a study, count it, draw it.

run     train what is missing of some seeds, then count and draw (`make science`)
report  count and draw what is there
tools   draw what a run made of its tools (accuracy by family, calls by tool)"""
CURVE: Final = (32, 64)
"""Numbers of trajectories, beside the recipe's own and all there are."""


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; 0 done, 1 it failed, 2 it cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m medvistagym_trl.science", description=DESCRIPTION)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train what is missing, then count and draw")
    run.add_argument("--run", type=Path, default=Path("runs/science"), help="folder of the study")
    run.add_argument("--recipe", default="scoutvqa-explored", help="recipe that is studied")
    run.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of it")
    run.add_argument("--seeds", type=_numbers, default=(0, 1, 2), help="seeds, such as 0,1,2")
    run.add_argument("--curve", type=_numbers, default=CURVE, help="numbers of trajectories; none for no curve")
    run.add_argument("--jobs", type=_positive, default=2, help="seeds that are trained at once, one core each")
    seed = commands.add_parser("seed", help="train what is missing of one seed")
    seed.add_argument("--run", type=Path, required=True)
    seed.add_argument("--seed", type=int, required=True)
    seed.add_argument("--curve", type=_numbers, default=())
    report = commands.add_parser("report", help="count and draw what is there")
    report.add_argument("--run", type=Path, default=Path("runs/science"))
    tools = commands.add_parser("tools", help="draw what a run made of its tools")
    tools.add_argument(
        "--run", type=Path, required=True, nargs="+", help="a run folder, or some that follow each other"
    )
    tools.add_argument("--out", type=Path, default=Path("tools.png"))
    options = parser.parse_args(arguments)
    try:
        if options.command == "tools":
            plot_tool_use(options.run, options.out)
            return 0
        configure_libraries()
        if options.command == "seed":
            run_seed(options.run, options.seed, options.curve, Registry.discover())
            return 0
        if options.command == "run":
            begin_study(options.run, load_recipe(options.recipe).with_overrides(_changes(options.set)))
            run_seeds(options.run, options.seeds, options.curve, jobs=options.jobs)
        _report(options.run)
    except (SelectionError, RecipeError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except OSError as error:
        if options.command == "seed":  # of a training, which a sentence does not explain
            raise
        sys.stderr.write(f"{error.filename}: {error.strerror}\n" if error.filename else f"{error}\n")
        return 1
    return 0


def _report(folder: Path) -> None:
    study = write_study(folder)
    sys.stdout.write(format_study(study))
    sys.stdout.flush()
    plot_policies(study, folder / "policies.png")
    if len([point for point in study.curve if point.trajectories]) > 1:
        plot_trajectory_counts(study, folder / "trajectory-counts.png")


def _changes(texts: Sequence[str]) -> dict[str, Any]:
    """Settings by name, of `NAME=VALUE` each, the value in YAML.

    Raises:
        RecipeError: One has no name, no value, or a value that is no YAML.
    """
    changes: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise RecipeError(f"--set takes NAME=VALUE such as grpo.steps=50, not {text!r}")
        try:
            changes[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise RecipeError(f"--set {name}: {value!r} is no YAML: {' '.join(str(error).split())}") from None
    return changes


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"is at least 1, not {number}")
    return number


def _numbers(text: str) -> tuple[int, ...]:
    if text in ("", "none"):
        return ()
    return tuple(int(part) for part in text.split(","))
