"""The answer kinds that come with the core, and the grade of a text by one of them."""

from __future__ import annotations

import dataclasses
import functools
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from medvistagym_core.environment.grading._box import grade_box
from medvistagym_core.environment.grading._choice import grade_choice
from medvistagym_core.environment.grading._form import MAX_ANSWER_CHARS
from medvistagym_core.environment.grading._grade import WRONG, Grade, Grader
from medvistagym_core.environment.grading._normalize import answer_key
from medvistagym_core.environment.grading._number import grade_number
from medvistagym_core.environment.grading._set import grade_set
from medvistagym_core.environment.grading._text import grade_exact, grade_text
from medvistagym_core.environment.grading._yes_no import grade_yes_no

if TYPE_CHECKING:
    from medvistagym_core.environment._task import Answer

GRADERS: Final[dict[str, Grader]] = {
    "exact": grade_exact,
    "yes_no": grade_yes_no,
    "choice": grade_choice,
    "number": grade_number,
    "set": grade_set,
    "box": grade_box,
    "text": grade_text,
}
"""The built-in answer kinds by name."""


def with_builtin_graders(graders: Mapping[str, Grader]) -> dict[str, Grader]:
    """Graders of plugins (`Registry.graders`) and the core's; a plugin takes no kind of the core's."""
    return {**graders, **GRADERS}


def grade(
    answer: Answer,
    text: str | None,
    *,
    options: Sequence[str] = (),
    abstention: str | None = None,
    graders: Mapping[str, Grader] = GRADERS,
    question: str = "",
) -> Grade:
    """Compare what a policy answered with the right answer.

    Args:
        answer: The right answer; its `kind` decides how texts are compared, and any of its `aliases` is as right.
        text: What the policy answered; None when it gave no answer. One longer than `MAX_ANSWER_CHARS` is wrong.
        options: The case's options in the order shown, for "choice": the letter or the text of the right one counts.
        abstention: The task's word for "I cannot tell".
        graders: The answer kinds by name.
        question: What was asked, where it is known; "yes_no" looks whether an answer takes back just that.

    Raises:
        ValueError: The right answer itself is no answer of its kind, or the kind is unknown.
    """
    grader = graders.get(answer.kind)
    if grader is None:
        raise ValueError(f"the answer kind {answer.kind!r} is not one of {', '.join(graders)}")
    if grader is grade_yes_no:
        grader = functools.partial(grade_yes_no, question=question)
    if answer.threshold is not None and not 0 < answer.threshold <= 1:
        raise ValueError(f"the threshold of an answer is above 0 and at most 1, not {answer.threshold}")
    if text is None:
        return Grade(answered=False)
    text = text.strip()
    if len(text) > MAX_ANSWER_CHARS or (
        not text.isascii() and len(unicodedata.normalize("NFKC", text)) > MAX_ANSWER_CHARS
    ):
        return WRONG
    best = grader(answer, text, options)
    for alias in () if best.correct else answer.aliases:
        other = grader(dataclasses.replace(answer, value=alias), text, options)
        best = max(best, other, key=lambda each: (each.correct, each.partial_credit, each.overlap))
    if not best.correct and abstention is not None and answer_key(text) == answer_key(abstention):
        return Grade(abstained=True)
    return best
