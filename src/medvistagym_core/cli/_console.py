"""What commands print: text, tables and JSON on stdout, progress on stderr.

Everything goes through `printable`: a tool's text, a file's name or a server's words may hold control sequences, which a
terminal would obey (move the cursor, change its title, hide what was printed before) and which are shown instead.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal

__all__ = [
    "Color",
    "ProgressBar",
    "colored",
    "elapsed_time",
    "print_json",
    "print_status",
    "print_stderr",
    "print_table",
    "print_text",
    "printable",
]

Color = Literal["red", "green", "yellow"]
_BAR: Final = 24
_PROGRESS_DELAY_S: Final = 2.0
_COLORS: Final = {"red": 31, "green": 32, "yellow": 33}
# C0 but for tab and line feed, DEL, C1, the bidirectional controls (which reorder what is read), and lone surrogates.
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT: Final = {"\r": "\\r", "\b": "\\b", "\x1b": "\\x1b"}


def printable(text: str) -> str:
    r"""The text with characters that control a terminal written as escapes, such as `\x1b`."""
    return _CONTROL.sub(_escape, text.replace("\r\n", "\n"))


def _escape(control: re.Match[str]) -> str:
    code = ord(control[0])
    return _SHORT.get(control[0]) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def colored(text: str, color: Color) -> str:
    """The text in a colour, where stdout is a terminal that takes one and `NO_COLOR` is not set (no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stdout.isatty():
        return text
    return f"\x1b[{_COLORS[color]}m{text}\x1b[0m"


def print_status(state: str, color: Color, text: str) -> None:
    """Print a word of state in a colour, and what it is the state of."""
    print(f"{colored(f'{printable(state):5}', color)}  {printable(text)}")


def print_text(text: object = "") -> None:
    """Print text, a line, on stdout."""
    print(printable(str(text)))


def print_json(value: Any) -> None:
    """Print a value of plain types as JSON, indented; NaN and infinities, which JSON cannot hold, become null."""
    from pydantic_core import to_json

    text = to_json(value, indent=2, inf_nan_mode="null").decode("utf-8", "replace")
    print(_CONTROL.sub(lambda control: f"\\u{ord(control[0]):04x}", text))


def print_table(rows: Iterable[Sequence[str]], header: Sequence[str] = ()) -> None:
    """Print rows in columns as wide as their widest cell; the last column is left as it is."""
    table = [[_one_line(cell) for cell in row] for row in ([header, *rows] if header else rows)]
    if not table:
        return
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        print_text("  ".join([*cells, row[-1]]).rstrip())


def _one_line(text: str) -> str:
    return printable(text).replace("\n", "\\n")


def print_stderr(text: object) -> None:
    """Print one line for the person at the terminal, apart from the output proper."""
    print(printable(str(text)), file=sys.stderr)


class ProgressBar:
    """A bar on stderr that fills, where stderr is a terminal, and nothing where it is not."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._is_terminal = sys.stderr.isatty()
        self._last = -1.0
        self._first: tuple[int, float] | None = None  # what an earlier run did says nothing of this one's pace

    def show(self, done: int, total: int, more: str = "") -> None:
        """Count; a call that follows the last by less than a fifth of a second is not shown."""
        now = time.monotonic()
        if not self._is_terminal or (now - self._last < 0.2 and done < total):
            return
        self._last = now
        self._first = self._first or (done, now)
        since, began = self._first
        pace = (now - began) / (done - since) if done > since else 0.0
        left = f", {_rate(pace)}, {_duration(pace * (total - done))} left" if pace else ""
        full = _BAR * done // max(total, 1)
        line = f"[{'#' * full}{'.' * (_BAR - full)}] {done}/{total} {self._what}{_one_line(more)}{left}"
        # A line that wraps could not be written over.
        print(f"\r{line[: shutil.get_terminal_size().columns - 1]}\x1b[K", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Clear the line."""
        if self._is_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def elapsed_time(what: str) -> Iterator[None]:
    """Tell on stderr what is being done and for how long, once it takes more than two seconds; only where that is a terminal.

    Args:
        what: What is done, such as "reading study".
    """
    if not sys.stderr.isatty():
        yield
        return
    began, ended = time.monotonic(), threading.Event()

    def tell() -> None:
        left = _PROGRESS_DELAY_S
        while not ended.wait(left):
            left = 1.0
            line = f"{_one_line(what)}: {_duration(time.monotonic() - began)}"
            print(f"\r{line[: shutil.get_terminal_size().columns - 1]}\x1b[K", end="", file=sys.stderr, flush=True)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()
        if time.monotonic() - began > _PROGRESS_DELAY_S:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _rate(seconds: float) -> str:
    """How many are done in a second, or in a minute where that is less than one."""
    return f"{1 / seconds:.3g}/s" if seconds <= 1 else f"{60 / seconds:.3g}/min"


def _duration(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s" if minutes else f"{left} s"
