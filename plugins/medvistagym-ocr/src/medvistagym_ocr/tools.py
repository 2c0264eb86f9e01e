"""The tools: `read_text` reads burned-in text, `hide_text` blacks it out.

They look at the finest pixels that an image was made from (`Image.detail`), of a stack at the frame that it shows.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, Literal

from medvistagym_core.imaging import BOX_GRID_SIZE, Image
from medvistagym_core.tools import tool
from medvistagym_ocr.disclosure import Reason, reason
from medvistagym_ocr.reading import MOST_PIXELS, Line, lines_of, reader

SHOW_ALL: Final = "MEDVISTAGYM_OCR_SHOW_ALL"
_TIMEOUT_S: Final = 120.0
_MOST_LINES: Final = 60
_UNSURE: Final = 0.9


@tool(timeout_s=_TIMEOUT_S, modalities=("US", "XA", "RF", "CR", "DX", "SC", "OT"))
class ReadText:
    """Read the text burned into an image: measurements, scales, machine settings, side markers, names of structures.

    Use it when something written in the picture may help, and to learn whether a picture carries text that may identify a
    person: such lines are counted and located, but what they say is withheld.

    Args:
        image: The image to read.
        places_only: Whether to say only where text is and of what kind, and nothing of what it says.
    """

    def setup(self, device: str) -> None:
        self.reader = reader()
        self.shows_all = os.environ.get(SHOW_ALL, "") not in ("", "0")

    def run(self, image: Image, places_only: bool = False) -> tuple[str, dict[str, Any]]:
        source = _shown(image)
        lines = lines_of(source, self.reader)
        reasons = [reason(line.text) for line in lines]
        said: list[dict[str, Any]] = []
        for line, why in zip(lines, reasons, strict=True):
            withheld = places_only or (why is not None and not self.shows_all)
            said.append({
                "box": _box(line, source),
                "text": None if withheld else line.text,
                "may_identify": why,
                "confidence": line.confidence,
            })  # fmt: skip
        warned = sum(why is not None for why in reasons)
        return _told(said, reasons, places_only=places_only), {"lines": said, "may_identify": warned}


@tool(timeout_s=_TIMEOUT_S, modalities=("US", "XA", "RF", "CR", "DX", "SC", "OT"))
class HideText:
    """Black out the text burned into an image, so that it does not tell who the patient is.

    Use it before a picture is shown to others, or when text distracts. It may miss faint or handwritten text: look at the
    result.

    Args:
        image: The image to hide text in; of a stack the frame that is shown.
        which: "all" text, or only what "may_identify" a person and not settings, measurements and markers.
    """

    def setup(self, device: str) -> None:
        self.reader = reader()

    def run(self, image: Image, which: Literal["all", "may_identify"] = "all") -> tuple[Image, str, dict[str, Any]]:
        source = _shown(image)
        # a window may hide text that another one shows
        found = lines_of(source, self.reader, in_any_window=True)
        lines = [line for line in found if which == "all" or reason(line.text) is not None]
        data = {"hidden": [_box(line, source) for line in lines], "left": len(found) - len(lines)}
        text = f"{_lines(len(lines))} of text hidden" if lines else "no text was found to hide"
        if data["left"]:
            text += f", {_lines(len(found) - len(lines))} left"
        return _without(source, lines), f"{text}; some may have been missed.", data


def _shown(image: Image) -> Image:
    """The finest pixels of an image, without what they were made from; of a stack, those of the frame that its view shows."""
    source = image.detail or image
    h, w = source.shape
    if h * w > MOST_PIXELS:
        raise ValueError(
            f"an image of {h * w:,} pixels is too large to read; zoom into a part, {MOST_PIXELS:,} at most"
        )
    source = source.replace(window=image.window, detail=None)
    if not source.is_stack:
        return source
    frame = source.frames // 2 if source.frame is None else source.frame
    return source.replace(
        pixels=source.pixels[frame],
        frame=None,
        spacing=None if source.spacing is None else source.spacing[-2:],
        attributes={**source.attributes, "frame": str(frame)},
    )


def _without(source: Image, lines: Sequence[Line]) -> Image:
    """The image with lines of text, and a margin, as dark as its darkest pixel; graphics there are taken out too."""
    import numpy as np

    pixels = source.pixels.copy()
    overlay = None if source.overlay is None else source.overlay.copy()
    if source.photometric == "RGB":
        dark = pixels.dtype.type(0)
    else:
        with np.errstate(invalid="ignore"):
            darkest = np.fmax.reduce if source.photometric == "MONOCHROME1" else np.fmin.reduce
            dark = darkest(source.pixels.ravel())
    for line in lines:
        margin = max(2, round(0.15 * min(line.x1 - line.x0, line.y1 - line.y0)))
        part = (slice(max(0, line.y0 - margin), line.y1 + margin), slice(max(0, line.x0 - margin), line.x1 + margin))
        pixels[part] = dark
        if overlay is not None:
            overlay[part] = False
    return source.replace(pixels=pixels, overlay=overlay)


def _box(line: Line, source: Image) -> list[int]:
    """The box of a line on the grid from 0 to 1000; it covers the line."""
    h, w = source.shape
    return [
        line.x0 * BOX_GRID_SIZE // w,
        line.y0 * BOX_GRID_SIZE // h,
        -(-line.x1 * BOX_GRID_SIZE // w),
        -(-line.y1 * BOX_GRID_SIZE // h),
    ]


def _told(said: Sequence[dict[str, Any]], reasons: Sequence[Reason | None], *, places_only: bool) -> str:
    if not said:
        return "no text was found in this image"
    counted = Counter(why for why in reasons if why is not None)
    text = f"{_lines(len(said))} of text"
    if counted:
        kinds = ", ".join(f"{n} {why}" for why, n in sorted(counted.items()))
        text += f"; {counted.total()} may identify a person ({kinds})"
        text += "" if any(line["may_identify"] and line["text"] for line in said) else ", withheld"
    told = []
    for line in said[:_MOST_LINES]:
        what = (
            line["text"] if line["text"] is not None else f"({line['may_identify'] or 'setting, measurement or label'})"
        )
        unsure = " (unsure)" if line["text"] is not None and line["confidence"] < _UNSURE else ""
        told.append(f"{line['box']} {what}{unsure}")
    if len(said) > _MOST_LINES:
        told.append(f"and {_lines(len(said) - _MOST_LINES)} more")
    return "\n".join([text + ":", *told])


def _lines(count: int) -> str:
    return f"{count} line{'' if count == 1 else 's'}"
