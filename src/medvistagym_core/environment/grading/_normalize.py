"""Texts in one form, in which two are equal when they say the same in the same words."""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import Final

from medvistagym_core.environment.grading._form import MAX_ANSWER_CHARS, unwrap_answer
from medvistagym_core.environment.grading._words import (
    compared_spelling,
    replace_number_words,
    replace_ordinal_words,
    words,
)

_MAX_CACHED_CHARS: Final = 256

# -- characters

_RAISED_DIGITS: Final = re.compile("(?<=\\d)(⁻?[⁰¹²³⁴-⁹]+)")
_RAISED: Final = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_FRACTIONS: Final = re.compile("(?<=\\d)(?=[¼½¾⅐-⅞])")
_LOOKALIKES: Final = str.maketrans(
    {"−": "-", "‐": "-", "‑": "-", "⁄": "/", "≈": "~", "∼": "~", "≦": "≤", "≧": "≥", "⩽": "≤", "⩾": "≥", "’": "'", "‘": "'",
     "“": '"', "”": '"', "∶": ":", "×": "x", "µ": "μ", "✕": "x"}
)  # fmt: skip
_DASHES: Final = re.compile(r"(?<=\w)[–—](?=\d)|(?<=\d) [–—] (?=\d)|(?<=\d)[–—](?=[A-Za-z]\d)|(?<!\w)–(?=\d)")


def fold_characters(text: str) -> str:
    """Unicode compatibility forms, dashes, comparison signs and fractions in one way each, without loss of meaning.

    `NFKC` alone makes 103 of 10³ and 21/2 of 2½.
    """
    if not text.isascii():
        text = _RAISED_DIGITS.sub(lambda m: "^" + m[0].translate(_RAISED), text)
        text = _FRACTIONS.sub(" ", text)
        text = unicodedata.normalize("NFKC", text)[:MAX_ANSWER_CHARS].translate(
            _LOOKALIKES
        )  # one character may become 18
        text = _DASHES.sub("-", text)
    if "=" in text:
        text = text.replace("<=", "≤").replace(">=", "≥")
    return text.replace("+/-", "±") if "+/-" in text else text


# -- normalisation

