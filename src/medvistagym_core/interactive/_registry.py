"""The installed plugins, discovered once for a session."""

from __future__ import annotations

import functools

from medvistagym_core.plugins import Registry


@functools.cache
def installed_registry() -> Registry:
    """What the installed plugins offer; found when it is first asked for, and then kept."""
    return Registry.discover()
