"""The command line: `medvistagym GROUP COMMAND ...`.

May use every room. Only the module of the group that was asked for is imported, so that listing tools stays as light as
discovery itself.

Exit codes: 0 the work is done, 1 the work failed, 2 the command was used wrongly, 130 interrupted.
An error is one sentence on stderr; `--debug` shows the traceback before it.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from typing import Final, TextIO

from medvistagym_core.cli._console import print_stderr, print_text
from medvistagym_core.cli._errors import CommandError, UsageError, format_error, is_usage
from medvistagym_core.cli._parser import CommandParser, HelpFormatter

__all__ = ["GROUPS", "SUBCOMMANDS", "build_parser", "main", "run_program"]

GROUPS: Final[dict[str, str]] = {
    "plugins": "which plugins are installed, why one did not load, and which others exist",
    "tools": "list tools, show one in any dialect, run one on a file",
    "images": "list what image files hold, convert them, draw contact sheets",
    "ask": "ask a model about images, and see which tools it used",
    "models": "list the models that a file makes tools of, and try one beside its own pipeline",
    "prompt": "print the system prompt that a toolbox gives a policy",
    "tasks": "list tasks, show a case as a policy sees it, audit a benchmark",
    "sample": "roll out a policy on a task and write its trajectories",
    "train": "run a recipe: sampling, SFT, GRPO, evaluation",
    "eval": "measure accuracy and tool use of a policy on a task",
    "score": "score the stored answers of a run under other protocols, without running a model",
    "compare": "compare two runs question by question, with a paired test, and trainings beside each other",
    "publish": "list what of a training would be published, and whether its pictures may be",
    "export": "write a task as an environment package for OpenEnv, TRL or verifiers",
    "replay": "run every tool call of a trajectory file again, and report what differs",
    "view": "look at the episodes of a run in a browser, or write them as one page",
    "play": "try tools on images in a browser, by hand or with a model",
    "serve": "offer the toolbox to MCP clients, over stdio or HTTP",
    "workers": "keep tools in Ray workers for others, and see what they do",
    "doctor": "check the installation, the GPU, the plugins and a model, and say what to do",
    "completion": "print what lets a shell complete commands, flags and tools",
}

SUBCOMMANDS: Final[dict[str, str]] = {
    "eval compare": "compare two evaluations question by question, and look at the questions that flipped",
}
"""Commands of two words beside the groups, which are commands themselves."""

_NEGATIVE: Final = re.compile(r"-\.?\d[\d.,;eE+\s-]*(°|deg(rees?)?)?|-(inf|infinity|nan)", re.IGNORECASE)


def build_parser(group: str) -> argparse.ArgumentParser:
    """Return the full parser of one command group.

    Args:
        group: A key of `GROUPS` or `SUBCOMMANDS`.
    """
    parser = CommandParser(
        prog=f"medvistagym {group}",
        description=_as_sentence({**GROUPS, **SUBCOMMANDS}[group]),
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    importlib.import_module(f"medvistagym_core.cli._{group.replace(' ', '_')}").configure(parser)
    return parser


def run_program() -> None:
    """The program `medvistagym`: end with the exit code of `main`, whatever threads a plugin has left running."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # where the terminal's encoding lacks a letter, its escape is shown
            stream.reconfigure(errors="backslashreplace")
    from medvistagym_core.plugins import tolerate_broken_metadata

    tolerate_broken_metadata()
    warnings.showwarning = _show_warning
    code = main()
    left = [
        thread.name for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()
    ]
    if left:  # the interpreter would wait for them, and a plugin's thread may never end
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
    sys.exit(code)


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int,
    file: TextIO | None = None, line: str | None = None,
) -> None:  # fmt: skip
    from medvistagym_core.plugins import PluginWarning

    origin = "" if issubclass(category, PluginWarning) else f"{category.__name__} at {filename}:{lineno}: "
    print_stderr(f"medvistagym: {origin}{message}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: The arguments after the program's name; None reads `sys.argv`.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    try:
        return _run(arguments)
    except SystemExit as stop:
        return _exit_code(stop)
    except KeyboardInterrupt as interrupt:
        if debug:
            print_stderr(traceback.format_exc())
        hint = getattr(interrupt, "__notes__", ["nothing was left behind; run the same command again"])[-1]
        print_stderr(f"\nmedvistagym: interrupted: {hint}")
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`| head`): keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 the one boundary where any failure becomes a sentence
        if debug:
            print_stderr(traceback.format_exc())
        code = 2 if is_usage(error) else 1
        hint = "" if debug or code == 2 or isinstance(error, CommandError) else " (--debug shows where)"
        print_stderr(f"medvistagym: {format_error(error)}{hint}")
        if isinstance(error, UsageError) and error.listing:
            print_stderr(error.listing)
        return code


def _run(arguments: list[str]) -> int:
    if arguments and arguments[0] == "help":
        arguments = [*arguments[1:], "--help"]
    if not arguments or arguments[0] in ("-h", "--help"):
        print_text(_overview())
        return 0 if arguments else 2
    if arguments[0] in ("version", "--version"):
        from medvistagym_core.tools import core_version

        print_text(f"medvistagym {core_version()}")
        return 0
    group, *rest = arguments
    if rest and f"{group} {rest[0]}" in SUBCOMMANDS:
        group, rest = f"{group} {rest[0]}", rest[1:]
    if group not in GROUPS and group not in SUBCOMMANDS:
        from difflib import get_close_matches

        nearest = get_close_matches(group, [*GROUPS, "--help", "--version"], n=1)
        meant = f"; did you mean {nearest[0]!r}?" if nearest else "."
        raise UsageError(f"there is no command {group!r}{meant} The commands are {', '.join(GROUPS)}.")
    options = build_parser(group).parse_args(_join_negative_values(rest))
    options.command_line = rest  # as they were written, for a command that starts itself again
    code: int = options.execute(options)
    sys.stdout.flush()
    return code


def _join_negative_values(arguments: Sequence[str]) -> list[str]:
    """The arguments with every negative value joined to its option, `--center=-3e2`: argparse takes some for options."""
    joined: list[str] = []
    for position, argument in enumerate(arguments):
        if argument == "--":
            return [*joined, *arguments[position:]]
        option = joined[-1] if joined else ""
        if _NEGATIVE.fullmatch(argument) and option.startswith("--") and "=" not in option:
            joined[-1] = f"{option}={argument}"
        else:
            joined.append(argument)
    return joined


def _overview() -> str:
    width = max(map(len, GROUPS))
    lines = [f"  {name:{width}}  {summary}" for name, summary in GROUPS.items()]
    return "\n".join(
        [
            "usage: medvistagym [--help | --version] COMMAND ...",
            "",
            "Tools, tasks and training for vision-language models that think with medical images.",
            "For research only, not for clinical use.",
            "",
            "commands:",
            *lines,
            "",
            "`medvistagym COMMAND --help` says more. Two to begin with:",
            "  medvistagym tools list",
            "  medvistagym train --quick",
        ]
    )


def _as_sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _exit_code(stop: SystemExit) -> int:
    if stop.code is None:
        return 0
    if isinstance(stop.code, int):
        return stop.code
    print_stderr(str(stop.code))
    return 1
