"""The program `medvistagym-mcp`: `medvistagym serve` under the name that clients of the MCP Registry start."""

from __future__ import annotations

import sys


def run_program() -> None:
    """Serve the installed tools with the options of `medvistagym serve`."""
    from medvistagym_core.cli import run_program as run_command

    sys.argv[1:1] = ["serve"]
    run_command()
