"""What a task may know beyond its cases: experts, demonstrations, perception items, informative calls, audits.

Each capability is a `Protocol` of its own, found with `isinstance`; a task implements those it has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from medvistagym_core.imaging import Box, Image
from medvistagym_core.tools import ToolCall, ToolResult

if TYPE_CHECKING:
    import numpy as np

from medvistagym_core.environment._task import Case, Task

ToolScript = Generator[ToolCall, ToolResult, str]


@dataclasses.dataclass(frozen=True, eq=False)
class PerceptionItem:
    """A single-look perception item: what is seen in one picture, with no tool.

    Attributes:
        image: The picture, or None for a question about text alone.
        question: What is asked.
        answer: What a reader of this one picture says.
        regions: Words that are true of parts of the picture; nothing is claimed of the rest but `background`.
        background: The word for the rest.
    """

    image: Image | None
    question: str
    answer: str
    regions: tuple[tuple[Box, str], ...] = ()
    background: str = "unclear"


@runtime_checkable
class HasExpert(Protocol):
    """Has an expert that reads only the pictures and what its tools return."""

    def expert(self, question: str, images: tuple[Image, ...], rng: np.random.Generator) -> ToolScript: ...


@runtime_checkable
class HasDemonstrations(Protocol):
    """Can demonstrate with knowledge of the truth.

    With probability `skill` the informative call is made, else a plausible one; the answer is what a reader of the result
    could say, or the abstention.
    """

    def demonstrate(self, case: Case, rng: np.random.Generator, skill: float) -> ToolScript: ...


@runtime_checkable
class HasPerceptionItems(Protocol):
    """Offers single looks, to warm up a policy that has never seen a picture."""

    def look(self, split: str, index: int, seed: int = 0) -> PerceptionItem: ...


@runtime_checkable
class HasInformativeCalls(Protocol):
    """Knows which calls tell something about a case, and whether it needs any."""

    def informative(self, case: Case, call: ToolCall) -> bool: ...
    def needs_call(self, case: Case) -> bool: ...


@runtime_checkable
class HasRequiredTool(Protocol):
    """Knows which tool a case needs."""

    def needed(self, case: Case) -> str | None:
        """The tool's name; empty when the case needs none, None when that cannot be said."""
        ...


def informative_call_check(task: Task, case: Case) -> Callable[[Sequence[ToolCall]], bool] | None:
    """Says of the calls that succeeded whether the policy saw what it needed; None where the task does not know."""
    if not (hasattr(task, "informative") and hasattr(task, "needs_call")):  # isinstance takes ten times as long
        return None
    knowing = cast(HasInformativeCalls, task)
    if not knowing.needs_call(case):
        return lambda calls: True
    return lambda calls: any(knowing.informative(case, call) for call in calls)


def required_tool(task: Task, case: Case) -> str | None:
    """The tool that a case needs (`Directed.needed`); None where the task does not know."""
    return cast(HasRequiredTool, task).needed(case) if hasattr(task, "needed") else None


@dataclasses.dataclass(frozen=True)
class AuditCheck:
    """One finding of an audit: `passed` says whether `value` keeps to `limit`."""

    name: str
    value: float
    limit: str
    passed: bool
    detail: str = ""


@runtime_checkable
class HasAudit(Protocol):
    """Can prove itself honest."""

    def audit(self, n: int = 400) -> tuple[AuditCheck, ...]: ...
