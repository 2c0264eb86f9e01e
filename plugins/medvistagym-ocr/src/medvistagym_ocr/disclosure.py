"""Whether a line of burned-in text may identify a person.

An allow-list decides, as it does for DICOM attributes: a line passes when all its words are in `vocabulary` and its numbers are
short. No list of names is complete, and reading makes mistakes, so a line with anything else in it is withheld whole. The
reasons only tell a reader what kind it seems to be.

What identifies: 45 CFR 164.514(b)(2), the Safe Harbor list (names, places, dates, ages, record and device numbers).
"""

from __future__ import annotations

import re
from typing import Final, Literal

from medvistagym_ocr.vocabulary import NAMES_TOO, PERSONAL, PLACES, UNITS, WORDS

Reason = Literal["age", "date", "name", "number", "other words", "place", "time"]

_DIGITS: Final = 4  # of one number; only one number of a line has so many
_ALL_DIGITS: Final = 5  # of a word without a blank, and of a line of bare numbers
_LINE_DIGITS: Final = 8
_LONE_LETTERS: Final = 3  # of a line; more spell something
_MONTHS: Final = "JAN|FEB|MAR|MRZ|APR|MAY|MAI|JUN|JUL|AUG|SEP|OCT|OKT|NOV|DEC|DEZ"
_DATE: Final = re.compile(
    rf"\d{{1,4}}\s?[./\-]\s?\d{{1,2}}\s?[./\-]\s?\d{{1,4}}"
    rf"|\d{{1,4}}[\s./,\-]*(?:{_MONTHS})|(?:{_MONTHS})[A-Z]*[\s./,\-]*\d{{1,4}}"
    r"|(?<!\d)(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?!\d)|(?<![\d.])(?:19|20)\d\d(?![\d.])"
)
_TIME: Final = re.compile(r"\d{1,2}\s?[:;]\s?\d{2}(?!\d)|\d{1,2}\s?[AP]\.?M\b")
_AGE: Final = re.compile(
    r"\b\d{1,3}\s?-?(?:Y|YO|YR|YRS|YEARS?|J|JAHRE|ANS)\b|\b\d{1,3}\s?/?\s?[MFW]\b|\b(?:[MF]\s?/?|W\s?/)\s?\d{1,3}\b"
)
_NAME: Final = re.compile(r"\^|[^\W\d_]{2,}\s?,\s?[^\W\d_]+")
_PART: Final = re.compile(r"[^\W\d_]+|\d+(?:[.,]\d+)?")
_MISREAD: Final = re.compile(r"(?<=[A-Z])0(?=[A-Z])")


def reason(text: str) -> Reason | None:
    """Why a line may identify a person; None when it does not, and of a single character."""
    line = _MISREAD.sub("O", text.upper())
    parts = _PART.findall(line)
    words = {part for part in parts if not part[0].isdigit()}
    if _passes(line, parts):
        return None
    if _AGE.search(line):
        return "age"
    if _DATE.search(line):
        return "date"
    if _TIME.search(line):
        return "time"
    if words & PLACES:
        return "place"
    if _NAME.search(line) or words & PERSONAL or _spells_a_name(words, parts):
        return "name"
    return "other words" if words - WORDS else "number"


def _spells_a_name(words: set[str], parts: list[str]) -> bool:
    """Whether the line is nothing but harmless words that together may be a name, or letters set apart."""
    lone = sum(len(part) == 1 and part.isalpha() for part in parts)
    return lone > _LONE_LETTERS or (len(words) > 1 and words <= NAMES_TOO)


def _passes(line: str, parts: list[str]) -> bool:
    if len(line.strip()) < 2:
        return True
    if any(pattern.search(line) for pattern in (_DATE, _TIME, _AGE)) or "^" in line:
        return False
    if _spells_a_name({part for part in parts if not part[0].isdigit()}, parts):
        return False
    lengths = [len(re.split("[.,]", part)[0]) for part in parts if part[0].isdigit()]
    if max(lengths, default=0) > _DIGITS or lengths.count(_DIGITS) > 1:
        return False
    for before, part in zip(["", *parts], parts, strict=False):
        if not part[0].isdigit() and part not in WORDS and not (part in UNITS and before[:1].isdigit()):
            return False
    each = [sum(map(str.isdigit, word)) for word in line.split()]
    bare = all(part[0].isdigit() for part in parts)
    return max(each, default=0) <= _ALL_DIGITS and sum(each) <= (_ALL_DIGITS if bare else _LINE_DIGITS)
