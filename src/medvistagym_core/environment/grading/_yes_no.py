"""The kind "yes_no": a closed question, as VQA-RAD has them (Lau et al. 2018).

A text says yes or no by that word, alone or at the head of a clause of its own ("Yes, there is a nodule"; "No - clear lungs"),
when nothing behind it takes it back or weakens it. "No evidence of X", "no X is seen", "no X" and "without X" say no,
unless X itself says that something is amiss, or is a figure of speech: "no abnormality" may be a yes, and "no doubt" is none.
The question is not read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from medvistagym_core.environment.grading._form import unwrap_answer
from medvistagym_core.environment.grading._grade import CORRECT, WRONG, Grade
from medvistagym_core.environment.grading._normalize import fold_characters
from medvistagym_core.environment.grading._words import HEDGES, NEGATIONS, words

if TYPE_CHECKING:
    from medvistagym_core.environment._task import Answer

_YES: Final = frozenset(("yes", "y", "true", "yeah", "yep", "是", "是的", "对", "有"))
_NO: Final = frozenset(("no", "n", "false", "nope", "否", "不是", "不", "没有", "无"))
_HEAD: Final = re.compile(
    r"\W{0,8}([^\W\d_]{1,8})\s{0,3}"
    r"(?:\Z|[,.;:!\n()\[\]。，！]|[-–—]+\s|(?=\s(?:there|it|this|these|they|the|i)\s))"
)
_WORDS: Final = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_RULED_OUT: Final = re.compile(r"\brule[sd]?\s+out\b|n't\b|\?")
_NONE_OF: Final = re.compile(
    r"(?:(?:there\s(?:is|are)\s)?no|without)\s(?:(?:radiographic|imaging|radiological)\s)?"
    r"(?:(?:evidence|signs?|indications?)\sof\s)?(.+)",
    re.DOTALL,
)
_AMISS: Final = re.compile(r"abnormal|normal|patholog|disease|finding|lesion|change|problem|anomal|defect|difference")
_FIGURES: Final = words(
    """doubt question questions longer other less more fewer matter wonder idea clue answer comment way image images
    picture information data one uncertainty reason need clear definite convincing conclusive obvious
    hesitation reservation reservations fail exception exceptions further prior comparison seeing knowing looking"""
)
_ARTICLES: Final = frozenset(("a", "an", "any", "the"))
_MAX_NOUN_WORDS: Final = 10


def grade_yes_no(answer: Answer, text: str, options: Sequence[str]) -> Grade:
    """Right when the text says the same of yes and no."""
    expected = parse_yes_no(answer.value)
    if expected is None:
        raise ValueError(f"the answer {answer.value!r} of a yes/no question is not yes or no")
    return CORRECT if parse_yes_no(text) is expected else WRONG


def parse_yes_no(text: str) -> bool | None:
    """Whether a text says yes or no; None when it says neither, both, or not surely."""
    text = fold_characters(unwrap_answer(text)).casefold().strip()
    head = _HEAD.match(text)
    word = head[1] if head else ""
    if head is None or (word not in _YES and word not in _NO):
        return False if _says_none(text) else None
    rest = text[head.end() :]
    others = set(_WORDS.findall(rest))
    if not others.isdisjoint(HEDGES) or "?" in text or "or" in others:
        return None
    if word in _NO:
        return None if others & _YES - {"y"} else False
    return None if not others.isdisjoint(NEGATIONS) or others & _NO or _RULED_OUT.search(rest) else True


def _says_none(text: str) -> bool:
    """Whether a text begins with "no" and goes on with what is not there."""
    match = _NONE_OF.fullmatch(text.rstrip(" .!"))
    if match is None or _RULED_OUT.search(text):
        return False
    absent = _WORDS.findall(match[1])
    while absent and absent[0] in _ARTICLES:
        del absent[0]
    return (
        0 < len(absent) <= _MAX_NOUN_WORDS
        and absent[0] not in _FIGURES
        and not _AMISS.search(match[1])
        and set(absent).isdisjoint(NEGATIONS | HEDGES | _YES | {"but", "however", "except", "against", "contrary"})
        and not any(mark in match[1] for mark in ".;:,!\n")
    )
