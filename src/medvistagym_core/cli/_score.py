"""`medvistagym score`: what stored answers are worth under other protocols, without running a model."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from medvistagym_core.cli._console import print_json, print_text
from medvistagym_core.cli._errors import UsageError
from medvistagym_core.cli._options import add_common
from medvistagym_core.cli._score_options import (
    add_judge_options,
    add_report_options,
    check_report_options,
    make_judge,
    print_report_notes,
    protocol_names,
    write_report,
)

__all__ = ["configure"]

_EXAMPLE = """\
medvistagym score runs/first --protocol strict,llava-med,medevalkit@as-published
medvistagym score runs/first --protocol medevalkit --judge http://127.0.0.1:8000/v1 \\
    --judge-model my-judge --rows verdicts.jsonl
medvistagym score --answers gaze/runs/vqa_rad --protocol gaze,strict"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_common(parser, _EXAMPLE, json=True)
    parser.add_argument("run_path", metavar="RUN", nargs="?", type=Path, help="run folder, or a trajectory file")
    parser.add_argument(
        "--answers",
        metavar="PATH",
        type=Path,
        help="in place of RUN: answers that GAZE's VQA-RAD example stored, a folder of sample_N.json or a JSON file",
    )
    add_judge_options(parser)
    add_report_options(parser)
    parser.set_defaults(execute=_score)


def _score(options: argparse.Namespace) -> int:
    from medvistagym_core.scoring import (
        evaluate_answers,
        evaluate_run,
        find_run_files,
        format_report,
        make_report,
        read_answers,
    )

    check_report_options(options)
    protocols, judge = protocol_names(options), make_judge(options)
    if (options.run_path is None) == (options.answers is None):
        raise UsageError("name a run to score, or stored answers with --answers, and not both")
    try:
        if options.answers is None:
            find_run_files(options.run_path)
        else:
            read_answers(options.answers)
    except ValueError as error:
        raise UsageError(str(error)) from error
    score = partial(evaluate_run, options.run_path)
    if options.answers is not None:
        score = partial(evaluate_answers, options.answers)
    scored = score(protocols, judge=judge.ask, judge_calls=judge.concurrency, facets=options.facet)
    report = make_report(scored, judge=judge.settings)
    write_report(options, report, scored)
    if options.json:
        print_json(report.model_dump())
        return 0
    print_text(format_report(report))
    print_report_notes(report)
    return 0
