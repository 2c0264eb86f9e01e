"""The version of the installed core."""

from __future__ import annotations

import functools
import importlib.metadata
from typing import Final

CORE: Final = "medvistagym-core"
UNVERSIONED: Final = "0"
"""The version of a tool that has none of its own; discovery gives it that of its distribution."""


@functools.cache
def core_version() -> str:
    """The version of the installed core; that of the code itself where its installation does not say."""
    try:
        version: str | None = importlib.metadata.version(CORE)
    except Exception:  # noqa: BLE001 what stands in an environment: no metadata, none that can be read
        version = None
    if version:
        return version
    from medvistagym_core import __version__

    return str(__version__)
