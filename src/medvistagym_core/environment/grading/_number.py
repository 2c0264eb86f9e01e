"""The kind "number": one quantity, compared in the unit of the right answer within the tolerance that the case sets."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from medvistagym_core.environment.grading._form import unwrap_answer
from medvistagym_core.environment.grading._grade import CORRECT, WRONG, Grade
from medvistagym_core.environment.grading._normalize import fold_characters
from medvistagym_core.environment.grading._units import Unit, parse_unit
from medvistagym_core.environment.grading._words import COMPARISONS, HEDGES, NEGATIONS, replace_number_words, words

if TYPE_CHECKING:
    from medvistagym_core.environment._task import Answer


@dataclasses.dataclass(frozen=True, slots=True)
class Quantity:
    """A number as it was written.

    Attributes:
        value: The number.
        unit: The unit behind it; None without one that is known.
        nouns: What stands behind it, when that is no unit: "nodules".
        relation: "", or one of < > ≤ ≥ where it is a bound.
        step: What its last digit is worth: 0.1 for "2.5".
    """

    value: float
    unit: Unit | None
    nouns: tuple[str, ...]
    relation: str
    step: float


_PLAIN: Final = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_NUMBER: Final = re.compile(
    r"""(?<![\w.,/^])(?P<sign>[-+])?
    (?: (?P<whole>\d{1,9})\ (?P<above>\d{1,9})/(?P<below>\d{1,9})
      | (?P<numerator>\d{1,9})/(?P<denominator>\d{1,9})
      | (?P<digits> \d{1,3}(?:,\d{3})+(?:\.\d+)?          # 1,234.5
          | \d{1,3}(?:\.\d{3})+,\d+ | \d{1,3}(?:\.\d{3}){2,}  # 1.234,5 and 1.234.567
          | \d{1,3}(?:[ ']\d{3})+(?:[.,]\d+)?             # 1 234 and 1'234
          | \d+(?:[.,]\d+)? | \.\d+ )
        (?P<exponent> e[-+]?\d{1,9} | \s?[x*·]\s?10\s?\^\s?[-+]?\d{1,3} | (?<=10)\^[-+]?\d{1,3} )?
    )(?![\d/^]|[.,:]\d|e[-+]?\d)""",
    re.IGNORECASE | re.VERBOSE,
)
_POWER: Final = re.compile(r"[-+]?\d+\Z")
_MINUS: Final = re.compile(r"\b(?:minus|negative)\s(?=\d)", re.IGNORECASE)
_APPROXIMATELY: Final = re.compile(
    r"(?:\b(?:about|approximately|approx\.?|around|roughly|ca\.?|circa|equals|is)|[~=:])\s?\Z"
)
_RELATIONS: Final = {
    "<": "<", ">": ">", "≤": "≤", "≥": "≥", "less than": "<", "smaller than": "<", "under": "<", "below": "<",
    "fewer than": "<",
    "more than": ">", "greater than": ">", "larger than": ">", "over": ">", "above": ">", "at least": "≥", "at most": "≤",
    "up to": "≤", "no more than": "≤", "no less than": "≥", "not more than": "≤", "not less than": "≥",
}  # fmt: skip
_LONGEST_FIRST: Final = sorted(_RELATIONS, key=len, reverse=True)
_RELATION_BEFORE: Final = re.compile(rf"(?<!\w)({'|'.join(_LONGEST_FIRST)})\s?\Z")
_RELATION_AFTER: Final = re.compile(r"(?:or|and)\s(more|greater|larger|above|less|fewer|smaller|below)\b")
_RELATIONS_AFTER: Final = dict.fromkeys(("more", "greater", "larger", "above"), "≥") | dict.fromkeys(
    ("less", "fewer", "smaller", "below"), "≤"
)
_UNIT_WORD: Final = re.compile(r"[^\s,;!?()=\[\]]+")
_UNIT_BEFORE: Final = re.compile(r"(?:\(([^\s()]{1,12})\)\s?[:=]?|(?<!\S)([^\s()]{2,12})\s?[:=])\s?\Z")
_LETTERS: Final = re.compile(r"[^\W\d_]+")
_UNSAFE: Final = (
    NEGATIONS
    | HEDGES
    | COMPARISONS
    | words("or nor twice double triple half quarter third dozen hundred thousand million couple few several")
)
_LOOSE_DIGIT: Final = re.compile(r"(?<!\w)\d")
_UNSAFE_SIGN: Final = re.compile(r"[<>≤≥±?+]|n't\b")


def grade_number(answer: Answer, text: str, options: Sequence[str]) -> Grade:
    """Right when the text states one quantity, the right one."""
    right = _parse_quantity(answer.value)
    if right is None:
        raise ValueError(f"the answer {answer.value!r} of a question for a number is not one")
    given = _parse_quantity(text)
    if given is None or given.relation != right.relation:
        return WRONG
    factor = _unit_conversion(given, answer.unit, right)
    if factor is None:
        return WRONG
    value = given.value * factor
    tolerance = answer.tolerance if answer.tolerance is not None else 0.0
    # A decimal such as 0.3 is not exact in binary; the tolerance's own bound still counts as within.
    within = abs(value - right.value) <= tolerance + 1e-9 * max(1.0, abs(right.value), abs(value))
    return CORRECT if within else WRONG


def _unit_conversion(given: Quantity, unit_name: str | None, right: Quantity) -> float | None:
    """The factor from the unit given to the right one; None when they do not measure the same."""
    unit = parse_unit(unit_name) if unit_name else right.unit
    if unit is not None:
        if given.unit is not None:
            return given.unit.conversion_to(unit)
        return None if given.nouns else 1.0
    counted = _LETTERS.findall(unit_name.casefold()) if unit_name else right.nouns
    if not counted or (given.unit is None and not given.nouns):
        return 1.0
    return 1.0 if set(map(_singular, counted)) <= set(map(_singular, given.nouns)) else None


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


@functools.lru_cache(4096)
def _parse_quantity(text: str) -> Quantity | None:
    """The one quantity that a text states; None when it states none, several, or takes it back."""
    if _PLAIN.fullmatch(text):  # as most do, which is seen at once
        return Quantity(float(text), None, (), "", _step(text))
    text = " ".join(fold_characters(unwrap_answer(text)).split())
    text = replace_number_words(_MINUS.sub("-", replace_number_words(text)))
    matches = list(_NUMBER.finditer(text))
    if len(matches) == 1:
        return _quantity(text[: matches[0].start()], matches[0], text[matches[0].end() :])
    if len(matches) != 2:
        return None
    between = text[matches[0].end() : matches[1].start()]
    first = _quantity(text[: matches[0].start()], matches[0], between)
    second = _quantity("", matches[1], text[matches[1].end() :])
    return first if first and second and between.rstrip().endswith(("(", "=", "[")) and _agree(first, second) else None


def _agree(first: Quantity, second: Quantity) -> bool:
    """Whether the second quantity is the first one in another unit, as exactly as it is written: "5 mm (0.5 cm)"."""
    if first.unit is None or second.unit is None:
        return False
    factor = first.unit.conversion_to(second.unit)
    return factor is not None and abs(first.value * factor - second.value) <= 0.5 * second.step * (1 + 1e-9)


def _quantity(before: str, match: re.Match[str], after: str) -> Quantity | None:
    """The quantity of a number and the text around it; None where that text has other numbers, denies, bounds or weakens it."""
    value = _value(match)
    before, relation = before.casefold().rstrip(" ([\"'"), ""
    bound = _RELATION_BEFORE.search(before)
    if bound:
        before, relation = before[: bound.start()], _RELATIONS[bound[1]]
    before = _APPROXIMATELY.sub("", before)
    unit, rest = _leading_unit(after.strip())
    bound = _RELATION_AFTER.match(rest.casefold())
    if bound and not relation:
        rest, relation = rest[bound.end() :], _RELATIONS_AFTER[bound[1]]
    unit_before = _UNIT_BEFORE.search(before)
    if unit_before and unit is None:
        unit = parse_unit(unit_before[1] or unit_before[2])
    if value is None or _takes_back(before) or _takes_back(rest.casefold()):
        return None
    nouns = () if unit is not None else tuple(_LETTERS.findall(rest.casefold()))
    return Quantity(value, unit, nouns, relation, _step(match["digits"] or ""))


def _value(match: re.Match[str]) -> float | None:
    sign = -1.0 if match["sign"] == "-" else 1.0
    if match["digits"] is None:
        above, below = (
            (match["above"], match["below"]) if match["whole"] else (match["numerator"], match["denominator"])
        )
        if not int(below):
            return None
        return sign * (float(match["whole"] or 0) + int(above) / int(below))
    digits, exponent = match["digits"], match["exponent"] or ""
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:\.\d{3}){2,}", digits):
        digits = digits.replace(".", "").replace(",", ".")
    elif re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", digits) and not digits.startswith("0,"):
        digits = digits.replace(",", "")
    digits = digits.replace(" ", "").replace("'", "").replace(",", ".")
    power = int(_POWER.search(exponent)[0]) if exponent else 0  # type: ignore[index]
    value = float(f"{digits}e{power - exponent.startswith('^')}")  # 10^3 is no 10 × 10^3
    return sign * value if math.isfinite(value) else None


def _step(digits: str) -> float:
    return 10.0 ** -len(digits.replace(",", ".").partition(".")[2]) if len(digits) < 20 else 1.0


def _leading_unit(text: str) -> tuple[Unit | None, str]:
    """The unit that a text begins with, at most three words long, and the rest."""
    text = text.removeprefix("-").lstrip(" ([")
    ends = [match.end() for match in _UNIT_WORD.finditer(text[:80])][:3]
    for end in reversed(ends):
        unit = parse_unit(text[:end])
        if unit is not None:
            return unit, text[end:].strip(" .,;!)]")
    return None, text.strip(" .,;!)]")


def _takes_back(prose: str) -> bool:
    """Whether the words around a number deny, bound or weaken it."""
    return bool(_UNSAFE_SIGN.search(prose) or _LOOSE_DIGIT.search(prose)) or not _UNSAFE.isdisjoint(
        _LETTERS.findall(prose)
    )
