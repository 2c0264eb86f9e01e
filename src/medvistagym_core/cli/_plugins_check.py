"""`medvistagym plugins check`: the conformance kit on one plugin."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from medvistagym_core.cli._console import print_json, print_text
from medvistagym_core.cli._errors import UsageError
from medvistagym_core.cli._options import add_command

__all__ = ["configure_check"]

_EXAMPLE = """\
medvistagym plugins check medvistagym-invert
medvistagym plugins check ./my-tool --json
medvistagym plugins check my_tools.py --image mammogram.dcm

exit codes: 0 it conforms, 1 something blocks, 2 wrong usage, 3 something could not be checked"""


def configure_check(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command `check` to its group."""
    check = add_command(commands, "check", "check a plugin before its users do", _EXAMPLE, json=True)
    check.add_argument(
        "target", metavar="NAME|PATH", help="an installed plugin or distribution, or a plugin's folder or Python file"
    )
    check.add_argument(
        "--examples", metavar="N", type=int, default=8, help="arguments drawn for each tool and picture (default: 8)"
    )
    check.add_argument(
        "--limit", metavar="SECONDS", type=float, default=30.0,
        help="seconds that one call may take, where the tool does not declare fewer (default: 30)",
    )  # fmt: skip
    check.add_argument(
        "--image", metavar="FILE", nargs="+", action="extend", type=Path, default=[],
        help="pictures of the kind that the tools are made for, tried before the kit's own; may be given again",
    )  # fmt: skip
    check.set_defaults(execute=_check)


def _check(options: argparse.Namespace) -> int:
    from medvistagym_core.testing import SubjectError, check_plugin

    if options.examples < 1 or not options.limit > 0:
        raise UsageError("--examples is at least 1, and --limit above 0")
    try:
        report = check_plugin(options.target, examples=options.examples, limit_s=options.limit, images=options.image)
    except SubjectError as error:
        raise UsageError(str(error)) from error
    if options.json:
        print_json({**report.model_dump(mode="json"), "exit_code": report.exit_code})
    else:
        print_text(report)
    return report.exit_code
