"""JSON as text: read strictly, or as a Python literal where it is not JSON. Time grows linearly with the text."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _parse_finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is too large")
    return number


JSON_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_parse_finite)
"""Reads JSON as its standard has it: no NaN, no infinity, no number that becomes one."""

# A quote that is never closed takes the rest of the text, so that no place is looked at twice.
_PYTHON_TOKEN: Final = re.compile(
    r""" "(?:[^"\\]|\\.)*+"? | '(?P<single>(?:[^'\\]|\\.)*+)'? | \b(?P<word>True|False|None)\b | (?P<paren>[()]) """,
    re.VERBOSE | re.DOTALL,
)
MAX_LITERAL_CHARS: Final = 65_536
"""Python literals longer than that are not read, so that a long text costs no more than its JSON."""
_WORDS: Final = {"True": "true", "False": "false", "None": "null"}
_PARENTHESES: Final = {"(": "[", ")": "]"}


def python_to_json(text: str) -> str:
    """The text of Python literals as JSON text: True, False, None, 'single quotes' and (tuples); the rest stays as it is.

    What is neither JSON nor a Python literal stays what it is, so that the JSON decoder says what is wrong with it.
    """

    def replace(token: re.Match[str]) -> str:
        if token["single"] is not None:
            return '"' + re.sub(r"\\(.)|(\")", _requote, token["single"], flags=re.DOTALL) + '"'
        return _WORDS.get(token["word"], "") or _PARENTHESES.get(token["paren"], "") or token[0]

    return _PYTHON_TOKEN.sub(replace, text)


def _requote(part: re.Match[str]) -> str:
    if part[2]:
        return '\\"'
    return "'" if part[1] == "'" else part[0]


_MAX_VALUE_BYTES: Final = 2**28
_MAX_EXPANSION: Final = 20
_OBJECT_BYTES, _ARRAY_BYTES, _MEMBER_BYTES = 184, 64, 40


def parse_document(content: bytes | str) -> Any:
    """The value of a JSON document of others; bytes are in UTF-8, with or without a byte-order mark.

    A document of nothing but brackets takes thirty times its size when it is read. What would take more than 256 MiB, and
    more than twenty times its size, is refused before.

    Raises:
        ValueError: It is no JSON, is nested too deeply, or would take too much memory.
    """
    count: Any = content.count if isinstance(content, str) else lambda sign: content.count(sign.encode())
    held = count("{") * _OBJECT_BYTES + count("[") * _ARRAY_BYTES + count(",") * _MEMBER_BYTES
    if held > max(_MAX_VALUE_BYTES, _MAX_EXPANSION * len(content)):
        raise ValueError(f"its {len(content):,} bytes would take {held / 2**20:,.0f} MiB to read")
    try:
        return json.loads(content if isinstance(content, str) else content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not in UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_literal(text: str) -> Any:
    """The value of JSON text, or of a Python literal.

    Raises:
        ValueError: It is neither, is nested too deeply, or is a Python literal longer than `MAX_LITERAL_CHARS`.
    """
    text = text.strip()
    try:
        return JSON_DECODER.decode(text)
    except ValueError:
        if len(text) > MAX_LITERAL_CHARS:
            raise
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    try:
        return JSON_DECODER.decode(python_to_json(text))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
