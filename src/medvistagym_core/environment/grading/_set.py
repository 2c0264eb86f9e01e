"""The kind "set": several items in any order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from medvistagym_core.environment.grading._choice import OptionNames
from medvistagym_core.environment.grading._finding import canonical_finding
from medvistagym_core.environment.grading._form import unwrap_answer
from medvistagym_core.environment.grading._grade import WRONG, Grade
from medvistagym_core.environment.grading._normalize import answer_key

if TYPE_CHECKING:
    from medvistagym_core.environment._task import Answer

_LINES: Final = re.compile(r"[;\n]")
_COMMAS: Final = re.compile(r",\s*(?:and\s+)?|\s+and\s+|\s*&\s*", re.IGNORECASE)
_BULLET: Final = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.)])\s+")


def grade_set(answer: Answer, text: str, options: Sequence[str]) -> Grade:
    """Right when the items are the same; the partial credit is the F1 of the items."""
    right, given = _parse_list(answer.value, options), _parse_list(text, options)
    if not right:
        raise ValueError(f"the answer {answer.value!r} of a question for several items names none")
    credit = 2 * len(right & given) / (len(right) + len(given))
    min_f1 = 1.0 if answer.threshold is None else answer.threshold
    return Grade(correct=credit >= min_f1, partial_credit=credit) if credit else WRONG


def _parse_list(text: str, options: Sequence[str]) -> frozenset[object]:
    """The items of a list, apart by semicolons or lines where it has any, else by commas and "and"; options by letter too."""
    text = unwrap_answer(text)
    parts = _LINES.split(text) if _LINES.search(text.strip()) else _COMMAS.split(text.strip())
    names = OptionNames.of(tuple(options))
    items: set[object] = set()
    for part in (_BULLET.sub("", part).strip() for part in parts):
        if answer_key(part):
            index = names.find(part) if options else None
            items.add(canonical_finding(part) if index is None else index)
    return frozenset(items)
