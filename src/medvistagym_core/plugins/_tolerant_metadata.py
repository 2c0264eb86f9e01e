"""Metadata of installed distributions, read so that a broken one does not end the libraries that read them all.

pydantic, gymnasium, torch and transformers each go through the entry points or the names of *every* installed distribution by
the standard library's reader, which raises at the first malformed line or byte that is not UTF-8. `tolerate_broken_metadata`
puts a finder of distributions in the place of Python's own, by the protocol that `importlib.metadata` has for that: lines that
are no entry points are left out, and what is not UTF-8 is read as Latin-1. Modules are found as before.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from medvistagym_core.plugins._installed import parse_entry_points


class _TolerantDistribution(importlib.metadata.PathDistribution):
    """A distribution in a folder or an archive."""

    def read_text(self, filename: Any) -> str | None:
        """The text of one of its files; None where there is none that can be read."""
        try:
            text = super().read_text(filename)
        except UnicodeDecodeError as error:
            text = error.object.decode("latin-1")
        except OSError:
            return None
        return _without_malformed_lines(text) if text and filename == "entry_points.txt" else text


class _TolerantPathFinder(importlib.machinery.PathFinder):
    """Finds modules as Python does, and distributions that never raise for what they hold."""

    @classmethod
    def find_distributions(
        cls, context: importlib.metadata.DistributionFinder.Context | None = None
    ) -> Iterable[importlib.metadata.PathDistribution]:
        """The distributions on the path, without those that an installer was interrupted in removing."""
        return _tolerant(super().find_distributions(context or importlib.metadata.DistributionFinder.Context()))


def _tolerant(
    found: Iterable[importlib.metadata.PathDistribution],
) -> Iterator[importlib.metadata.PathDistribution]:
    for distribution in found:
        path = getattr(distribution, "_path", None)
        if path is None:
            yield distribution
        elif not str(getattr(path, "name", "")).startswith("~"):
            yield _TolerantDistribution(path)


def _without_malformed_lines(text: str) -> str:
    lines = []
    group = None
    for entry in parse_entry_points(text):
        if entry.valid and entry.group:
            lines += [f"[{entry.group}]"] if entry.group != group else []
            lines.append(f"{entry.name} = {entry.value}")
            group = entry.group
    return "\n".join(lines)


def tolerate_broken_metadata() -> None:
    """Let this process read the metadata of its environment whatever is broken in it; for a program's first line."""
    for position, finder in enumerate(sys.meta_path):
        if finder is importlib.machinery.PathFinder:
            sys.meta_path[position] = _TolerantPathFinder
