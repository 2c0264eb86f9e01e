"""How far one run of an executor is, and which calls run together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Final

from medvistagym_core.execution._base import CallRequest
from medvistagym_core.execution._tool_profile import ToolProfile
from medvistagym_core.execution._watchdog import WATCHDOG
from medvistagym_core.imaging import Image
from medvistagym_core.tools import (
    ToolResult,
)

_RUNNING: Final = object()
INLINE_BUDGET_S: Final = (
    0.002  # what a run may spend in the calling thread before the other cores are worth their threads
)


class CallBatch:
    """Distinct calls that are run together where their tool can; the places `(job, call)` that wait for each, and those that
    ran out of memory and are run again by themselves.
    """

    __slots__ = ("arguments", "destinations", "keys", "known", "retry_alone")

    def __init__(self, known: ToolProfile) -> None:
        self.known = known
        self.arguments: list[dict[str, Any]] = []
        self.keys: list[Hashable] = []
        self.destinations: list[list[tuple[int, int]]] = []
        self.retry_alone: set[int] = set()


class RunState:
    """How far one `run` of an executor is.

    Attributes:
        jobs: What is to be run.
        rows: For each call of the jobs that were looked at, its result, `_RUNNING`, or None while it has not begun.
        settled: For each job, the number of calls before the first without a result.
        seen: Results of deterministic tools by key.
        waiting: Places that wait for the same call of a deterministic tool, by key.
        groups: Calls that are about to be handed to threads.
        inline_s: Seconds that may still be spent in the calling thread.
        here: Whether tools with a time limit may run there.
        lone: Whether there is one call only, which no kernel can take together with others.
    """

    __slots__ = ("groups", "inline_allowed", "inline_s", "jobs", "results", "seen", "settled", "single_call", "waiting")

    def __init__(self, jobs: Sequence[CallRequest], rows: list[list[Any]], inline_s: float) -> None:
        self.jobs = jobs
        self.results = rows
        self.settled = [0] * len(jobs)
        self.seen: dict[Hashable, ToolResult] = {}
        self.waiting: dict[Hashable, list[tuple[int, int]]] = {}
        self.groups: dict[Hashable, CallBatch] = {}
        self.inline_s = inline_s
        self.inline_allowed = inline_s > 0 and WATCHDOG.is_available()
        self.single_call = len(jobs) == 1 and len(jobs[0][1]) == 1

    def enqueue(
        self,
        known: ToolProfile,
        name: str,
        arguments: dict[str, Any],
        marks: Sequence[Any],
        key: Hashable,
        place: tuple[int, int],
    ) -> None:
        """Put a call into the group of those it can run with."""
        kind: Hashable = name
        if known.batched:
            shapes = [(mark.pixels.shape, mark.pixels.dtype.str) if type(mark) is Image else mark for mark in marks]
            kind = name, *shapes
        group = self.groups.get(kind)
        if group is None:
            group = self.groups[kind] = CallBatch(known)
        places = [place]
        if key is not None:
            self.waiting[key] = places
        group.arguments.append(arguments)
        group.keys.append(key)
        group.destinations.append(places)
