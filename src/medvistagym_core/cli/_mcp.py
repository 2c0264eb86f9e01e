"""Access of the command line to `medvistagym-mcp`; where it is not installed, an error says how to install it."""

from __future__ import annotations

import importlib
from typing import Any, Literal

from medvistagym_core.cli._errors import UsageError

__all__ = ["import_mcp"]


def import_mcp(room: Literal["server"]) -> Any:
    """The package's side that offers tools.

    Raises:
        UsageError: It is not installed, or not all of what it needs.
    """
    from medvistagym_core.plugins import MCP_MISSING

    try:
        return importlib.import_module(f"medvistagym_mcp.{room}")
    except ModuleNotFoundError as error:
        raise UsageError(MCP_MISSING) from error
