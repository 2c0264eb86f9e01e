"""Grading: is a text the right answer?

Strict on purpose. A text is right when it *is* the answer, not when it contains it: "nodule is seen" is not "no", "upper left
or upper right" is neither, a list of all options is none of them. Texts are compared after `normalise`, the normalisation of
SQuAD (Rajpurkar et al. 2016: lower case, no articles, no punctuation, single spaces) with Unicode compatibility forms folded
and the signs and decimal points of numbers kept.

"yes_no" is the closed question of VQA-RAD (Lau et al. 2018): the word alone, or at the head of a text that does not take it
back. "choice" takes the letter or the text of an option, as multiple-choice benchmarks do (MMMU, Yue et al. 2024), but finds
no letters inside prose. A "number" is compared in the unit of the answer, converted where both units measure the same, within
a tolerance that the case sets; a text with several numbers states none.

A "set" is right when it is the same items; its credit is the F1 of the items. A "box" is right when it overlaps the right
one enough: intersection over union (Jaccard) of 0.5 at least, as in PASCAL VOC (Everingham et al. 2010). A free "text" is
right when the F1 of its words (SQuAD) is at least 0.8, for which there is no convention; and since a bag of words does not
notice that one word turns a finding round, a text that negates where the right one does not, or says left for right, has no
credit at all.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from medvistagym_core.environment import Answer


@dataclasses.dataclass(frozen=True)
class Grade:
    """How an answer compares with the right one.

    Attributes:
        correct: Whether it is right.
        abstained: Whether it is the task's way of saying "I cannot tell", and that is not the right answer.
        answered: Whether there was an answer at all.
        credit: How right it is, in 0 to 1: the F1 of a set or text, the overlap of a box, else 1 or 0.
    """

    correct: bool = False
    abstained: bool = False
    answered: bool = True
    credit: float = 0.0

    def __post_init__(self) -> None:
        if self.correct and not self.credit:
            object.__setattr__(self, "credit", 1.0)

    @property
    def wrong(self) -> bool:
        """Neither right nor an abstention; no answer at all is wrong."""
        return not (self.correct or self.abstained)


_RIGHT: Final = Grade(correct=True)  # one of each is enough, and most are
_WRONG: Final = Grade()


def grade(answer: Answer, text: str | None, *, options: Sequence[str] = (), abstention: str | None = None) -> Grade:
    """Compare what a policy answered with the right answer.

    Args:
        answer: The right answer; its `kind` decides how texts are compared, and any of its `aliases` is as right.
        text: What the policy answered; None when it gave no answer.
        options: The case's options in the order shown, for "choice": the letter or the text of the right one counts.
        abstention: The task's word for "I cannot tell".

    Raises:
        ValueError: The right answer itself is no answer of its kind, or the kind is unknown.
    """
    judge = _JUDGES.get(answer.kind)
    if judge is None:
        raise ValueError(f"the answer kind {answer.kind!r} is not one of {', '.join(_JUDGES)}")
    if text is None:
        return Grade(answered=False)
    least = _THRESHOLDS.get(answer.kind, 1.0) if answer.threshold is None else answer.threshold
    if not 0 < least <= 1:
        raise ValueError(f"the threshold of an answer is above 0 and at most 1, not {least}")
    credit = float(judge(answer, text, options))
    for alias in answer.aliases if credit < 1 else ():
        credit = max(credit, float(judge(dataclasses.replace(answer, value=alias), text, options)))
    correct = credit >= least
    if correct and credit == 1:
        return _RIGHT
    abstained = not correct and abstention is not None and normalise(text) == normalise(abstention)
    if not (correct or abstained or credit):
        return _WRONG
    return Grade(correct=correct, abstained=abstained, credit=0.0 if abstained else credit)


_ARTICLES: Final = re.compile(r"\b(?:a|an|the)\b")
_SEPARATORS: Final = re.compile(r"(?<=\d),(?=\d{3}(?!\d))|\.(?!\d)|[^\w\s.+%-]")
_LOOSE_SIGNS: Final = re.compile(r"(?<=\w)[-+]|[-+](?!\s*\.?\d)")


@functools.lru_cache(4096)
def normalise(text: str) -> str:
    """Lower case, without punctuation and articles, single spaces; signs and decimal points of numbers stay.

    >>> normalise("The upper-left  lobe.")
    'upper left lobe'
    """
    text = unicodedata.normalize("NFKC", text).replace("−", "-").casefold()
    text = _SEPARATORS.sub(lambda m: "" if m.group() == "," else " ", text)
    text = _LOOSE_SIGNS.sub(" ", text).replace("_", " ")
    bare = " ".join(_ARTICLES.sub(" ", text).split())
    return bare or " ".join(text.split())


# -- one judge a kind: (right answer, text, options) -> how right it is, in 0 to 1


def _exact(answer: Answer, text: str, options: Sequence[str]) -> bool:
    return normalise(text) == normalise(answer.value)


_POLARITY: Final = {"yes": True, "y": True, "true": True, "no": False, "n": False, "false": False}
_FIRST_WORD: Final = re.compile(r"\W*([a-z]+)\s*(?:$|[,.;:!\n])", re.IGNORECASE)


def _polarity(text: str) -> bool | None:
    """Yes or no, when the text is that word, or opens with it as a clause of its own and does not take it back."""
    head = _FIRST_WORD.match(text)
    said = _POLARITY.get(head.group(1).casefold()) if head else None
    if head is None or said is None:
        return None
    rest = {_POLARITY.get(word) for word in normalise(text[head.end() :]).split()}
    return None if (not said) in rest else said


def _yes_no(answer: Answer, text: str, options: Sequence[str]) -> bool:
    expected = _polarity(answer.value)
    if expected is None:
        raise ValueError(f"the answer {answer.value!r} of a yes/no question is not yes or no")
    return _polarity(text) is expected


_LETTERED: Final = re.compile(r"\s*(?:option\s+)?\(?([a-z])(?:[).:]+\s*|\s+-\s+|\s*$)(.*)\Z", re.IGNORECASE | re.DOTALL)


def _choice(answer: Answer, text: str, options: Sequence[str]) -> bool:
    if not options:
        return _exact(answer, text, options)
    texts = [normalise(option) for option in options]
    expected = _option(answer.value, texts)
    if expected is None:
        raise ValueError(f"the answer {answer.value!r} is none of the options {list(options)}")
    return _option(text, texts) == expected


def _option(text: str, options: Sequence[str]) -> int | None:
    """Which option a text names, by its words, by its letter, or by both when they agree."""
    plain = normalise(text)
    if plain in options:
        return options.index(plain)
    lettered = _LETTERED.match(text)
    if lettered is None:
        return None
    index = ord(lettered.group(1).casefold()) - ord("a")
    words = normalise(lettered.group(2))
    return index if index < len(options) and words in ("", options[index]) else None


_NUMBER: Final = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:[.,]\d+)?|\.\d+)(?:e[-+]?\d+)?", re.IGNORECASE)
_DIGITS: Final = re.compile(r"-?[0-9]{1,99}(?:\.[0-9]{1,99})?")
_HEDGE: Final = re.compile(r"(?:(?:it is|is|about|approximately|approx\.?|around|roughly|ca\.?|circa)\s+|[~≈=:]\s*)*\Z")
_WORDS: Final = dict(
    zip(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"],
        range(13),
        strict=True,
    )
)
# Unit -> (what it measures, how many of that dimension's first unit it is).
_UNITS: Final[Mapping[str, tuple[str, float]]] = {
    "mm": ("length", 1.0), "cm": ("length", 10.0), "m": ("length", 1000.0), "um": ("length", 1e-3), "µm": ("length", 1e-3),
    "mm2": ("area", 1.0), "cm2": ("area", 100.0), "m2": ("area", 1e6),
    "mm3": ("volume", 1.0), "cm3": ("volume", 1000.0), "cc": ("volume", 1000.0), "ml": ("volume", 1000.0),
    "l": ("volume", 1e6), "dl": ("volume", 1e5), "ul": ("volume", 1.0), "µl": ("volume", 1.0),
    "%": ("share", 0.01), "percent": ("share", 0.01), "per cent": ("share", 0.01),
    "hu": ("attenuation", 1.0), "hounsfield units": ("attenuation", 1.0), "hounsfield unit": ("attenuation", 1.0),
    "deg": ("angle", 1.0), "°": ("angle", 1.0), "degree": ("angle", 1.0), "degrees": ("angle", 1.0),
    "millimetre": ("length", 1.0), "millimetres": ("length", 1.0), "millimeter": ("length", 1.0),
    "millimeters": ("length", 1.0), "centimetre": ("length", 10.0), "centimetres": ("length", 10.0),
    "centimeter": ("length", 10.0), "centimeters": ("length", 10.0),
}  # fmt: skip


def _number(answer: Answer, text: str, options: Sequence[str]) -> bool:
    expected = _quantity(answer.value)
    if expected is None:
        raise ValueError(f"the answer {answer.value!r} of a question for a number is not one")
    right, unit = expected[0], _unit(answer.unit or expected[1])
    given = _quantity(text)
    if given is None:
        return False
    value = given[0]
    if unit and given[1]:
        said = _unit(given[1])
        factor = 1.0 if said == unit else _factor(said, unit)
        if factor is None:
            return False
        value *= factor
    slack = answer.tolerance if answer.tolerance is not None else 0.0
    # A decimal such as 0.3 is not exact in binary; the tolerance's own bound still counts as within.
    return abs(value - right) <= slack + 1e-9 * max(1.0, abs(right), abs(value))


@functools.lru_cache(4096)
def _quantity(text: str) -> tuple[float, str] | None:
    """The one number that a text states, and the unit words after it; None when it states none or several."""
    if _DIGITS.fullmatch(text):  # as most do, which is seen at once
        return float(text), ""
    text = unicodedata.normalize("NFKC", text.replace("²", "2").replace("³", "3")).replace("−", "-").strip().casefold()
    found = _NUMBER.search(text)
    if found is None:
        first, _, unit = text.partition(" ")
        first = first.strip(".,")
        return (float(_WORDS[first]), unit.strip(" .")) if first in _WORDS else None
    before, after = text[: found.start()], text[found.end() :]
    unit = after.strip().rstrip(".!;,").strip()
    if not _HEDGE.match(before) or any(c.isdigit() for c in unit.removesuffix("2").removesuffix("3")):
        return None
    digits = found.group()
    if re.fullmatch(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?(?:e[-+]?\d+)?", digits):
        digits = digits.replace(",", "")
    number = float(digits.replace(",", "."))
    return (number, unit) if math.isfinite(number) else None


@functools.lru_cache(256)
def _unit(name: str) -> str:
    name = unicodedata.normalize("NFKC", name).casefold().replace("μ", "µ").strip()
    return name.replace("^", "").replace("²", "2").replace("³", "3")


def _factor(said: str, wanted: str) -> float | None:
    """How many `wanted` one `said` is; None when they do not measure the same."""
    if said not in _UNITS or wanted not in _UNITS or _UNITS[said][0] != _UNITS[wanted][0]:
        return None
    return _UNITS[said][1] / _UNITS[wanted][1]


_ITEMS: Final = re.compile(r"[;\n]")
_COMMAS: Final = re.compile(r",\s*(?:and\s+)?|\s+and\s+|\s*&\s*", re.IGNORECASE)
_BULLET: Final = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+")


def _items(text: str, options: Sequence[str]) -> frozenset[str]:
    """The items of a list, apart by semicolons or lines where it has any, else by commas and "and"; options by letter too."""
    parts = _ITEMS.split(text) if _ITEMS.search(text.strip()) else _COMMAS.split(text)
    texts = [normalise(option) for option in options]
    found = set()
    for part in (_BULLET.sub("", part) for part in parts):
        index = _option(part, texts) if texts else None
        found.add(normalise(part) if index is None else texts[index])
    return frozenset(found - {""})


def _set(answer: Answer, text: str, options: Sequence[str]) -> float:
    right, given = _items(answer.value, options), _items(text, options)
    if not right:
        raise ValueError(f"the answer {answer.value!r} of a question for several items names none")
    return 2 * len(right & given) / (len(right) + len(given))


_SIDE: Final = r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)"
_BOX: Final = re.compile(
    rf"(?:(?:the\s+)?(?:bounding\s+)?b?box(?:\s+is)?\s*:?\s*)?([\[(]?)\s*({_SIDE})(?:\s*,\s*|\s+)({_SIDE})(?:\s*,\s*|\s+)({_SIDE})"
    rf"(?:\s*,\s*|\s+)({_SIDE})\s*([\])]?)\.?",
    re.IGNORECASE,
)


def _corners(text: str) -> tuple[float, float, float, float] | None:
    """The one box that a text is, on the 0-1000 grid; None when it is anything else."""
    found = _BOX.fullmatch(unicodedata.normalize("NFKC", text).strip())
    if found is None or found[1] + found[6] not in ("", "[]", "()"):
        return None
    x0, y0, x1, y1 = (float(found[k]) for k in range(2, 6))
    return (x0, y0, x1, y1) if 0 <= x0 < x1 <= 1000 and 0 <= y0 < y1 <= 1000 else None


def _box(answer: Answer, text: str, options: Sequence[str]) -> float:
    right, given = _corners(answer.value), _corners(text)
    if right is None:
        raise ValueError(
            f"the answer {answer.value!r} of a question for a box is not [x0, y0, x1, y1] within 0 to 1000"
        )
    if given is None:
        return 0.0
    width = min(right[2], given[2]) - max(right[0], given[0])
    height = min(right[3], given[3]) - max(right[1], given[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (sum((b[2] - b[0]) * (b[3] - b[1]) for b in (right, given)) - shared)


_NEGATIONS: Final = frozenset(
    ("no", "not", "without", "never", "none", "neither", "nor", "absent", "absence", "negative", "cannot", "free")
)
_OPPOSITES: Final = tuple(
    frozenset(pair.split())
    for pair in (
        "left right", "upper lower", "superior inferior", "anterior posterior", "medial lateral", "proximal distal",
        "benign malignant", "normal abnormal", "increased decreased", "larger smaller", "acute chronic", "present absent",
        "hyperdense hypodense", "hyperintense hypointense", "unilateral bilateral",
    )
)  # fmt: skip


def _text(answer: Answer, text: str, options: Sequence[str]) -> float:
    right, given = normalise(answer.value).split(), normalise(text).split()
    if not right:
        raise ValueError("the answer of a question for a free text has no words")
    if bool(_NEGATIONS & set(right)) != bool(_NEGATIONS & set(given)):
        return 0.0
    if any(
        len(pair & set(right)) == len(pair & set(given)) == 1 and pair.isdisjoint(set(right) & set(given))
        for pair in _OPPOSITES
    ):
        return 0.0
    shared = sum((Counter(right) & Counter(given)).values())
    return 2 * shared / (len(right) + len(given))


_THRESHOLDS: Final[Mapping[str, float]] = {"box": 0.5, "text": 0.8}
_JUDGES: Final[Mapping[str, Callable[[Answer, str, Sequence[str]], float]]] = {
    "exact": _exact,
    "yes_no": _yes_no,
    "choice": _choice,
    "number": _number,
    "set": _set,
    "box": _box,
    "text": _text,
}
