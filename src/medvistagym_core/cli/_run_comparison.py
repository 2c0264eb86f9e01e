"""Comparing two runs question by question under one protocol, for `compare` and `eval compare`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from medvistagym_core.cli._console import print_stderr
from medvistagym_core.cli._errors import UsageError
from medvistagym_core.cli._score_options import add_judge_options, make_judge, protocol_names

if TYPE_CHECKING:
    from medvistagym_core.scoring import RunComparison

__all__ = ["add_comparison_options", "compare_questions"]


def add_comparison_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how two runs are compared."""
    add_judge_options(parser)
    parser.add_argument(
        "--show", metavar="N", type=int, default=20, help="most questions that are listed (default: 20)"
    )


def compare_questions(
    options: argparse.Namespace, command: str, first: Path, second: Path, *, may_differ: bool = False
) -> list[RunComparison]:
    """Compare two runs as `add_comparison_options` asks for; `command` is named in what is refused.

    Two that may differ may also have been asked other questions, as trainings of two seeds are: that is said, and nothing
    is compared.

    Raises:
        UsageError: Several protocols, a negative number, or runs that cannot be compared.
    """
    from medvistagym_core.scoring import NothingInCommonError, compare_runs

    protocols, judge = protocol_names(options), make_judge(options)
    if len(protocols) > 1:
        raise UsageError(f"{command} takes one protocol, not {', '.join(protocols)}")
    if options.show < 0:
        raise UsageError(f"--show must be at least 0, not {options.show}")
    try:
        return compare_runs(first, second, protocols[0], judge=judge.ask, judge_calls=judge.concurrency)
    except ValueError as error:
        if may_differ and isinstance(error, NothingInCommonError):
            print_stderr(f"{error}; none is compared")
            return []
        raise UsageError(str(error)) from error
