"""`medvistagym view`: the episodes of a run, in a browser."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from medvistagym_core.cli._console import print_json, print_stderr, print_text
from medvistagym_core.cli._errors import CommandError, UsageError
from medvistagym_core.cli._options import add_common, load_registry
from medvistagym_core.cli._page import add_page_options, check_port, serve_page

if TYPE_CHECKING:
    from medvistagym_core.trajectories.viewer import EpisodeIndex


__all__ = ["configure"]

_EXAMPLE = """\
medvistagym view runs/first
medvistagym view runs/first --export first.html --outcome wrong"""
_CHOICE: Final = ("episodes", "seed", "task", "family", "outcome", "tool", "error")
"""Options that choose the episodes of an exported page."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_common(parser, _EXAMPLE, json=True)
    parser.add_argument("run_path", metavar="RUN", type=Path, help="run folder, or a trajectory file")
    add_page_options(parser)
    export = parser.add_argument_group("one file, without a server")
    export.add_argument("--export", metavar="FILE.html", type=Path, help="write one self-contained page and stop")
    export.add_argument("--episodes", metavar="N", type=int, help="episodes in it, drawn evenly (default: 200)")
    export.add_argument("--seed", metavar="N", type=int, help="seed of the drawing (default: 0)")
    export.add_argument("--task", metavar="NAME", help="only episodes of this task")
    export.add_argument("--family", metavar="NAME", help="only episodes of this family")
    export.add_argument(
        "--outcome", choices=["right", "wrong", "abstained", "no answer", "answered"], help="only these"
    )
    export.add_argument("--tool", metavar="NAME", help="only episodes that called this tool")
    export.add_argument("--error", metavar="CODE", help="only episodes with this error, such as bad_arguments")
    parser.set_defaults(execute=_view)


def _view(options: argparse.Namespace) -> int:
    from medvistagym_core.trajectories.viewer import EpisodeIndex

    check_port(options)
    given = [name for name in _CHOICE if getattr(options, name) is not None]
    if given and options.export is None:
        raise UsageError(
            f"--{given[0]} chooses episodes for --export FILE.html; a page that is served has filters itself"
        )
    if options.episodes is not None and options.episodes < 1:
        raise UsageError(f"--episodes must be at least 1, not {options.episodes}")
    _check_file(options.run_path)
    try:
        run = EpisodeIndex(options.run_path)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return _serve(run, options) if options.export is None else _export(run, options)


def _check_file(path: Path) -> None:
    """Refuse a file of something else; where a lock lies beside it, its own lines may be damaged."""
    from medvistagym_core.trajectories import parse_line, read_line

    if not path.is_file() or path.with_suffix(".lock.json").is_file():
        return
    with path.open("rb") as file:
        if file.read(1) not in (b"", b"{"):
            raise UsageError(
                f"{path} is no trajectory file: its lines do not begin with {{; `medvistagym play` shows images"
            )
        file.seek(0)
        line, _ = read_line(file)
    try:
        if line:
            parse_line(line)
    except ValueError as error:
        raise UsageError(f"{path} is no trajectory file ({error}); name one, or the folder of its run") from error


def _export(run: EpisodeIndex, options: argparse.Namespace) -> int:
    from medvistagym_core.trajectories.viewer import EpisodeFilter, export, missing_name, parse_episode_filter

    file: Path = options.export
    if file.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{file}: the page's name ends in .html")
    if not file.parent.is_dir():
        raise UsageError(f"{file}: the folder {file.parent} does not exist")
    run.poll()
    for problem in (*run.problems, *run.charts()["problems"]):
        print_stderr(f"medvistagym: left out: {problem}")
    given = {name: value for name in _CHOICE if (value := getattr(options, name)) is not None}
    choice = EpisodeFilter(**given)
    if missing := missing_name(run, choice):
        raise UsageError(missing)
    numbers = parse_episode_filter(run, choice)
    if run.rows and not numbers:
        asked = " and ".join(f"--{name} {value}" for name, value in given.items())
        raise UsageError(f"no episode is left by {asked}; nothing was written")
    try:
        size = export(run, file, numbers)
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror or error}; nothing was left behind") from error
    if options.json:
        print_json({"file": str(file), "episodes": len(numbers), "of": len(run.rows), "bytes": size})
    else:
        print_text(f"{len(numbers)} of {len(run.rows)} episodes, {size / 1e6:.1f} MB: {file}")
    return 0


def _serve(run: EpisodeIndex, options: argparse.Namespace) -> int:
    from medvistagym_core.rollouts import FullResolutionReplayer
    from medvistagym_core.trajectories.viewer import ViewerServer

    full_resolution = FullResolutionReplayer(lambda: load_registry(options)).png
    serve_page(
        lambda: ViewerServer(run, options.port, full_resolution),
        options,
        "Whoever has this address on this machine can see the run.",
    )
    return 0
