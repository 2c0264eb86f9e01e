"""Words and numbers as they are written: one spelling for each, and the words that turn a statement round or weaken it."""

from __future__ import annotations

import re
from typing import Final


def words(text: str) -> frozenset[str]:
    """The words of a text, for lists of them."""
    return frozenset(text.split())


NEGATIONS: Final = words(
    """no not without never none neither nor absent absence negative cannot free excluded excludes exclude excluding
    unremarkable denied lacks lacking fails isnt arent wasnt werent doesnt dont didnt cant couldnt hasnt havent wont
    resolved"""
)
HEDGES: Final = words(
    """maybe perhaps possibly possible probable probably likely unlikely might may could would uncertain unsure unclear
    indeterminate equivocal questionable suspected suspicious presumably presumed potentially potential either
    ambiguous differential versus vs guess"""
)
COMPARISONS: Final = words(
    """less more fewer greater larger smaller bigger longer shorter under over above below beyond exceeding exceeds
    exceed least most up upto between from to than within minus plus nearly almost barely except but"""
)

_UP_TO_TWENTY: Final = (
    "zero one two three four five six seven eight nine ten "
    "eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
)
_TENS: Final = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL: Final = {word: value for value, word in enumerate(_UP_TO_TWENTY.split())} | {
    word: 10 * value for value, word in enumerate(_TENS.split(), start=2)
}
_NAMES: Final = "|".join(sorted([*_SMALL, "hundred"], key=len, reverse=True))
_NUMBER_WORDS: Final = re.compile(rf"(?<![\w-])(?:{_NAMES})(?:(?:\s|-|\sand\s)(?:{_NAMES}))*(?![\w-])", re.IGNORECASE)


def replace_number_words(text: str) -> str:
    """Write numbers below a thousand in digits; what only looks like one ("two three") stays.

    >>> replace_number_words("twenty-five nodules")
    '25 nodules'
    """
    return _NUMBER_WORDS.sub(_digits, text)


def _digits(match: re.Match[str]) -> str:
    total = 0
    last = 1000  # the value of the word before: the next one fits below it
    for word in re.split(r"\s|-", match[0].casefold()):
        if word == "and":
            if last != 100:
                return match[0]
        elif word == "hundred":
            if not 1 <= last <= 9:
                return match[0]
            total, last = total + 99 * last, 100
        else:
            value = _SMALL[word]
            fits = last == 1000 or last == 100 or (20 <= last <= 90 and 1 <= value <= 9)
            if not fits:
                return match[0]
            total, last = total + value, value
    return str(total)


_SPELLINGS: Final = {
    "oedema": "edema", "oedematous": "edematous", "haemorrhage": "hemorrhage", "haemorrhagic": "hemorrhagic",
    "haematoma": "hematoma", "tumour": "tumor", "tumours": "tumors", "oesophagus": "esophagus", "oesophageal": "esophageal",
    "ischaemia": "ischemia", "ischaemic": "ischemic", "anaemia": "anemia", "leukaemia": "leukemia", "haemangioma": "hemangioma",
    "paediatric": "pediatric", "gynaecomastia": "gynecomastia", "caecum": "cecum", "caecal": "cecal", "foetal": "fetal",
    "foetus": "fetus", "centre": "center", "grey": "gray", "colour": "color", "fibre": "fiber", "diarrhoea": "diarrhea",
    "haemothorax": "hemothorax", "haemopericardium": "hemopericardium", "orthopaedic": "orthopedic", "calibre": "caliber",
}  # fmt: skip


def american_spelling(word: str) -> str:
    return _SPELLINGS.get(word, word)
