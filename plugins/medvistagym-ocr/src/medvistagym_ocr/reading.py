"""Finding and reading lines of text in a picture, by the PP-OCR networks that the package `rapidocr` holds.

Source: PP-OCR, Li et al., arXiv 2206.03001 and its successors; the ONNX files of rapidocr 3.10 (Apache-2.0). Each file is named
here, so that rapidocr does not look for one: it would download what it does not find.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import threading
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging import Image

if TYPE_CHECKING:
    import numpy as np

MOST_PIXELS: Final = 2**26
_FILES: Final = {
    "Det": "PP-OCRv6_det_small.onnx",
    "Cls": "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
    "Rec": "PP-OCRv6_rec_small.onnx",
}
_SHORT: Final = 736  # the shorter side that the detector was made for
_ENLARGED: Final = 3.0  # at most; more costs time and shows nothing new
_LONG: Final = 1600  # bounds memory (0.8 GB) and time
_WIDE: Final = 1000
_MARGIN: Final = 16  # around the picture, for text that touches its border
_STEP: Final = 32  # the detector takes multiples of it
_LEAST: Final = 5  # pixels; no letter is lower
_SURE: Final = 0.5
_COVERED: Final = 0.7
_MOST_OF_IT: Final = 0.4  # a "letter" as high and wide as this part of the picture is a shape in it


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of text.

    Attributes:
        text: What it says.
        confidence: 0 to 1.
        x0: Left edge in pixels of the picture; the others likewise, of the upright rectangle that holds it.
        y0: Upper edge.
        x1: Right edge, exclusive.
        y1: Lower edge, exclusive.
    """

    text: str
    confidence: float
    x0: int
    y0: int
    x1: int
    y1: int


class Reader:
    """Reads pictures, each on one thread; called from more threads than there are cores, it lets some wait, to save memory."""

    def __init__(self) -> None:
        from rapidocr import RapidOCR

        folder = Path(str(distribution("rapidocr").locate_file("rapidocr"))) / "models"
        missing = [name for name in _FILES.values() if not (folder / name).is_file()]
        if missing:
            raise RuntimeError(
                f"the installed rapidocr holds no {missing[0]}; 3.10.0 does: pip install rapidocr==3.10.0"
            )
        self._turns = threading.BoundedSemaphore(os.cpu_count() or 1)
        self._read = RapidOCR(
            params={
                **{f"{part}.model_path": str(folder / name) for part, name in _FILES.items()},
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                "Det.limit_type": "max",  # sizes are settled here
                "Det.limit_side_len": 2 * _LONG,
                "Global.use_preprocess_img": False,
                "Global.use_vertical_padding": False,
                "Global.text_score": _SURE,
                "Global.log_level": "critical",  # its log would hold what it reads
            }
        )

    def lines(self, picture: np.ndarray) -> list[Line]:
        """The lines of text in a uint8 picture `(H, W)` or `(H, W, 3)`, in no order."""
        import cv2

        h, w = picture.shape[:2]
        if min(h, w) < _LEAST:
            return []
        # the networks were trained on BGR
        colours = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR if picture.ndim == 2 else cv2.COLOR_RGB2BGR)
        scale = min(max(1.0, _SHORT / min(h, w)), _ENLARGED, _LONG / max(h, w))
        lines = self._pass(colours, scale)
        if scale * max(h, w) > _WIDE:  # single large letters, such as side markers, are found in small pictures only
            lines = together(lines, self._pass(colours, _SHORT / max(h, w)))
        return lines

    def _pass(self, colours: np.ndarray, scale: float) -> list[Line]:
        import cv2
        import numpy as np

        h, w = colours.shape[:2]
        height, width = max(1, round(h * scale)), max(1, round(w * scale))
        sized = cv2.resize(colours, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        rest = [_MARGIN + -(n + 2 * _MARGIN) % _STEP for n in (height, width)]
        padded = cv2.copyMakeBorder(sized, _MARGIN, rest[0], _MARGIN, rest[1], cv2.BORDER_REPLICATE)
        with self._turns:
            found: Any = self._read(padded)
        if found.boxes is None:
            return []
        lines = []
        for corners, text, confidence in zip(found.boxes, found.txts, found.scores, strict=True):
            xs, ys = ((np.asarray(corners)[:, axis] - _MARGIN) / (width / w, height / h)[axis] for axis in (0, 1))
            x0, y0 = max(0, int(np.floor(xs.min()))), max(0, int(np.floor(ys.min())))
            x1, y1 = min(w, int(np.ceil(xs.max()))), min(h, int(np.ceil(ys.max())))
            if x0 < x1 and y0 < y1 and not (x1 - x0 > _MOST_OF_IT * w and y1 - y0 > _MOST_OF_IT * h):
                lines.append(Line(str(text).strip(), round(float(confidence), 3), x0, y0, x1, y1))
        return lines


@functools.cache
def reader() -> Reader:
    """The reader of this process: what it loads is loaded once."""
    return Reader()


def lines_of(image: Image, read: Reader, *, in_any_window: bool = False) -> list[Line]:
    """The lines in an image, from top to bottom and left to right, in pixels of the image.

    Args:
        image: A single frame.
        read: What reads.
        in_any_window: Whether to read not only the picture as it is shown, but also the full range of its values.
    """
    import numpy as np

    pictures = [image.view()]
    if in_any_window and image.window is not None:
        full = image.replace(window=None).view()
        if not np.array_equal(full, pictures[0]):
            pictures.append(full)
    lines: list[Line] = []
    for picture in pictures:
        lines = together(lines, read.lines(picture))
    return _in_reading_order(lines)


def together(lines: list[Line], others: list[Line]) -> list[Line]:
    """The lines, and those of the others that they do not cover already."""
    return [
        *lines,
        *(other for other in others if sum(_common(other, line) for line in lines) < _COVERED * _area(other)),
    ]


def _area(line: Line) -> int:
    return (line.x1 - line.x0) * (line.y1 - line.y0)


def _common(a: Line, b: Line) -> int:
    """The area that two lines share."""
    across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(0, across) * max(0, down)


def _in_reading_order(lines: list[Line]) -> list[Line]:
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.y0 + line.y1):
        first = rows[-1][0] if rows else None
        if first is not None and line.y0 + line.y1 < 2 * first.y1:  # its middle lies above the row's lower edge
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda line: (line.x0, line.y0))]
