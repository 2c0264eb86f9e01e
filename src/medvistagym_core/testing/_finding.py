"""The finding of a check, and how a check reports its progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from medvistagym_core.testing._rules import Status


class Finding(NamedTuple):
    """What a check found.

    Attributes:
        status: PASS, FAIL, SKIP or ERROR.
        detail: What was seen, on one line.
        remedy: In place of the policy's own; empty for that.
    """

    status: Status
    detail: str = ""
    remedy: str = ""


class Say(Protocol):
    """Tells the judging process what is about to be tried and how many seconds it may take."""

    def __call__(self, at: str, limit_s: float) -> None: ...


Check = Callable[[], Finding]
PASS = Finding("PASS")


def several(faults: list[str], max_faults: int = 2) -> Finding:
    """A failure that shows the first few faults, or a pass when there are none."""
    if not faults:
        return PASS
    more = f" (and {len(faults) - max_faults} more)" if len(faults) > max_faults else ""
    return Finding("FAIL", "; ".join(faults[:max_faults]) + more)
