"""Tasks: where cases come from, and what a task may know about solving them.

A `Task` deals out `Case`s: a question, images, and an answer that stays hidden. Everything beyond that is optional and is a
capability of its own, found with `isinstance`: a scripted expert (`Scripted`), demonstrations made with knowledge of the truth
(`Demonstrated`), single-look perception items (`Perceptual`), which calls tell something (`Informed`), which tool is needed
(`Directed`), an audit (`Audited`).
A script is a generator: it yields `ToolCall`s, is sent each `ToolResult`, and returns the answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, runtime_checkable

from medvistagym_core.image import Box, Image
from medvistagym_core.tool import ToolCall, ToolResult

if TYPE_CHECKING:
    import numpy as np

Script = Generator[ToolCall, ToolResult, str]
AnswerKind = Literal["exact", "yes_no", "choice", "number", "set", "box", "text"]


@dataclasses.dataclass(frozen=True)
class Answer:
    """The right answer, and how one is compared with it.

    Attributes:
        value: The answer as text.
        kind: "exact" (normalised text), "yes_no", "choice" (one of the case's options), "number", "set" (all of several
            items, in any order, written "a; b"), "box" (`[x0, y0, x1, y1]` on the 0-1000 grid), "text" (free text).
        aliases: Other texts that are as right.
        tolerance: Largest accepted absolute difference of a number, in `unit`.
        unit: Unit of a number, such as "mm".
        threshold: Least credit, above 0 and at most 1, that is right: the overlap (IoU) of a "box", 0.5 unless given, or the
            F1 of a "text", 0.8 unless given.
    """

    value: str
    kind: AnswerKind = "exact"
    aliases: tuple[str, ...] = ()
    tolerance: float | None = None
    unit: str | None = None
    threshold: float | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """One question about images. `answer` and `truth` never reach a policy.

    Attributes:
        id: Stable name of the case; says nothing about the answer.
        task: Name of the task.
        split: "train", "validation" or "test".
        index: Position in the split.
        family: Kind of question within the task, for reports.
        question: The question as asked.
        images: What the policy is shown, as handles 0, 1, ...
        options: Answers to choose from, in the order shown; empty for an open question.
        answer: The hidden answer.
        truth: What the generator knows beyond the answer.
    """

    id: str
    task: str
    split: str
    index: int
    family: str
    question: str
    images: tuple[Image, ...]
    answer: Answer = dataclasses.field(repr=False)
    options: tuple[str, ...] = ()
    truth: Any = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True, eq=False)
class Look:
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
class Task(Protocol):
    """A source of cases. Everything is deterministic in `(split, index, seed)`."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def families(self) -> tuple[str, ...]: ...
    @property
    def splits(self) -> tuple[str, ...]: ...
    @property
    def tools(self) -> tuple[str, ...]:
        """The tools it is meant to be solved with, as a toolbox selection."""
        ...

    @property
    def abstention(self) -> str | None:
        """The answer that says "I cannot tell", worth more than a wrong one; None when there is none."""
        ...

    def case(self, split: str, index: int, seed: int = 0) -> Case: ...
    def vocabulary(self) -> tuple[str, ...]:
        """Words and numbers that a purpose-built tokenizer should hold whole."""
        ...


@runtime_checkable
class Scripted(Protocol):
    """Has an expert that reads only the pictures and what its tools return."""

    def expert(self, question: str, images: tuple[Image, ...], rng: np.random.Generator) -> Script: ...


@runtime_checkable
class Demonstrated(Protocol):
    """Can demonstrate with knowledge of the truth.

    With probability `skill` the informative call is made, else a plausible one; the answer is what a reader of the result
    could say, or the abstention.
    """

    def demonstrate(self, case: Case, rng: np.random.Generator, skill: float) -> Script: ...


@runtime_checkable
class Perceptual(Protocol):
    """Offers single looks, to warm up a policy that has never seen a picture."""

    def look(self, split: str, index: int, seed: int = 0) -> Look: ...


@runtime_checkable
class Informed(Protocol):
    """Knows which calls tell something about a case, and whether it needs any."""

    def informative(self, case: Case, call: ToolCall) -> bool: ...
    def needs_call(self, case: Case) -> bool: ...


@runtime_checkable
class Directed(Protocol):
    """Knows which tool a case needs."""

    def needed(self, case: Case) -> str | None:
        """The tool's name; empty when the case needs none, None when that cannot be said."""
        ...


def informed(task: Task, case: Case) -> Callable[[Sequence[ToolCall]], bool] | None:
    """Says of the calls that succeeded whether the policy saw what it needed; None where the task does not know."""
    if not (hasattr(task, "informative") and hasattr(task, "needs_call")):  # isinstance takes ten times as long
        return None
    knowing = cast(Informed, task)
    if not knowing.needs_call(case):
        return lambda calls: True
    return lambda calls: any(knowing.informative(case, call) for call in calls)


def needed(task: Task, case: Case) -> str | None:
    """The tool that a case needs (`Directed.needed`); None where the task does not know."""
    return cast(Directed, task).needed(case) if hasattr(task, "needed") else None


@dataclasses.dataclass(frozen=True)
class AuditRow:
    """One finding of an audit: `passed` says whether `value` keeps to `limit`."""

    name: str
    value: float
    limit: str
    passed: bool
    detail: str = ""


@runtime_checkable
class Audited(Protocol):
    """Can prove itself honest."""

    def audit(self, n: int = 400) -> tuple[AuditRow, ...]: ...
