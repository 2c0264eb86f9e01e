"""Python values as JSON can hold them, and text that any file or tokenizer can."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

MAX_DEPTH: Final = 32


def to_json_value(value: Any, depth: int = 0) -> Any:
    """A copy of a value in JSON's own types.

    Tuples and sets become lists, numpy scalars and arrays Python numbers and lists, pydantic models dicts, numbers that are
    not finite None; lone surrogates in text are replaced.

    Raises:
        TypeError: A part, or a key, is of a type without JSON form; the message names it.
        ValueError: It is nested deeper than `MAX_DEPTH`.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return encodable_text(value)
    if depth >= MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        keys = [key for key in value if not isinstance(key, str)]
        if keys:
            raise TypeError(f"a key is {type(keys[0]).__name__}, not text")
        return {encodable_text(key): to_json_value(part, depth + 1) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json_value(part, depth + 1) for part in value]
    if hasattr(value, "model_dump"):
        return to_json_value(value.model_dump(mode="json"), depth + 1)
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return to_json_value(value.tolist(), depth + 1)
    raise TypeError(f"a value is {type(value).__name__}")


def encodable_text(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot hold, replaced by question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
