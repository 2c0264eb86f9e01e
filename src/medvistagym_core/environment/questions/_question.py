"""A question of a table, read and checked: everything of a case but its pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from medvistagym_core.environment._task import Answer


@dataclasses.dataclass(frozen=True, slots=True)
class PictureFile:
    """A picture in a file.

    Attributes:
        path: Its path within the picture folder; a folder is one series.
    """

    path: str


@dataclasses.dataclass(frozen=True, slots=True)
class PictureCell:
    """Pictures inside a cell of the table.

    Attributes:
        row: Position of the row in its source, as `QuestionSource.cell` takes it.
        column: Name of the column.
    """

    row: int
    column: str


PictureReference = PictureFile | PictureCell


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """A question with its answer and where its pictures are.

    Attributes:
        id: Stable name; says nothing about the answer.
        question: The question as it is asked.
        answer: The right answer, and how others are compared with it.
        pictures: What is shown, in order.
        options: Answers to choose from, in the order shown; empty for an open question.
        split: The split it belongs to.
        family: Kind of question, for reports.
        tools: Names of the tools that it needs; None where the table does not say.
        facets: Facts by which results are broken down, such as {"modality": "CT"}. No policy sees them.
        place: Where it stands in the table, such as "line 7".
    """

    id: str
    question: str
    answer: Answer
    pictures: tuple[PictureReference, ...] = ()
    options: tuple[str, ...] = ()
    split: str = "test"
    family: str = "text"
    tools: tuple[str, ...] | None = None
    facets: Mapping[str, str] = dataclasses.field(default_factory=dict)
    place: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class RowProblem:
    """A row that cannot be used.

    Attributes:
        place: Where it stands, such as "line 7".
        reason: Why it cannot be used, a sentence without its full stop.
    """

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"
