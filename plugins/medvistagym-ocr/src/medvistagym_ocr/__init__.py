"""Text burned into pictures: read what is harmless, withhold and hide what may identify a person.

The tools; uses the core alone. For research only; nothing here is for clinical use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from medvistagym_core import Tool, hookimpl
from medvistagym_ocr.tools import HideText, ReadText

__all__ = ["HideText", "ReadText"]
__version__ = "0.1.0"


@hookimpl
def medvistagym_tools() -> Sequence[Tool]:
    """The tools."""
    return cast(list[Tool], [ReadText, HideText])
