"""The tools, one a file: `read_text` reads burned-in text, `hide_text` blacks it out.

They may use the detection of text, what decides whether a line is withheld, and the core.
"""

from medvistagym_ocr.tools._hide_text import HideText
from medvistagym_ocr.tools._read_text import ReadText

__all__ = ["HideText", "ReadText"]
