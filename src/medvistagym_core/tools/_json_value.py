"""Python values as JSON can hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from medvistagym_core.tools._safe_text import encodable_text

MAX_DEPTH: Final = 32
MAX_VALUES: Final = 200_000
"""Most values in one JSON value, over all its lists and objects."""
MAX_INTEGER_DIGITS: Final = 4000
"""Digits of the longest whole number; Python itself reads no more than 4300 from text."""


def to_json_value(value: Any) -> Any:
    """A copy of a value in JSON's own types.

    Tuples and sets become lists, numpy scalars and arrays Python numbers and lists, pydantic models dicts, numbers that are
    not finite None; lone surrogates in text are replaced.

    Raises:
        TypeError: A part, or a key, is of a type without JSON form; the message names it.
        ValueError: It is nested deeper than `MAX_DEPTH`, holds more than `MAX_VALUES`, or a number of too many digits.
    """
    return _convert(value, 0, [MAX_VALUES])


def copy_json_value(value: Any) -> Any:
    """A copy of a JSON value that shares no list or object with it."""
    if isinstance(value, dict):
        return {name: copy_json_value(part) for name, part in value.items()}
    return [copy_json_value(part) for part in value] if isinstance(value, list) else value


def _convert(value: Any, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise ValueError(f"it holds more than {MAX_VALUES} values")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        number = int.__pos__(value)  # of a subclass, such as an enumeration's, the number itself
        if number.bit_length() > MAX_INTEGER_DIGITS * 3:
            raise ValueError("a number has too many digits")
        return number
    if isinstance(value, float):
        return float.__pos__(value) if math.isfinite(value) else None
    if isinstance(value, str):
        return encodable_text(str.__str__(value))
    if depth >= MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        keys = [key for key in value if not isinstance(key, str)]
        if keys:
            raise TypeError(f"a key is {type(keys[0]).__name__}, not text")
        return {encodable_text(str.__str__(key)): _convert(part, depth + 1, left) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_convert(part, depth + 1, left) for part in value]
    if hasattr(value, "model_dump"):
        return _convert(value.model_dump(mode="json"), depth + 1, left)
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        if getattr(value, "size", 1) > MAX_VALUES:
            raise ValueError(f"it holds more than {MAX_VALUES} values")
        return _convert(value.tolist(), depth + 1, left)
    raise TypeError(f"a value is {type(value).__name__}")
