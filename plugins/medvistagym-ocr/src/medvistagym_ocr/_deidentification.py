"""Whether a line of burned-in text may identify a person.

An allow-list decides, as it does for DICOM attributes: a line passes when all its words are in `_vocabulary` and its numbers
are short. No list of names is complete, and reading makes mistakes, so a line with anything else in it is withheld whole. The
reasons only tell a reader what kind it seems to be.

What identifies: 45 CFR 164.514(b)(2), the Safe Harbor list (names, places, dates, ages, record and device numbers).
"""

from __future__ import annotations

import re
from typing import Final, Literal

from medvistagym_ocr._vocabulary import NAMES_TOO, PERSONAL, PLACES, UNITS, WORDS

Reason = Literal["age", "date", "name", "number", "other words", "place", "time"]

_MAX_NUMBER_DIGITS: Final = 4  # of one number; only one number of a line has so many
_MAX_WORD_DIGITS: Final = 5  # of a word without a blank, and of a line of bare numbers
_MAX_LINE_DIGITS: Final = 8
_MAX_LONE_LETTERS: Final = 3  # of a line; more spell something
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
_TOKEN: Final = re.compile(r"[^\W\d_]+|\d+(?:[.,]\d+)?")
_MISREAD: Final = re.compile(r"(?<=[A-Z])0(?=[A-Z])")


def withholding_reason(text: str) -> Reason | None:
    """Why a line may identify a person; None when it does not, and of a single character."""
    line = _MISREAD.sub("O", text.upper())
    tokens = _TOKEN.findall(line)
    words = {token for token in tokens if not token[0].isdigit()}
    if _is_allowed(line, tokens):
        return None
    if _AGE.search(line):
        return "age"
    if _DATE.search(line):
        return "date"
    if _TIME.search(line):
        return "time"
    if words & PLACES:
        return "place"
    if _NAME.search(line) or words & PERSONAL or _looks_like_a_name(words, tokens):
        return "name"
    return "other words" if words - WORDS else "number"


def _looks_like_a_name(words: set[str], tokens: list[str]) -> bool:
    """Whether the line is nothing but harmless words that together may be a name, or letters set apart."""
    lone_letters = sum(len(token) == 1 and token.isalpha() for token in tokens)
    return lone_letters > _MAX_LONE_LETTERS or (len(words) > 1 and words <= NAMES_TOO)


def _is_allowed(line: str, tokens: list[str]) -> bool:
    """Whether a line in capitals holds nothing but vocabulary, units after numbers, and short numbers."""
    if len(line.strip()) < 2:
        return True
    if any(pattern.search(line) for pattern in (_DATE, _TIME, _AGE)) or "^" in line:
        return False
    if _looks_like_a_name({token for token in tokens if not token[0].isdigit()}, tokens):
        return False
    number_lengths = [len(re.split("[.,]", token)[0]) for token in tokens if token[0].isdigit()]
    if max(number_lengths, default=0) > _MAX_NUMBER_DIGITS or number_lengths.count(_MAX_NUMBER_DIGITS) > 1:
        return False
    if not all(_is_allowed_word(token, before) for before, token in zip(["", *tokens], tokens, strict=False)):
        return False
    digits = [sum(map(str.isdigit, word)) for word in line.split()]
    only_numbers = all(token[0].isdigit() for token in tokens)
    max_digits = _MAX_WORD_DIGITS if only_numbers else _MAX_LINE_DIGITS
    return max(digits, default=0) <= _MAX_WORD_DIGITS and sum(digits) <= max_digits


def _is_allowed_word(token: str, before: str) -> bool:
    """Whether a token is a number, in the vocabulary, or a unit after the number `before`."""
    return token[0].isdigit() or token in WORDS or (token in UNITS and before[:1].isdigit())
