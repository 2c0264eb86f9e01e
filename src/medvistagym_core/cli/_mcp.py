"""What the command line has of the Model Context Protocol: the way to `medvistagym-mcp`, if it is installed."""

from __future__ import annotations

import importlib
from typing import Any, Final, Literal

from medvistagym_core.cli._errors import UsageError

__all__ = ["MISSING", "import_mcp"]

MISSING: Final = (
    "this needs medvistagym-mcp, which is not installed: pip install 'medvistagym-core[mcp]', "
    "or from a clone: pip install ./plugins/medvistagym-mcp"
)


def import_mcp(room: Literal["server", "client"]) -> Any:
    """The package's side that offers tools, or the one that uses those of others.

    Raises:
        UsageError: It is not installed, or not all of what it needs.
    """
    try:
        return importlib.import_module(f"medvistagym_mcp.{room}")
    except ModuleNotFoundError as error:
        raise UsageError(MISSING) from error
