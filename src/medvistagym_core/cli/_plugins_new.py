"""`medvistagym plugins new`: the package of a new plugin."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from medvistagym_core.cli._console import print_text
from medvistagym_core.cli._errors import UsageError
from medvistagym_core.cli._options import add_command

__all__ = ["configure_new"]


def configure_new(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command `new` to its group."""
    new = add_command(
        commands, "new", "write the package of a new plugin, ready to install", "medvistagym plugins new my-tool"
    )
    new.add_argument("name", metavar="NAME", help="the distribution's name, such as my-tool")
    new.add_argument(
        "--dir", metavar="FOLDER", type=Path, default=Path(), help="where to make its folder (default: here)"
    )
    new.set_defaults(execute=_new)


def _new(options: argparse.Namespace) -> int:
    from medvistagym_core.plugins import ScaffoldError, write_package

    try:
        folder = write_package(options.name, options.dir)
    except ScaffoldError as error:
        raise UsageError(str(error)) from error
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            print_text(file)
    print_text(f"\nNext: pip install -e '{folder}[test]' and medvistagym plugins check {options.name}")
    return 0
