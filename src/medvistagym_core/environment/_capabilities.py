"""Optional abilities of tasks: experts, demonstrations, perception items, informative calls, a size, audits.

Each capability is a `Protocol` of its own, found with `isinstance`; a task implements those it has.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from medvistagym_core.imaging import Box, Image
from medvistagym_core.tools import ToolCall, ToolResult

if TYPE_CHECKING:
    import numpy as np
    from pydantic import BaseModel

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

    def expert(self, question: str, images: tuple[Image, ...], rng: np.random.Generator) -> ToolScript:
        """A script that plays a case: it yields calls, is sent their results, and returns the answer.

        Args:
            question: The question of a case.
            images: The images that the case shows.
            rng: Source of what the expert draws.
        """
        ...


@runtime_checkable
class HasDemonstrations(Protocol):
    """Can demonstrate with knowledge of the truth.

    With probability `skill` the informative call is made, else a plausible one; the answer is what a reader of the result
    could say, or the abstention.
    """

    def demonstrate(self, case: Case, rng: np.random.Generator, skill: float) -> ToolScript:
        """A script that plays a case: it yields calls, is sent their results, and returns the answer.

        Args:
            case: A case of the task, with its truth.
            rng: Source of what the script draws.
            skill: Probability of the informative call, 0 to 1.
        """
        ...


@runtime_checkable
class HasPerceptionItems(Protocol):
    """Offers single looks, to warm up a policy that has never seen a picture."""

    def look(self, split: str, index: int, seed: int = 0) -> PerceptionItem:
        """The perception item at a place.

        Args:
            split: Split of the task's cases that the item's picture is from.
            index: Position among the items, from 0; there is no end.
            seed: Seed of the items.
        """
        ...


@runtime_checkable
class HasArgumentQuestions(Protocol):
    """Has perception items whose answers are arguments of a tool, so that a sampler which explores can aim at what it sees."""

    def argument_questions(self, tool: str) -> tuple[str, ...]:
        """Questions about a picture alone that are answered by a box, or by arguments as a JSON object; empty where there is
        none for the tool. They say nothing of what the tool is good for.
        """
        ...


@runtime_checkable
class HasInformativeCalls(Protocol):
    """Knows which calls tell something about a case, and whether it needs any."""

    def informative(self, case: Case, call: ToolCall) -> bool:
        """Whether the result of a call tells the answer.

        Args:
            case: A case of the task, with its truth.
            call: A call that succeeded.
        """
        ...

    def needs_call(self, case: Case) -> bool: ...


@runtime_checkable
class HasRequiredTool(Protocol):
    """Knows which tool a case needs."""

    def needed(self, case: Case) -> str | None:
        """The tool's name; empty when the case needs none, None when that cannot be said."""
        ...


def informative_call_check(task: Task, case: Case) -> Callable[[Sequence[ToolCall]], bool] | None:
    """Says of the calls that succeeded whether the policy saw what it needed; None where the task does not know.

    Args:
        task: The task of the case.
        case: The case, with its truth.
    """
    if not (hasattr(task, "informative") and hasattr(task, "needs_call")):  # isinstance takes ten times as long
        return None
    judge = cast(HasInformativeCalls, task)
    if not judge.needs_call(case):
        return lambda calls: True
    return lambda calls: any(judge.informative(case, call) for call in calls)


def count_cases(task: Task, split: str) -> int | None:
    """How many cases a split of a task has; None for a task that has no last one.

    Args:
        task: The task.
        split: One of its splits.

    Raises:
        ValueError: There is no such split, or what the task gives is no number of cases.
    """
    if not isinstance(task, HasSize):
        return None
    size: object = task.size(split)
    try:
        count = operator.index(size)  # type: ignore[arg-type]
    except TypeError:
        count = -1
    if count < 0:
        raise ValueError(
            f"the task {task.name} gave {size!r:.60} for the size of {split}; it must give a number of cases"
        )
    return count


def required_tool(task: Task, case: Case) -> str | None:
    """The tool that a case needs (`HasRequiredTool.needed`); None where the task does not know.

    Args:
        task: The task of the case.
        case: The case, with its truth.
    """
    return cast(HasRequiredTool, task).needed(case) if hasattr(task, "needed") else None


@dataclasses.dataclass(frozen=True)
class AuditCheck:
    """One finding of an audit.

    Attributes:
        name: What was measured.
        value: What was found, in the unit that `limit` says.
        limit: What the value has to keep to, as a reader writes it.
        passed: Whether it does.
        detail: More about it, for a reader.
    """

    name: str
    value: float
    limit: str
    passed: bool
    detail: str = ""


@runtime_checkable
class HasAudit(Protocol):
    """Can prove itself honest."""

    def audit(self, n: int = 400) -> tuple[AuditCheck, ...]: ...


@runtime_checkable
class HasSize(Protocol):
    """Has a last case in each split."""

    def size(self, split: str) -> int:
        """How many cases a split has: its indices are 0 to one less.

        Raises:
            ValueError: There is no such split.
        """
        ...


@runtime_checkable
class HasArguments(Protocol):
    """Can be told things, such as where its files are."""

    @property
    def arguments(self) -> BaseModel:
        """What it was told, by a model that describes each argument."""
        ...

    def with_arguments(self, arguments: Mapping[str, Any]) -> Task:
        """The same task with other arguments; those that are not named stay.

        Raises:
            ValueError: There is no such argument, or its value cannot be had.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Where the cases of a split are from.

    Attributes:
        label: The file or folder.
        questions: How many there are.
        checksum: SHA-256 of the questions and answers in their order.
        licence: Their licence; empty where it is not known.
        citation: How their authors want them cited.
        homepage: Where they are published.
        revision: The revision that was found; empty where it is not known.
        notes: What is not as published, and what was left out, a sentence each.
    """

    label: str
    questions: int
    checksum: str
    licence: str = ""
    citation: str = ""
    homepage: str = ""
    revision: str = ""
    notes: tuple[str, ...] = ()


@runtime_checkable
class HasProvenance(Protocol):
    """Can say where its cases are from."""

    def provenance(self, split: str) -> Provenance: ...