# After these words an "a" names something: hepatitis A, type A, group A.
_NAMING: Final = words(
    """type types grade hepatitis influenza vitamin group class factor stage category segment level zone option choice
    part panel figure image series haemophilia hemophilia apolipoprotein immunoglobulin child weber plan view
    protein blood adenovirus virus point line lesion sequence phase arm cohort"""
)
_ARTICLE: Final = re.compile(r"(?<![\w-])(?:the|an|a(?=[ ][\w<>≤≥~\"'(]))(?![\w'+*-])")
_THOUSANDS: Final = re.compile(r"(?<![\w.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_POSSESSIVE: Final = re.compile(r"(?<=[^\W\d_])'(?=[^\W\d_])")
_VE: Final = re.compile(r"(?<!\w)([+-])ve(?!\w)")
_VERTEBRAE: Final = re.compile(r"(?<!\w)([ctls])(\d{1,2})\s?[-/]\s?\1?(\d{1,2})(?!\w)")
_POWER: Final = re.compile(r"(?<=[^\W\d_])\^(?=\d)")
_LOOSE_RANGE: Final = re.compile(r"(?<=\d) - (?=\d)")
_SIGN_IN_BRACKETS: Final = re.compile(r"\s?[(\[]\s?([+-])\s?[)\]]")
_LATE_SIGN: Final = re.compile(r"(?<=\w) ([+-])(?=\s?(?:[,;.)]|\Z))")
_HYPHEN: Final = re.compile(r"(?<=[^\W\d])-(?=\w)|(?<=\*)-(?=\w)|(?<=\d)-(?=[^\W\d])")
_COMPARISON: Final = re.compile(r"\s?([<>≤≥~±])\s?")
_SLASH: Final = re.compile(r"\s?/\s?")
_SYMBOL: Final = re.compile(r"[^\w\s]|_")
_BLANKS: Final = re.compile(r"[^\S\n]+")


def normalize_answer(text: str) -> str:
    """SQuAD's normalisation, but for what carries meaning: lower case, no articles, no punctuation, single spaces.

    Signs (+ - < > ≤ ≥ ~ ± % ° *), other symbols, question marks, decimal points, and hyphens, slashes and colons between digits
    stay; so does the A of "hepatitis A". At most `MAX_ANSWER_CHARS` are read.

    >>> normalize_answer("The upper-left  lobe.")
    'upper left lobe'
    >>> normalize_answer("HER2-, <3 cm")
    'her2- <3 cm'
    """
    if len(text) <= _MAX_CACHED_CHARS:
        return _normalize_cached(text)
    return _normalize(text[:MAX_ANSWER_CHARS])


def _normalize(text: str) -> str:
    text = _BLANKS.sub(" ", fold_characters(text).casefold()).strip()
    if (text.isalpha() and text.isascii()) or text in ("+", "-"):
        return text
    bare = _symbols(_ARTICLE.sub(_article, text))
    return bare or _symbols(text)


_normalize_cached = functools.lru_cache(8192)(_normalize)


def _article(match: re.Match[str]) -> str:
    if match[0] == "a":
        before = match.string[max(0, match.start() - 20) : match.start()].split()
        if before and before[-1] in _NAMING:
            return "a"
    return " "


def _symbols(text: str) -> str:
    text = _THOUSANDS.sub(lambda m: m[0].replace(",", ""), text)
    text = _POSSESSIVE.sub("", text)
    text = _VE.sub(lambda m: "positive" if m[1] == "+" else "negative", text)
    text = _VERTEBRAE.sub(r"\1\2-\3", text)
    text = _POWER.sub("", text)
    text = _LOOSE_RANGE.sub("-", text)
    text = _SIGN_IN_BRACKETS.sub(r"\1 ", text)
    text = _LATE_SIGN.sub(r"\1", text)
    text = _HYPHEN.sub(" ", text)
    text = _COMPARISON.sub(r" \1", text)
    text = _SLASH.sub("/", text)
    return " ".join(_SYMBOL.sub(_symbol, text).split())


def _symbol(match: re.Match[str]) -> str:
    """What becomes of one character that is no letter, digit or space."""
    sign, text = match[0], match.string
    before = text[match.start() - 1] if match.start() else " "
    after = text[match.end()] if match.end() < len(text) else " "
    if sign == "-":
        return sign if _in_word(before) or after.isdigit() or after == "." else " "
    if sign in ".:":
        return sign if after.isdigit() and (sign == "." or before.isdigit()) else " "
    if sign == ",":
        return sign if before.isdigit() and after.isdigit() else " "
    if sign == "*":
        return sign if _in_word(before) else " "
    if sign in "+<>≤≥~±%/^":
        return sign
    if sign == "?":
        return " ? "
    if sign == "&":
        return " and "
    if sign in "=_|$`´" or unicodedata.category(sign)[0] in "PZC":
        return " "
    return sign


def _in_word(character: str) -> bool:
    return character.isalnum() or character in "*+"


# -- the key that decides whether two texts are the same

_UNIT: Final = r"(?:mm|cm|m|um|μm|ml|l|kg|g|mg|hu|ms|s|gy|mgy|cgy|mhz|t)[23]?(?!\w)"
_NUMBER_AND_UNIT: Final = re.compile(rf"(?<![\w.])(\d{{1,20}}(?:\.\d{{1,20}})?)(?={_UNIT})")
_DECIMAL_COMMA: Final = re.compile(rf"(?<![\w.,])(\d{{1,20}}),(\d{{1,2}})(?=\s?(?:{_UNIT}|%))")
_TIMES: Final = re.compile(r"(?<=\d)\s?x\s?(?=\d)")
_GREEK_NAMES: Final = dict(
    zip("αβγδεκλ", ("alpha", "beta", "gamma", "delta", "epsilon", "kappa", "lambda"), strict=True)
)
_GREEK: Final = re.compile(f"[{''.join(_GREEK_NAMES)}]")
_TRAILING_ZEROS: Final = re.compile(r"(?<![\w.-])(-?\d{1,20})\.(\d{0,20}?)0+(?![\w.])")
_MARKER: Final = re.compile(r"(?<!\S)([^\W\d_]\w{0,20})([+-])(?!\S)")
_SPACED_SYMBOL: Final = re.compile(r" (?=[°%])")
_DECIMAL: Final = r"\d{1,20}(?:\.\d{1,20})?(?![\w.])"
_BOUNDS: Final = {
    "<": ("less than", "smaller than", "fewer than"),
    ">": ("more than", "greater than", "larger than", "exceeding"),
    "≤": ("at most", "up to", "no more than", "not more than", "no greater than", "less than or equal to"),
    "≥": ("at least", "no less than", "not less than", "greater than or equal to", "more than or equal to"),
}
_BOUND_SIGNS: Final = {phrase: sign for sign, phrases in _BOUNDS.items() for phrase in phrases}
_BOUND: Final = re.compile(
    rf"(?<!\S)({'|'.join(sorted(_BOUND_SIGNS, key=len, reverse=True))}) (?={_DECIMAL})(?!{_DECIMAL} (?:to|and|or) \d)"
)
_BEFORE_BOUND: Final = words("no not never without neither nor or and than by")
_RANGE: Final = re.compile(rf"(?<!\S)(?:(between) )?(\d{{1,20}}(?:\.\d{{1,20}})?) (to|and) ({_DECIMAL})")
_RANGE_WITH_UNITS: Final = re.compile(rf"(?<!\S)(\d{{1,20}}(?:\.\d{{1,20}})?) ({_UNIT}) to (?={_DECIMAL} \2(?!\S))")
_ROMAN_VALUES: Final = {
    "i": "1", "ii": "2", "iii": "3", "iv": "4", "v": "5", "vi": "6", "vii": "7", "viii": "8", "ix": "9",
}  # fmt: skip
_ROMAN: Final = re.compile(
    r"(?<!\S)(grade|stage|type|class|category|group|zone|degree|phase|segment|cranial nerve|bosniak|modic|garden) "
    r"(viii|vii|vi|iv|ix|iii|ii|i|v)([a-d]?)(?!\S)"
)
_SPACED_LEVEL: Final = re.compile(rf"(?<!\S)([tcls]) (\d{{1,2}}\*?)(?!\S)(?! {_UNIT})")


def answer_key(text: str) -> str:
    """`normalize_answer` of the unwrapped text, with numbers in digits, units apart, one spelling, and "HER2+" in words."""
    return _key_cached(text) if len(text) <= _MAX_CACHED_CHARS else _key(text[:MAX_ANSWER_CHARS])


def _key(text: str) -> str:
    text = replace_number_words(normalize_answer(unwrap_answer(text)))
    text = replace_ordinal_words(_without_accents(text))
    text = _TIMES.sub(" x ", text)
    text = _DECIMAL_COMMA.sub(r"\1.\2", text)
    text = _NUMBER_AND_UNIT.sub(r"\1 ", text)
    text = _TRAILING_ZEROS.sub(lambda m: f"{m[1]}.{m[2]}" if m[2] else m[1], text)
    text = _MARKER.sub(lambda m: f"{m[1]} {'positive' if m[2] == '+' else 'negative'}", text)
    text = _SPACED_SYMBOL.sub("", text)
    text = _SPACED_LEVEL.sub(_join_level, text)
    text = _ROMAN.sub(lambda m: f"{m[1]} {_ROMAN_VALUES[m[2]]}{m[3]}", text)
    text = _BOUND.sub(_bound, text)
    text = _RANGE.sub(_range, _RANGE_WITH_UNITS.sub(r"\1 to ", text))
    return " ".join(map(compared_spelling, text.split()))


def _without_accents(text: str) -> str:
    """Letters without accents, and Greek ones by their names: "Sjögren" and "Sjogren", "β-blocker" and "beta-blocker"."""
    if text.isascii():
        return text
    text = _GREEK.sub(lambda m: f" {_GREEK_NAMES[m[0]]} ", text)
    decomposed = unicodedata.normalize("NFD", text)
    kept = "".join(sign for sign in decomposed if not 0x300 <= ord(sign) <= 0x36F)
    return " ".join(unicodedata.normalize("NFC", kept).split())


def _join_level(match: re.Match[str]) -> str:
    """Make "T1" of "T 1"; the C of "hepatitis C 2 mm" is no level."""
    before = match.string[: match.start()].split()[-1:]
    return match[0] if before and (before[0] in _NAMING or before[0][-1:].isdigit()) else match[1] + match[2]


def _range(match: re.Match[str]) -> str:
    """Make "3-5" of "3 to 5" and "between 3 and 5"; from one number to another is a change."""
    between, first, joint, last = match.groups()
    before = match.string[: match.start()].split()[-1:]
    if (joint == "and") != bool(between) or before == ["from"] or float(first) >= float(last):
        return match[0]
    return f"{first}-{last}"


def _bound(match: re.Match[str]) -> str:
    """The sign of a bound in words, unless a word before it turns it round or compares something else."""
    before = match.string[: match.start()].split()[-1:]
    return match[0] if before and before[0] in _BEFORE_BOUND else _BOUND_SIGNS[match[1]]


_key_cached = functools.lru_cache(8192)(_key)
