"""`medvistagym compare`: two runs question by question."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from medvistagym_core.cli._console import print_json, print_stderr, print_text
from medvistagym_core.cli._errors import UsageError
from medvistagym_core.cli._options import add_common
from medvistagym_core.cli._score_options import add_judge_options, make_judge, protocol_names

__all__ = ["configure"]

_EXAMPLE = """\
medvistagym compare runs/first runs/second
medvistagym compare runs/first/trajectories/a.jsonl runs/first/trajectories/b.jsonl --protocol medvlthinker"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_common(parser, _EXAMPLE, json=True)
    parser.add_argument("first", metavar="RUN", type=Path, help="run folder, or a trajectory file")
    parser.add_argument("second", metavar="OTHER", type=Path, help="another one on the same questions")
    add_judge_options(parser)
    parser.add_argument(
        "--show", metavar="N", type=int, default=20, help="most questions that are listed (default: 20)"
    )
    parser.set_defaults(execute=_compare)


def _compare(options: argparse.Namespace) -> int:
    from medvistagym_core.scoring import compare_runs, format_comparison

    protocols, judge = protocol_names(options), make_judge(options)
    if len(protocols) > 1:
        raise UsageError(f"compare takes one protocol, not {', '.join(protocols)}")
    if options.show < 0:
        raise UsageError(f"--show must be at least 0, not {options.show}")
    try:
        found = compare_runs(
            options.first, options.second, protocols[0], judge=judge.ask, judge_calls=judge.concurrency
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    if options.json:
        print_json([dataclasses.asdict(each) for each in found])
        return 0
    print_text("\n\n".join(format_comparison(each, options.show) for each in found))
    print_stderr(f"`medvistagym view {options.second}` shows the episodes; search there for the name of a case.")
    return 0
