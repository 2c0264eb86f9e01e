"""The version of the installed core."""

from __future__ import annotations

import functools
import importlib.metadata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    pass

CORE: Final = "medvistagym-core"
UNVERSIONED: Final = "0"
"""The version of a tool that has none of its own; discovery gives it that of its distribution."""


@functools.cache
def core_version() -> str:
    """The version of the installed core."""
    return importlib.metadata.version(CORE)
