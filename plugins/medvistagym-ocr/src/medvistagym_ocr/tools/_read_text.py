"""The tool `read_text`: burned-in text, without what may identify a person."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from medvistagym_core.imaging import Image
from medvistagym_core.tools import tool
from medvistagym_ocr._deidentification import Reason, withholding_reason
from medvistagym_ocr._text_detection import detect_lines, displayed_frame, load_text_detector

SHOW_ALL_ENV_VAR: Final = "MEDVISTAGYM_OCR_SHOW_ALL"
TIMEOUT_S: Final = 120.0
MODALITIES: Final = ("US", "XA", "RF", "CR", "DX", "SC", "OT")
_MAX_LISTED: Final = 60
_LOW_CONFIDENCE: Final = 0.9


@tool(timeout_s=TIMEOUT_S, modalities=MODALITIES)
class ReadText:
    """Read the text burned into an image: measurements, scales, machine settings, side markers, names of structures.

    Use it when something written in the picture may help, and to learn whether a picture carries text that may identify a
    person: such lines are counted and located, but what they say is withheld.

    Args:
        image: The image to read.
        places_only: Whether to say only where text is and of what kind, and nothing of what it says.
    """

    def setup(self, device: str) -> None:
        self.detector = load_text_detector()
        self.shows_all = os.environ.get(SHOW_ALL_ENV_VAR, "") not in ("", "0")

    def run(self, image: Image, places_only: bool = False) -> tuple[str, dict[str, Any]]:
        source = displayed_frame(image)
        lines = detect_lines(source, self.detector)
        reasons = [withholding_reason(line.text) for line in lines]
        reported: list[dict[str, Any]] = []
        for line, reason in zip(lines, reasons, strict=True):
            withheld = places_only or (reason is not None and not self.shows_all)
            reported.append({
                "box": line.box(source),
                "text": None if withheld else line.text,
                "may_identify": reason,
                "confidence": line.confidence,
            })  # fmt: skip
        identifying = sum(reason is not None for reason in reasons)
        return _format_lines(reported, reasons), {"lines": reported, "may_identify": identifying}


def format_count(lines: int) -> str:
    """A number of lines as a phrase."""
    return f"{lines} line{'' if lines == 1 else 's'}"


def _format_lines(lines: Sequence[dict[str, Any]], reasons: Sequence[Reason | None]) -> str:
    if not lines:
        return "no text was found in this image"
    counts = Counter(reason for reason in reasons if reason is not None)
    summary = f"{format_count(len(lines))} of text"
    if counts:
        kinds = ", ".join(f"{n} {reason}" for reason, n in sorted(counts.items()))
        summary += f"; {counts.total()} may identify a person ({kinds})"
        summary += "" if any(line["may_identify"] and line["text"] for line in lines) else ", withheld"
    listed = [f"{line['box']} {_format_text(line)}" for line in lines[:_MAX_LISTED]]
    if len(lines) > _MAX_LISTED:
        listed.append(f"and {format_count(len(lines) - _MAX_LISTED)} more")
    return "\n".join([summary + ":", *listed])


def _format_text(line: dict[str, Any]) -> str:
    """What a line says, or of what kind it is."""
    if line["text"] is None:
        return f"({line['may_identify'] or 'setting, measurement or label'})"
    return f"{line['text']} (unsure)" if line["confidence"] < _LOW_CONFIDENCE else str(line["text"])
