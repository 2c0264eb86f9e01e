"""Units of measurement: what they measure, and how many of the SI unit they are.

Read: metre, litre, gram, second, becquerel, gray, sievert, hertz, pascal, tesla, volt, ampere, electronvolt and mole with the
prefixes that are in use; inch, foot, minute to week, curie, mmHg, percent, degree and radian, Hounsfield unit; squares, cubes
and quotients of them ("cm2", "cubic millimetre", "kBq/ml", "mg per dl"). Twelve months are a year, but neither is a fixed
number of days; degrees Celsius and Fahrenheit have zeros of their own and convert to nothing else.

Symbols are read in their own case first ("MBq" is not "mBq"), then in any, where only one unit is meant.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator
from typing import Final

from medvistagym_core.environment.grading._normalize import fold_characters


@dataclasses.dataclass(frozen=True, slots=True)
class Unit:
    """A unit.

    Attributes:
        factor: How many of the dimension's own unit it is.
        dimension: What it measures: base quantities with their exponents, in alphabetical order.
    """

    factor: float
    dimension: tuple[tuple[str, int], ...]

    def conversion_to(self, other: Unit) -> float | None:
        """The factor from this unit to another; None when they measure different things."""
        return self.factor / other.factor if self.dimension == other.dimension else None


_PREFIXES: Final = {
    "T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3, "d": 1e-1, "c": 1e-2, "m": 1e-3, "μ": 1e-6, "u": 1e-6, "n": 1e-9,
}  # fmt: skip
_PREFIX_WORDS: Final = {
    "giga": 1e9, "mega": 1e6, "kilo": 1e3, "deci": 1e-1, "centi": 1e-2, "milli": 1e-3, "micro": 1e-6, "nano": 1e-9,
}  # fmt: skip

# Symbol, words for it, prefixes in use, what it measures (with exponent), how many of the dimension's own unit.
_SI: Final = (
    ("m", "metre meter", "kdcmμun", "length", 1, 1.0),
    ("l", "litre liter", "dcmμun", "length", 3, 1e-3),
    ("g", "gram gramme", "kmμun", "mass", 1, 1.0),
    ("s", "second sec", "mμun", "time", 1, 1.0),
    ("Bq", "becquerel", "TGMkm", "activity", 1, 1.0),
    ("Ci", "curie", "mμu", "activity", 1, 3.7e10),
    ("Gy", "gray", "kcmμu", "dose", 1, 1.0),
    ("Sv", "sievert", "mμu", "equivalent dose", 1, 1.0),
    ("Hz", "hertz", "GMk", "frequency", 1, 1.0),
    ("Pa", "pascal", "Mk", "pressure", 1, 1.0),
    ("T", "tesla", "m", "magnetic field", 1, 1.0),
    ("V", "volt", "km", "voltage", 1, 1.0),
    ("A", "ampere amp", "m", "current", 1, 1.0),
    ("eV", "electronvolt", "Mk", "energy", 1, 1.0),
    ("mol", "mole", "mμun", "amount", 1, 1.0),
)
_OTHER: Final = (
    ("in inch inches", "length", 1, 0.0254),
    ("ft foot feet", "length", 1, 0.3048),
    ("micron microns", "length", 1, 1e-6),
    ("cc ccm", "length", 3, 1e-6),
    ("min mins minute minutes", "time", 1, 60.0),
    ("h hr hrs hour hours", "time", 1, 3600.0),
    ("d day days", "time", 1, 86400.0),
    ("wk wks week weeks", "time", 1, 604800.0),
    ("mo mos month months", "calendar", 1, 1.0),
    ("y yr yrs year years yo y/o", "calendar", 1, 12.0),
    ("% percent pct", "share", 1, 0.01),
    ("° deg degs degree degrees", "angle", 1, 1.0),
    ("rad radian radians", "angle", 1, 57.29577951308232),
    ("°c celsius", "celsius", 1, 1.0),
    ("°f fahrenheit", "fahrenheit", 1, 1.0),
    ("hu", "attenuation", 1, 1.0),
    ("mmhg", "pressure", 1, 133.322387415),
    ("bpm", "heart rate", 1, 1.0),
    ("db", "level", 1, 1.0),
    ("px pixel pixels", "pixels", 1, 1.0),
    ("voxel voxels", "voxels", 1, 1.0),
)
_PHRASES: Final = (
    (re.compile(r"\bhounsfield units?\b"), "hu"),
    (re.compile(r"\bper cent\b"), "%"),
    (re.compile(r"(?:\bdegrees?|°) (celsius|fahrenheit)\b"), r"\1"),
    (re.compile(r"\bmm hg\b"), "mmhg"),
    (re.compile(r"\by/o\b|\byears? old\b"), "years"),
)
_PER: Final = re.compile(r"\s?/\s?| per ")
_POWERED: Final = re.compile(
    r"(square |sq\.? |cubic |cu\.? )?([^\W\d_]{1,20}|[%°])(?:\s?\^?\s?([23])| (squared|cubed))?"
)


def _names() -> Iterator[tuple[str, Unit]]:
    for symbol, words, prefixes, quantity, power, factor in _SI:
        dimension = ((quantity, power),)
        for prefix in ("", *prefixes):
            scale = _PREFIXES.get(prefix, 1.0) * factor
            yield prefix + symbol, Unit(scale, dimension)
            if symbol == "l":
                yield prefix + "L", Unit(scale, dimension)
        for word in words.split():
            for prefix, scale in {"": 1.0, **_PREFIX_WORDS}.items():
                yield from ((prefix + form, Unit(scale * factor, dimension)) for form in (word, word + "s"))
    for names, quantity, power, factor in _OTHER:
        yield from ((name, Unit(factor, ((quantity, power),))) for name in names.split())


_BY_NAME: Final = dict(_names())


def _without_ambiguous() -> dict[str, Unit]:
    folded: dict[str, set[Unit]] = {}
    for name, unit in _BY_NAME.items():
        folded.setdefault(name.casefold(), set()).add(unit)
    return {name: next(iter(units)) for name, units in folded.items() if len(units) == 1}


_BY_FOLDED_NAME: Final = _without_ambiguous()


@functools.lru_cache(1024)
def parse_unit(name: str) -> Unit | None:
    """The unit of that name; None when there is none.

    >>> parse_unit("kBq/ml").conversion_to(parse_unit("Bq/ml"))
    1000.0
    """
    name = " ".join(fold_characters(name).split()).strip(" .,;")
    if len(name) > 60:
        return None
    folded = name.casefold()
    for pattern, symbol in _PHRASES:
        if pattern.search(folded):
            name = folded = pattern.sub(symbol, folded)
    factor, dimension = 1.0, dict[str, int]()
    for index, part in enumerate(_PER.split(name)):
        unit = _parse_power(part)
        if unit is None:
            return None
        sign = -1 if index else 1
        factor *= unit.factor**sign
        for quantity, power in unit.dimension:
            dimension[quantity] = dimension.get(quantity, 0) + sign * power
    return Unit(factor, tuple(sorted((quantity, power) for quantity, power in dimension.items() if power)))


def _parse_power(name: str) -> Unit | None:
    unit = _BY_NAME.get(name) or _BY_FOLDED_NAME.get(name.casefold())
    if unit is not None:
        return unit
    match = _POWERED.fullmatch(name) or _POWERED.fullmatch(name.casefold())
    if match is None:
        return None
    unit = _BY_NAME.get(match[2]) or _BY_FOLDED_NAME.get(match[2].casefold())
    if unit is None or unit.dimension[0][1] != 1:
        return None
    words = {"sq": 2, "square": 2, "cu": 3, "cubic": 3, "squared": 2, "cubed": 3}
    power = int(match[3] or words.get((match[1] or match[4] or "").strip(" ."), 1))
    if match[1] and (match[3] or match[4]):
        return None
    return Unit(unit.factor**power, ((unit.dimension[0][0], power),))
