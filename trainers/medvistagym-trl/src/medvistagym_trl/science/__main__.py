"""`python -m medvistagym_trl.science`: run a study, count it, draw it.

run     train what is missing of some seeds, then count and draw (`make science`)
report  count and draw what is there
tools   draw what a run made of its tools (accuracy by family, calls by tool)
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

import yaml

from medvistagym_core.plugins import Registry, SelectionError
from medvistagym_trl._libraries import configure_libraries
from medvistagym_trl._recipe import RecipeError, load_recipe
from medvistagym_trl.science import (
    begin_study,
    format_study,
    plot_policies,
    plot_tool_use,
    plot_trajectory_counts,
    run_seed,
    run_seeds,
    write_study,
)

CURVE: Final = (32, 64)
"""Numbers of trajectories, beside the recipe's own and all there are."""


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; 0 done, 1 it failed, 2 it cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m medvistagym_trl.science", description=(__doc__ or "").strip())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train what is missing, then count and draw")
    run.add_argument("--run", type=Path, default=Path("runs/science"), help="folder of the study")
    run.add_argument("--recipe", default="scoutvqa-explored", help="recipe that is studied")
    run.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting of it")
    run.add_argument("--seeds", type=_numbers, default=(0, 1, 2), help="seeds, such as 0,1,2")
    run.add_argument("--curve", type=_numbers, default=CURVE, help="numbers of trajectories; none for no curve")
    run.add_argument("--jobs", type=int, default=2, help="seeds that are trained at once, one core each")
    seed = commands.add_parser("seed", help="train what is missing of one seed")
    seed.add_argument("--run", type=Path, required=True)
    seed.add_argument("--seed", type=int, required=True)
    seed.add_argument("--curve", type=_numbers, default=())
    report = commands.add_parser("report", help="count and draw what is there")
    report.add_argument("--run", type=Path, default=Path("runs/science"))
    tools = commands.add_parser("tools", help="draw what a run made of its tools")
    tools.add_argument("--run", type=Path, required=True, help="a run folder")
    tools.add_argument("--out", type=Path, default=Path("tools.png"))
    given = parser.parse_args(arguments)
    try:
        if given.command == "tools":
            plot_tool_use(given.run, given.out)
            return 0
        configure_libraries()
        if given.command == "seed":
            run_seed(given.run, given.seed, given.curve, Registry.discover())
            return 0
        if given.command == "run":
            changes = {name: yaml.safe_load(value) for name, _, value in (each.partition("=") for each in given.set)}
            begin_study(given.run, load_recipe(given.recipe).with_overrides(changes))
            run_seeds(given.run, given.seeds, given.curve, jobs=given.jobs)
        _report(given.run)
    except (SelectionError, RecipeError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _report(folder: Path) -> None:
    study = write_study(folder)
    plot_policies(study, folder / "policies.png")
    if len([point for point in study.curve if point.trajectories]) > 1:
        plot_trajectory_counts(study, folder / "trajectory-counts.png")
    sys.stdout.write(format_study(study))


def _numbers(text: str) -> tuple[int, ...]:
    if text in ("", "none"):
        return ()
    return tuple(int(part) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
