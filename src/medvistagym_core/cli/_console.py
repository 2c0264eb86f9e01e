"""What commands print: text, tables and JSON on stdout, progress on stderr.

What is printed may repeat the words of a tool, a file's name, a server or a policy. A terminal would obey control sequences in
it (clear the screen, hide a line, change the title), so they are shown as escapes.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

__all__ = ["ProgressBar", "escape_terminal_controls", "print_json", "print_stderr", "print_table", "print_text"]

_BAR: Final = 24
# C0 but tab and line feed, DEL, C1, and what reorders text (Unicode TR 36, bidirectional text spoofing)
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def escape_terminal_controls(text: str) -> str:
    r"""The text with every character that a terminal obeys written as an escape, which JSON reads as that character.

    >>> print(escape_terminal_controls("a\x1b[2Jb"))
    a\u001b[2Jb
    """
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def print_text(text: object = "") -> None:
    """Print text on stdout."""
    print(escape_terminal_controls(str(text)))


def print_json(value: Any) -> None:
    """Print a value of plain types as JSON, indented; NaN and infinities, which JSON cannot hold, become null."""
    from pydantic_core import to_json

    print_text(to_json(value, indent=2, inf_nan_mode="null").decode())


def print_table(rows: Iterable[Sequence[str]], header: Sequence[str] = ()) -> None:
    """Print rows in columns as wide as their widest cell; the last column is left as it is."""
    table = [list(header), *map(list, rows)] if header else [list(row) for row in rows]
    if not table:
        return
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        print_text("  ".join([*cells, row[-1]]).rstrip())


def print_stderr(text: object) -> None:
    """Print one line for the person at the terminal, apart from the output proper."""
    print(escape_terminal_controls(str(text)), file=sys.stderr)


class ProgressBar:
    """A bar on stderr that fills, where stderr is a terminal, and nothing where it is not."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown = sys.stderr.isatty()
        self._last = -1.0
        self._first: tuple[int, float] | None = None  # what an earlier run did says nothing of this one's pace

    def show(self, done: int, total: int, more: str = "") -> None:
        """Count; a call that follows the last by less than a fifth of a second is not shown."""
        now = time.monotonic()
        if not self._shown or (now - self._last < 0.2 and done < total):
            return
        self._last = now
        self._first = self._first or (done, now)
        since, began = self._first
        left = f", {_duration((now - began) / (done - since) * (total - done))} left" if done > since else ""
        full = _BAR * done // max(total, 1)
        line = f"[{'#' * full}{'.' * (_BAR - full)}] {done}/{total} {self._what}{more}{left}"
        line = escape_terminal_controls(line.replace("\n", " "))
        # A line that wraps could not be written over.
        print(f"\r{line[: shutil.get_terminal_size().columns - 1]}\x1b[K", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Clear the line."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s" if minutes else f"{left} s"
