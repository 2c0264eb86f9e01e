"""The kinds "exact", a word or name, and "text", a free sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from medvistagym_core.environment.grading._finding import says_same
from medvistagym_core.environment.grading._grade import CORRECT, WRONG, Grade
from medvistagym_core.environment.grading._normalize import answer_key

if TYPE_CHECKING:
    from medvistagym_core.environment._task import Answer

_SENTENCE_WORDS: Final = 3


def grade_exact(answer: Answer, text: str, options: Sequence[str]) -> Grade:
    """Right when the texts are the same by `answer_key`; sentences, when they are divided alike as well."""
    right = answer_key(answer.value)
    if not right:  # nothing but punctuation
        return CORRECT if text.strip() == answer.value.strip() else WRONG
    if answer_key(text) != right:
        return WRONG
    # In a sentence a full stop decides what a "no" is meant for.
    return CORRECT if right.count(" ") < _SENTENCE_WORDS or says_same(answer.value, text) else WRONG


def grade_text(answer: Answer, text: str, options: Sequence[str]) -> Grade:
    """Right when the text makes the statements of the answer and no other; the overlap of words is a measure beside it."""
    right, given = answer_key(answer.value), answer_key(text)
    if not right:
        raise ValueError("the answer of a question for a free text has no words")
    return Grade(correct=says_same(answer.value, text), overlap=word_f1(right.split(), given.split()))


def word_f1(right: Sequence[str], given: Sequence[str]) -> float:
    """The F1 of two bags of words (SQuAD, Rajpurkar et al. 2016), in 0 to 1.

    Args:
        right: Words of the right answer, repetitions included.
        given: Words of the answer that was given.
    """
    shared = sum((Counter(right) & Counter(given)).values())
    return 2 * shared / (len(right) + len(given)) if shared else 0.0
