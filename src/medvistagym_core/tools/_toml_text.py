"""Parsing TOML of strangers, in time that grows linearly with the text."""

from __future__ import annotations

import re
import tomllib
from typing import Any, Final

MAX_TOML_CHARS: Final = 2**19
# Reading a dotted key takes the square of its parts.
_LONG_KEY: Final = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){40}""")


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML document.

    Raises:
        ValueError: It is no TOML, is nested too deeply, or is longer than any list of settings.
    """
    if len(text) > MAX_TOML_CHARS:
        raise ValueError(f"it has {len(text):,} characters, and {MAX_TOML_CHARS:,} is the most that is read")
    if _LONG_KEY.search(text):
        raise ValueError("a key of it has more than 40 parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
