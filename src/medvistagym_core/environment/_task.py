"""Tasks: where cases come from, and what a task may know about solving them.

A `Task` gives out `Case`s: a question, images, and an answer that stays hidden. Everything beyond that is optional, and
each ability has a `Protocol` of its own in `_capabilities`: a scripted expert (`HasExpert`), demonstrations made from
the right answer (`HasDemonstrations`), questions about single images (`HasPerceptionItems`), which calls are
informative (`HasInformativeCalls`), which tool a case needs (`HasRequiredTool`), an audit of the task itself
(`HasAudit`). A script is a generator: it yields `ToolCall`s, is sent each `ToolResult`, and returns the answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, Protocol, runtime_checkable

from medvistagym_core.imaging import Image
from medvistagym_core.plugins import TaskReference

AnswerKind = Literal["exact", "yes_no", "choice", "number", "set", "box", "text"]


@dataclasses.dataclass(frozen=True)
class Answer:
    """The right answer, and how one is compared with it.

    Attributes:
        value: The answer as text.
        kind: How it is compared, by one of the core's graders or a plugin's: "exact" (normalised text), "yes_no", "choice"
            (one of the case's options), "number", "set" (all of several items, in any order, written "a; b"), "box"
            (`[x0, y0, x1, y1]` on the 0-1000 grid), "text" (a sentence, right when it says the same).
        aliases: Other texts that are as right.
        tolerance: Largest accepted absolute difference of a number, in `unit`.
        unit: Unit of a number, such as "mm".
        threshold: Least partial credit, above 0 and at most 1, that is right: the overlap (IoU) of a "box", 0.5 unless given,
            or the F1 of the items of a "set", 1 unless given. Nothing else has degrees of right.
    """

    value: str
    kind: AnswerKind | str = "exact"
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
        facets: Facts by which results are broken down, such as {"modality": "CT"}; no policy sees them.
        reference: How the task can be made again, where its name alone does not say.
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
    facets: Mapping[str, str] = dataclasses.field(default_factory=dict)
    reference: TaskReference | None = None


class MissingDataError(ValueError):
    """The data of a task are not on this machine; the sentence says how to get them."""


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

    def case(self, split: str, index: int, seed: int = 0) -> Case:
        """The case at a place; equal arguments make an equal case.

        Args:
            split: One of `splits`.
            index: Position in the split, from 0.
            seed: Seed of the cases, for a task that deals others with another.

        Raises:
            ValueError: There is no such case; `MissingDataError` where the data are not on this machine.
        """
        ...

    def vocabulary(self) -> tuple[str, ...]:
        """Words and numbers that a purpose-built tokenizer should hold whole."""
        ...


def deal_case(task: Task, split: str, index: int, seed: int = 0) -> Case:
    """The case that a task gives at a place, which may be a plugin's: what it gives is looked at.

    Args:
        task: The task.
        split: One of its splits.
        index: Position in the split, from 0.
        seed: Seed of the cases.

    Raises:
        ValueError: There is no such case, or what the task gives is none.
    """
    case: object = task.case(split, index, seed)
    if not isinstance(case, Case):
        raise ValueError(
            f"the task {task.name} gave {type(case).__name__} for case {index} of {split}; it must give an environment.Case"
        )
    return case
