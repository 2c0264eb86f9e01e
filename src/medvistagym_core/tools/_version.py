"""The version of the installed core."""

from __future__ import annotations

import functools
import importlib.metadata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    pass

CORE: Final = "medvistagym-core"


@functools.cache
def core_version() -> str:
    """The version of the installed core."""
    return importlib.metadata.version(CORE)
