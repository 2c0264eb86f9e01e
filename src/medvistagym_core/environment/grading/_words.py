"""One spelling for each word and number, and the words that negate or weaken a statement."""

from __future__ import annotations

import functools
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


_ORDINALS: Final = dict(
    zip(
        (
            "first",
            "second",
            "third",
            "fourth",
            "fifth",
            "sixth",
            "seventh",
            "eighth",
            "ninth",
            "tenth",
            "eleventh",
            "twelfth",
        ),
        ("1st", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th", "9th", "10th", "11th", "12th"),
        strict=True,
    )
)
_ORDINAL: Final = re.compile(rf"(?<![\w-])(?<!\d )(?:{'|'.join(_ORDINALS)})(?![\w-])")


def replace_ordinal_words(text: str) -> str:
    """Write "third" as "3rd"; a second behind a number is a unit.

    >>> replace_ordinal_words("third rib, 1 second")
    '3rd rib, 1 second'
    """
    return _ORDINAL.sub(lambda m: _ORDINALS[m[0]], text)


# What British and American spelling differ in, by parts of words of five letters and more, in this order. It is a form to
# compare words by, not a word to show: "toenail" becomes "tenail" in both.
_SPELLINGS: Final = tuple(
    (re.compile(british), american)
    for british, american in (
        (r"ae|oe", "e"),
        (r"(tum|col|vap|hum|lab|fav|harb|neighb|behavi)our", r"\1or"),
        (r"is(?=(?:e|ed|es|ing|ations?)\Z)", "iz"),
        (r"ys(?=(?:e|ed|es|ing)\Z)", "yz"),
        (r"([tbv])re(?=s?\Z|d\Z)", r"\1er"),
        (r"(?<=[tb]er)d\Z", "ed"),
        (r"(?<=del|bel|nel)l(?=ed\Z|ing\Z)", ""),
        (r"grey", "gray"),
        (r"artefact", "artifact"),
        (r"leuco", "leuko"),
        (r"sulph", "sulf"),
        (r"ageing", "aging"),
    )
)
_MIN_LETTERS: Final = 5
_SHORT_SPELLINGS: Final = {"grey": "gray"}


@functools.lru_cache(8192)
def compared_spelling(word: str) -> str:
    """A word in a form that its British and its American spelling share.

    >>> compared_spelling("haemorrhages") == compared_spelling("hemorrhages")
    True
    """
    if len(word) < _MIN_LETTERS:
        return _SHORT_SPELLINGS.get(word, word)
    for british, american in _SPELLINGS:
        word = british.sub(american, word)
    return word
