"""An installed distribution whose metadata can be read whatever is broken in it: what `_tolerant_metadata` finds."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator
from typing import Any

from medvistagym_core.plugins._installed import parse_entry_points


class TolerantDistribution(importlib.metadata.PathDistribution):
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


def tolerant(
    found: Iterable[importlib.metadata.PathDistribution],
) -> Iterator[importlib.metadata.PathDistribution]:
    """The same distributions, tolerant, without those that an installer was interrupted in removing."""
    for distribution in found:
        path = getattr(distribution, "_path", None)
        if path is None:
            yield distribution
        elif not str(getattr(path, "name", "")).startswith("~"):
            yield TolerantDistribution(path)


def _without_malformed_lines(text: str) -> str:
    lines = []
    group = None
    for entry in parse_entry_points(text):
        if entry.valid and entry.group:
            lines += [f"[{entry.group}]"] if entry.group != group else []
            lines.append(f"{entry.name} = {entry.value}")
            group = entry.group
    return "\n".join(lines)
