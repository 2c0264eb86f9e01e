"""Options that `eval`, `score` and `compare` share: protocols, a judge, and where scores are written."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.cli._console import print_stderr
from medvistagym_core.cli._errors import CommandError, UsageError

if TYPE_CHECKING:
    from medvistagym_core.scoring import EvaluationReport, Judge, ScoredCondition

__all__ = [
    "ChosenJudge",
    "add_judge_options",
    "add_report_options",
    "check_report_options",
    "make_judge",
    "print_report_notes",
    "protocol_names",
    "write_report",
    "write_whole",
]

_JUDGE_TOKENS: Final = 64


@dataclasses.dataclass(frozen=True)
class ChosenJudge:
    """A language model that judges, its settings for the record, and most calls at once; the first two None without one."""

    ask: Judge | None = None
    settings: Mapping[str, str | int | float | None] | None = None
    concurrency: int = 1


def add_judge_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name protocols and a judge."""
    parser.add_argument(
        "--protocol",
        metavar="NAME[,NAME...]",
        help="scoring protocols: strict, llava-med, medevalkit, medvlthinker, lmms-eval, mmmu-official, gaze, or "
        "NAME@as-published with the harness's known faults (default: strict)",
    )
    parser.add_argument(
        "--judge", metavar="URL", help="OpenAI-compatible endpoint of a language model, for protocols that ask one"
    )
    parser.add_argument("--judge-model", metavar="NAME", help="the name of the judging model there")
    parser.add_argument(
        "--judge-concurrency", metavar="N", type=int, default=8, help="most requests to the judge at once (default: 8)"
    )
    parser.add_argument(
        "--judge-key-variable",
        metavar="NAME",
        default="MEDVISTAGYM_API_KEY",
        help="environment variable that holds the judge's key, if it wants one (default: MEDVISTAGYM_API_KEY)",
    )


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where scores are written."""
    parser.add_argument("--scores", metavar="FILE", type=Path, help="write the scores there (JSON)")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write the scores there as a page in Markdown")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw the scores there, as .svg or .png")
    parser.add_argument(
        "--rows",
        metavar="FILE",
        type=Path,
        help="write each verdict there (JSON lines), with what a judge was asked and said",
    )
    parser.add_argument(
        "--facet",
        metavar="NAME",
        action="append",
        default=[],
        help="also break scores down by this fact about the questions; may be given again",
    )


def check_report_options(options: argparse.Namespace) -> None:
    """Refuse files that could not be written, before any work.

    Raises:
        UsageError: A folder does not exist, or a picture is of another kind or needs what is not installed.
    """
    from medvistagym_core.scoring import PLOT_FORMATS

    if options.plot is not None and options.plot.suffix.lower() not in PLOT_FORMATS:
        raise UsageError(f"--plot: scores are drawn as {' or '.join(PLOT_FORMATS)}, not as {options.plot.name!r}")
    if options.plot is not None and importlib.util.find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib: pip install 'medvistagym-core[plots]'")
    for file in (options.scores, options.markdown, options.rows, options.plot):
        if file is not None and not file.parent.is_dir():
            raise UsageError(f"{file}: the folder {file.parent} does not exist")


def protocol_names(options: argparse.Namespace) -> list[str]:
    """The protocols that were asked for; `strict` unless any was.

    Raises:
        UsageError: There is no such protocol, or one is named twice.
    """
    from medvistagym_core.scoring import find_protocol

    names = [name.strip() for name in (options.protocol or "strict").split(",") if name.strip()]
    try:
        for name in names:
            find_protocol(name)
    except ValueError as error:
        raise UsageError(f"--protocol: {error}") from error
    if not names or len(set(names)) < len(names):
        raise UsageError(f"--protocol takes different names separated by commas, not {options.protocol!r}")
    return names


def make_judge(options: argparse.Namespace) -> ChosenJudge:
    """The judge that was asked for.

    Raises:
        UsageError: It has no name, or the URL is none.
    """
    from medvistagym_core.rollouts import ChatCompletionsClient

    if options.judge is None:
        if options.judge_model:
            raise UsageError("--judge-model needs --judge, the endpoint's URL")
        return ChosenJudge()
    if not options.judge_model:
        raise UsageError("--judge needs --judge-model, the name of the model there")
    try:
        client = ChatCompletionsClient(
            options.judge, concurrency=options.judge_concurrency, key_variable=options.judge_key_variable
        )
    except ValueError as error:
        raise UsageError(f"--judge: {error}") from error
    settings: dict[str, str | int | float | None] = {
        "endpoint": client.url, "model": options.judge_model, "temperature": 0.0, "max_tokens": _JUDGE_TOKENS,
    }  # fmt: skip

    def ask(prompt: str) -> str:
        message = client.complete(
            {
                "model": options.judge_model,
                "temperature": 0.0,
                "max_tokens": _JUDGE_TOKENS,
                "messages": [{"role": "user", "content": prompt}],
            }
        )
        return str(message.get("content") or "")

    return ChosenJudge(ask, settings, options.judge_concurrency)


def write_report(options: argparse.Namespace, report: EvaluationReport, scored: Sequence[ScoredCondition]) -> None:
    """Write what `add_report_options` asks for; each file is whole or not there. The picture comes last: it alone may fail.

    Raises:
        CommandError: One cannot be written.
    """
    from medvistagym_core.scoring import format_markdown, plot_report

    try:
        if options.scores is not None:
            report.save(options.scores)
        if options.markdown is not None:
            write_whole(options.markdown, [format_markdown(report)])
        if options.rows is not None:
            write_whole(options.rows, (json.dumps(row, ensure_ascii=False) + "\n" for row in _rows(scored)))
        if options.plot is not None:
            plot_report(report, options.plot)
    except OSError as error:
        raise CommandError(f"the scores cannot be written: {error}") from error
    except ValueError as error:
        raise CommandError(f"--plot: {error}") from error


def print_report_notes(report: EvaluationReport) -> None:
    """Say on stderr what a reader of the numbers must know."""
    notes = [note for each in report.conditions for protocol in each.protocols for note in protocol.notes]
    for note in dict.fromkeys([*notes, *report.notes]):
        print_stderr(note)


def write_whole(path: Path, texts: Iterable[str]) -> None:
    """Write a text file; it is whole or not there."""
    from medvistagym_core.storage import write_atomically

    with write_atomically(path) as part, part.open("w", encoding="utf-8") as file:
        file.writelines(texts)


def _rows(scored: Sequence[ScoredCondition]) -> Iterator[dict[str, Any]]:
    for condition in scored:
        for name, samplings in condition.samplings.items():
            for sampling in samplings:
                for row in sampling.rows:
                    judgement = None if row.judgement is None else dataclasses.asdict(row.judgement)
                    yield {
                        "task": condition.report.task, "condition": condition.report.condition, "protocol": name,
                        "id": row.item.id, "question": row.item.question, "gold": row.item.gold, "answer": row.answer,
                        "verdict": row.verdict, "score": row.score, "reason": row.reason, "judgement": judgement,
                    }  # fmt: skip
