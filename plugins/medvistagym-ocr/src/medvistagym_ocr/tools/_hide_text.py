"""The tool `hide_text`: burned-in text blacked out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from medvistagym_core.imaging import Image, darkest_value
from medvistagym_core.tools import tool
from medvistagym_ocr._deidentification import withholding_reason
from medvistagym_ocr._text_detection import TextLine, detect_lines, displayed_frame, load_text_detector
from medvistagym_ocr.tools._read_text import MODALITIES, TIMEOUT_S, format_count


@tool(timeout_s=TIMEOUT_S, modalities=MODALITIES)
class HideText:
    """Black out the text burned into an image, so that it does not tell who the patient is.

    Use it before a picture is shown to others, or when text distracts. It may miss faint or handwritten text: look at the
    result.

    Args:
        image: The image to hide text in; of a stack the frame that is shown.
        which: "all" text, or only what "may_identify" a person and not settings, measurements and markers.
    """

    def setup(self, device: str) -> None:
        self.detector = load_text_detector()

    def run(self, image: Image, which: Literal["all", "may_identify"] = "all") -> tuple[Image, str, dict[str, Any]]:
        source = displayed_frame(image)
        # a window may hide text that another one shows
        lines = detect_lines(source, self.detector, in_any_window=True)
        hidden = [line for line in lines if which == "all" or withholding_reason(line.text) is not None]
        left = len(lines) - len(hidden)
        text = f"{format_count(len(hidden))} of text hidden" if hidden else "no text was found to hide"
        if left:
            text += f", {format_count(left)} left"
        data = {"hidden": [line.box(source) for line in hidden], "left": left}
        return _black_out(source, hidden), f"{text}; some may have been missed.", data


def _black_out(source: Image, lines: Sequence[TextLine]) -> Image:
    """The image with lines of text, and a margin, as dark as its darkest pixel; graphics there are taken out too."""
    pixels = source.pixels.copy()
    overlay = None if source.overlay is None else source.overlay.copy()
    dark = darkest_value(source)
    for line in lines:
        margin = max(2, round(0.15 * min(line.x1 - line.x0, line.y1 - line.y0)))
        rows, columns = (
            slice(max(0, line.y0 - margin), line.y1 + margin),
            slice(max(0, line.x0 - margin), line.x1 + margin),
        )
        pixels[rows, columns] = dark
        if overlay is not None:
            overlay[rows, columns] = False
    return source.replace(pixels=pixels, overlay=overlay, window="keep")
