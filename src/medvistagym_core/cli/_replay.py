"""`medvistagym replay`: whether trajectories still come out as they were recorded."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medvistagym_core.cli._console import ProgressBar, print_json, print_stderr, print_text
from medvistagym_core.cli._errors import CommandError, UsageError
from medvistagym_core.cli._options import add_common, add_execution, add_tools_from, load_registry, make_executor

if TYPE_CHECKING:
    from medvistagym_core.rollouts import ReplayedEpisode, ReplayReport


__all__ = ["configure"]

MAX_PRINTED: Final = 20
_EXAMPLE = """\
medvistagym replay runs/first/trajectories/grpo-greedy.jsonl
medvistagym replay runs/first/trajectories/grpo-greedy.jsonl --force --json"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_common(parser, _EXAMPLE, json=True)
    parser.add_argument("file", metavar="FILE", type=Path, help="trajectory file; its lock and pictures lie beside it")
    parser.add_argument(
        "--force", action="store_true", help="replay even when the installed tools are not those of the file"
    )
    add_tools_from(parser)
    add_execution(parser)
    parser.set_defaults(execute=_replay)


def _replay(options: argparse.Namespace) -> int:
    from medvistagym_core.execution import LocalExecutor
    from medvistagym_core.rollouts import verify

    file: Path = options.file
    if file.is_dir():
        raise UsageError(f"{file} is a folder; name one trajectory file in it, which ends in .jsonl")
    if not file.is_file():
        raise UsageError(f"{file}: there is no such file")
    if not file.with_suffix(".lock.json").is_file():
        raise UsageError(
            f"{file}: the lock {file.with_suffix('.lock.json').name} is not beside it; is it a trajectory file?"
        )
    with file.open("rb") as lines:
        total = sum(1 for _ in lines)

    counter = ProgressBar("episodes")

    def with_progress(episodes: Iterator[ReplayedEpisode]) -> Iterator[ReplayedEpisode]:
        for done, episode in enumerate(episodes, 1):
            yield episode
            counter.show(done, total)

    registry = load_registry(options)
    # Here every call is made again: none is answered by one before it.
    make = (
        partial(LocalExecutor, cache_bytes=0)
        if options.executor == "local"
        else partial(make_executor, registry, options.executor)
    )
    try:
        report = verify(file, registry, make, force=options.force, seen=with_progress)
    except ValueError as error:
        if type(error) is not ValueError:
            raise
        raise CommandError(str(error)) from error
    finally:
        counter.close()
    if options.json:
        print_json(report.model_dump(mode="json"))
    else:
        _tell(report)
    return 0 if report.same else 1


def _tell(report: ReplayReport) -> None:
    for sentence in report.lock:
        print_text(f"tools: {sentence}")
    if not report.replayed:
        print_stderr("medvistagym: the tools are not those that the file was made with; --force replays all the same")
        return
    for difference in report.differences[:MAX_PRINTED]:
        print_text(difference)
    if len(report.differences) > MAX_PRINTED:
        print_text(f"... and {len(report.differences) - MAX_PRINTED} more (--json shows all)")
    verdict = "the same" if not report.differences else f"{len(report.differences)} differences"
    print_text(
        f"{report.file}: {report.episodes} episodes, {report.calls} calls: {report.exact} compared bit for bit, "
        f"{report.loose} of tools that may vary, {report.skipped} not made again: {verdict}"
    )
