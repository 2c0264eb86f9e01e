"""`medvistagym eval compare`: two evaluations question by question, and the questions that flipped in the viewer."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

from medvistagym_core.cli._console import print_json, print_stderr, print_text
from medvistagym_core.cli._errors import UsageError
from medvistagym_core.cli._options import add_common, load_registry
from medvistagym_core.cli._page import add_page_options, check_port, serve_page
from medvistagym_core.cli._run_comparison import add_comparison_options, compare_questions

__all__ = ["configure"]

_EXAMPLE = """\
medvistagym eval compare runs/first runs/second
medvistagym eval compare runs/first runs/second --view --open
medvistagym eval compare runs/first runs/second --protocol medvlthinker --flips flipped"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_common(parser, _EXAMPLE, json=True)
    parser.add_argument("first", metavar="RUN", type=Path, help="run folder, or a trajectory file")
    parser.add_argument("second", metavar="OTHER", type=Path, help="another one on the same questions")
    add_comparison_options(parser)
    parser.add_argument(
        "--view", action="store_true", help="look at the episodes of questions that flipped in a browser"
    )
    parser.add_argument(
        "--flips", metavar="FOLDER", type=Path, help="keep those episodes there, as a run that `view` and `replay` read"
    )
    add_page_options(parser)
    parser.set_defaults(execute=_compare)


def _compare(options: argparse.Namespace) -> int:
    from medvistagym_core.scoring import format_comparison, write_flips

    check_port(options)
    if options.flips is not None and options.flips.exists():
        raise UsageError(f"{options.flips} is there already; name another folder")
    comparisons = compare_questions(options, "eval compare", options.first, options.second)
    flipped = any(each.changes for each in comparisons)
    if not options.json:
        print_text("\n\n".join(format_comparison(each, options.show) for each in comparisons))
    elif not (options.view and flipped):  # a page that is served prints its address as the one JSON document
        print_json([dataclasses.asdict(each) for each in comparisons])
    if not flipped:
        if options.view or options.flips is not None:
            print_stderr("medvistagym: no question flipped, so there is nothing to look at")
        return 0
    if options.flips is not None:
        count = write_flips(options.first, options.second, comparisons, options.flips)
        print_stderr(f"{count} episodes of questions that flipped: {options.flips}")
    if not options.view:
        return 0
    with tempfile.TemporaryDirectory() as folder:
        flips = options.flips or Path(folder, "flips")
        if options.flips is None:
            write_flips(options.first, options.second, comparisons, flips)
        _view(flips, options)
    return 0


def _view(folder: Path, options: argparse.Namespace) -> None:
    from medvistagym_core.rollouts import FullResolutionReplayer
    from medvistagym_core.trajectories.viewer import EpisodeIndex, ViewerServer

    full_resolution = FullResolutionReplayer(lambda: load_registry(options)).png
    serve_page(
        lambda: ViewerServer(EpisodeIndex(folder), options.port, full_resolution),
        options,
        "Whoever has this address on this machine can see these episodes.",
    )
