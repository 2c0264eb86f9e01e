"""What a grade is, and what an answer kind implements."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from medvistagym_core.environment._task import Answer


@dataclasses.dataclass(frozen=True)
class Grade:
    """How an answer compares with the right one.

    Attributes:
        correct: Whether it is right.
        abstained: Whether it is the task's way of saying "I cannot tell", and that is not the right answer.
        answered: Whether there was an answer at all.
        partial_credit: How right it is, in 0 to 1: the F1 of the items of a set, the overlap (IoU) of a box, else 1 or 0.
        overlap: The F1 of the words that a free text shares with the right one, in 0 to 1; a measure to report. It is no
            credit: two texts that share nine words of ten may say opposite things. 0 for every other kind.
    """

    correct: bool = False
    abstained: bool = False
    answered: bool = True
    partial_credit: float = 0.0
    overlap: float = 0.0

    def __post_init__(self) -> None:
        if self.correct and not self.partial_credit:
            object.__setattr__(self, "partial_credit", 1.0)

    @property
    def credit(self) -> float:
        """The earlier name of `partial_credit`."""
        return self.partial_credit

    @property
    def wrong(self) -> bool:
        """Neither right nor an abstention; no answer at all is wrong."""
        return not (self.correct or self.abstained)


CORRECT: Final = Grade(correct=True)
WRONG: Final = Grade()


class Grader(Protocol):
    """An answer kind: says whether a text is the right answer.

    A plugin offers one by the hook `medvistagym_graders`, under the name that `Answer.kind` then takes.
    """

    def __call__(self, answer: Answer, text: str, options: Sequence[str]) -> Grade:
        """Compare a text with the right answer.

        Args:
            answer: The right answer. Aliases are tried by the caller: each comes here as the `value` of an answer of its own.
            text: What was answered, at most `MAX_ANSWER_CHARS` long; `unwrap_answer` takes its presentation off.
            options: The case's options in the order shown; empty for an open question.

        Raises:
            ValueError: The right answer is none of this kind. Never because of `text`: a text that makes no sense is wrong.
        """
        ...
