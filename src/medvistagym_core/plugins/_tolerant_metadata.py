"""Metadata of installed distributions, read so that a broken one does not end the libraries that read them all.

pydantic, gymnasium, torch and transformers each go through the entry points or the names of *every* installed distribution by
the standard library's reader, which raises at the first malformed line or byte that is not UTF-8. `tolerate_broken_metadata`
puts a finder of distributions in the place of Python's own, by the protocol that `importlib.metadata` has for that: lines that
are no entry points are left out, and what is not UTF-8 is read as Latin-1. Modules are found as before.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import importlib.metadata


class _TolerantPathFinder(importlib.machinery.PathFinder):
    """Finds modules as Python does, and distributions that never raise for what they hold."""

    @classmethod
    def find_distributions(
        cls, context: importlib.metadata.DistributionFinder.Context | None = None
    ) -> Iterable[importlib.metadata.PathDistribution]:
        """The distributions on the path, without those that an installer was interrupted in removing."""
        import importlib.metadata  # only here: a command that reads no metadata need not import it

        from medvistagym_core.plugins._tolerant_distribution import tolerant

        return tolerant(super().find_distributions(context or importlib.metadata.DistributionFinder.Context()))


def tolerate_broken_metadata() -> None:
    """Let this process read the metadata of its environment whatever is broken in it; for a program's first line."""
    for position, finder in enumerate(sys.meta_path):
        if finder is importlib.machinery.PathFinder:
            sys.meta_path[position] = _TolerantPathFinder
