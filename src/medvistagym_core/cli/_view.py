"""`medvistagym view`: the episodes of a run, in a browser."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from medvistagym_core.cli._console import print_json, print_stderr, print_text
from medvistagym_core.cli._errors import CommandError, UsageError
from medvistagym_core.cli._options import add_common, load_registry

if TYPE_CHECKING:
    from medvistagym_core.trajectories.viewer import EpisodeIndex


__all__ = ["configure"]

_EXAMPLE = """\
medvistagym view runs/first
medvistagym view runs/first --export first.html --outcome wrong"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_common(parser, _EXAMPLE, json=True)
    parser.add_argument("run_path", metavar="RUN", type=Path, help="run folder, or a trajectory file")
    parser.add_argument(
        "--port", metavar="N", type=int, default=0, help="port on 127.0.0.1 (default: any that is free)"
    )
    parser.add_argument("--open", action="store_true", help="open it in the browser of this machine")
    export = parser.add_argument_group("one file, without a server")
    export.add_argument("--export", metavar="FILE.html", type=Path, help="write one self-contained page and stop")
    export.add_argument(
        "--episodes", metavar="N", type=int, default=200, help="episodes in it, drawn evenly (default: 200)"
    )
    export.add_argument("--seed", metavar="N", type=int, default=0, help="seed of the drawing (default: 0)")
    export.add_argument("--task", metavar="NAME", help="only episodes of this task")
    export.add_argument("--family", metavar="NAME", help="only episodes of this family")
    export.add_argument("--outcome", choices=["right", "wrong", "abstained", "no answer"], help="only these")
    export.add_argument("--tool", metavar="NAME", help="only episodes that called this tool")
    export.add_argument("--error", metavar="CODE", help="only episodes with this error, such as bad_arguments")
    parser.set_defaults(execute=_view)


def _view(options: argparse.Namespace) -> int:
    from medvistagym_core.trajectories.viewer import EpisodeIndex

    if not 0 <= options.port < 65536:
        raise UsageError(f"--port is a number from 0 to 65535, not {options.port}")
    if options.episodes < 1:
        raise UsageError(f"--episodes must be at least 1, not {options.episodes}")
    try:
        run = EpisodeIndex(options.run_path)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return _serve(run, options) if options.export is None else _export(run, options)


def _export(run: EpisodeIndex, options: argparse.Namespace) -> int:
    from medvistagym_core.trajectories.viewer import EpisodeFilter, export, parse_episode_filter

    file: Path = options.export
    if file.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{file}: the page's name ends in .html")
    if not file.parent.is_dir():
        raise UsageError(f"{file}: the folder {file.parent} does not exist")
    run.poll()
    for problem in run.problems:
        print_stderr(f"medvistagym: left out: {problem}")
    names = ("episodes", "seed", "task", "family", "outcome", "tool", "error")
    numbers = parse_episode_filter(run, EpisodeFilter(**{name: getattr(options, name) for name in names}))
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

    try:
        served = ViewerServer(run, options.port, FullResolutionReplayer(lambda: load_registry(options)).png)
    except OSError as error:
        what = error.strerror or error
        raise CommandError(
            f"port {options.port} cannot be had ({what}); without --port any that is free is taken"
        ) from error
    with served as page:
        if options.json:
            print_json({"url": page.url})
        else:
            print_text(page.url)
        sys.stdout.flush()
        print_stderr("Ctrl-C stops it. Whoever has this address on this machine can see the run.")
        if options.open:
            import webbrowser

            webbrowser.open(page.url)
        try:
            page.wait()
        except KeyboardInterrupt:
            print_stderr("")
    return 0
