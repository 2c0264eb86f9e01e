"""The command-line reference, made of every command's own `--help`.

`python -m medvistagym_core.cli._reference docs/cli.md` writes it; a test fails when the file has drifted.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from medvistagym_core.cli import GROUPS, SUBCOMMANDS, build_parser

__all__ = ["reference"]

_HEAD: Final = """\
# The command line

Made of every command's `--help` by `make docs`; do not edit it by hand.

Exit codes: 0 the work is done, 1 the work failed, 2 the command was used wrongly, 130 interrupted. An error is one sentence
on stderr; `--debug` shows the traceback. Progress is shown on stderr, and only where that is a terminal. `--json` prints what
a program may read on stdout, and nothing else.
"""


def reference() -> str:
    """Return the reference as Markdown."""
    with _fixed_width():
        parts = [_HEAD]
        every = {**GROUPS, **SUBCOMMANDS}
        for group in sorted(every, key=lambda name: list(GROUPS).index(name.split()[0])):
            parser = build_parser(group)
            commands = _commands(parser)
            parts.append(f"## {parser.prog}\n\n{every[group][0].upper()}{every[group][1:]}.\n")
            if not commands:
                parts.append(_help(parser))
            for command in commands:
                parts.append(f"### {command.prog}\n")
                parts.append(_help(command))
    return "\n".join(parts)


def _help(parser: argparse.ArgumentParser) -> str:
    return f"```text\n{parser.format_help().rstrip()}\n```\n"


def _commands(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001
    return [command for action in actions for command in action.choices.values()]


@contextmanager
def _fixed_width() -> Iterator[None]:
    """Argparse wraps at the width of the terminal, which it reads from a variable first."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


if __name__ == "__main__":
    import sys

    Path(sys.argv[1]).write_text(reference(), "utf-8")
