"""Detecting and reading lines of text in a picture, by the PP-OCR networks that the package `rapidocr` holds.

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

from medvistagym_core.imaging import BOX_GRID_SIZE, Image, full_resolution_frame

if TYPE_CHECKING:
    import numpy as np

MAX_PIXELS: Final = 2**26
_FILES: Final = {
    "Det": "PP-OCRv6_det_small.onnx",
    "Cls": "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
    "Rec": "PP-OCRv6_rec_small.onnx",
}
_SHORT_SIDE: Final = 736  # the shorter side that the detector was made for
_MAX_ENLARGEMENT: Final = 3.0  # more costs time and shows nothing new
_MAX_LONG_SIDE: Final = 1600  # bounds memory (0.8 GB) and time
_SECOND_PASS_SIDE: Final = 1000
_MARGIN: Final = 16  # pixels around the picture, for text that touches its border
_SIDE_MULTIPLE: Final = 32  # the detector takes multiples of it
_MIN_SIDE: Final = 5  # pixels; no letter is lower
_MIN_CONFIDENCE: Final = 0.5
_MIN_OVERLAP: Final = 0.7
_MAX_LETTER_SHARE: Final = 0.4  # a "letter" as high and wide as this part of the picture is a shape in it


@dataclasses.dataclass(frozen=True)
class TextLine:
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

    @property
    def area(self) -> int:
        """Area of the rectangle in pixels."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)

    def box(self, image: Image) -> list[int]:
        """The least box `[x0, y0, x1, y1]` of the image's 0-1000 grid that holds it."""
        h, w = image.shape
        grid = BOX_GRID_SIZE
        return [self.x0 * grid // w, self.y0 * grid // h, -(-self.x1 * grid // w), -(-self.y1 * grid // h)]


class TextDetector:
    """Reads pictures, each on one thread; called from more threads than there are cores, it lets some wait, to save memory."""

    def __init__(self) -> None:
        from rapidocr import RapidOCR

        folder = Path(str(distribution("rapidocr").locate_file("rapidocr"))) / "models"
        missing = [name for name in _FILES.values() if not (folder / name).is_file()]
        if missing:
            raise RuntimeError(
                f"the installed rapidocr holds no {missing[0]}; 3.10.0 does: pip install rapidocr==3.10.0"
            )
        self._slots = threading.BoundedSemaphore(os.cpu_count() or 1)
        self._read = RapidOCR(
            params={
                **{f"{part}.model_path": str(folder / name) for part, name in _FILES.items()},
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                "Det.limit_type": "max",  # sizes are settled here
                "Det.limit_side_len": 2 * _MAX_LONG_SIDE,
                "Global.use_preprocess_img": False,
                "Global.use_vertical_padding": False,
                "Global.text_score": _MIN_CONFIDENCE,
                "Global.log_level": "critical",  # its log would hold what it reads
            }
        )

    def lines(self, picture: np.ndarray) -> list[TextLine]:
        """The lines of text in a uint8 picture `(H, W)` or `(H, W, 3)`, in no order."""
        import cv2

        h, w = picture.shape[:2]
        if min(h, w) < _MIN_SIDE:
            return []
        # the networks were trained on BGR
        bgr = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR if picture.ndim == 2 else cv2.COLOR_RGB2BGR)
        scale = min(max(1.0, _SHORT_SIDE / min(h, w)), _MAX_ENLARGEMENT, _MAX_LONG_SIDE / max(h, w))
        lines = self._lines_at_scale(bgr, scale)
        if scale * max(h, w) > _SECOND_PASS_SIDE:
            # single large letters, such as side markers, are found in small pictures only
            lines = merge_lines(lines, self._lines_at_scale(bgr, _SHORT_SIDE / max(h, w)))
        return lines

    def _lines_at_scale(self, bgr: np.ndarray, scale: float) -> list[TextLine]:
        import cv2
        import numpy as np

        h, w = bgr.shape[:2]
        height, width = max(1, round(h * scale)), max(1, round(w * scale))
        resized = cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        bottom, right = (_MARGIN + -(n + 2 * _MARGIN) % _SIDE_MULTIPLE for n in (height, width))
        padded = cv2.copyMakeBorder(resized, _MARGIN, bottom, _MARGIN, right, cv2.BORDER_REPLICATE)
        with self._slots:
            output: Any = self._read(padded)
        if output.boxes is None:
            return []
        lines = []
        for corners, text, confidence in zip(output.boxes, output.txts, output.scores, strict=True):
            xs, ys = ((np.asarray(corners)[:, axis] - _MARGIN) / (width / w, height / h)[axis] for axis in (0, 1))
            x0, y0 = max(0, int(np.floor(xs.min()))), max(0, int(np.floor(ys.min())))
            x1, y1 = min(w, int(np.ceil(xs.max()))), min(h, int(np.ceil(ys.max())))
            is_shape = x1 - x0 > _MAX_LETTER_SHARE * w and y1 - y0 > _MAX_LETTER_SHARE * h
            if x0 < x1 and y0 < y1 and not is_shape:
                lines.append(TextLine(str(text).strip(), round(float(confidence), 3), x0, y0, x1, y1))
        return lines


@functools.cache
def load_text_detector() -> TextDetector:
    """The detector of this process: what it loads is loaded once."""
    return TextDetector()


def displayed_frame(image: Image) -> Image:
    """The full resolution of an image, without what it was made from; of a stack, of the frame that is displayed.

    Raises:
        ValueError: It has more than 2**26 pixels.
    """
    h, w = (image.detail or image).shape
    if h * w > MAX_PIXELS:
        raise ValueError(f"an image of {h * w:,} pixels is too large to read; zoom into a part, {MAX_PIXELS:,} at most")
    return full_resolution_frame(image)


def detect_lines(image: Image, detector: TextDetector, *, in_any_window: bool = False) -> list[TextLine]:
    """The lines in an image, from top to bottom and left to right, in pixels of the image.

    Args:
        image: A single frame.
        detector: What reads.
        in_any_window: Whether to read not only the picture as it is displayed, but also the full range of its values.
    """
    import numpy as np

    views = [image.view()]
    if in_any_window and image.window is not None:
        full_range = image.replace(window=None).view()
        if not np.array_equal(full_range, views[0]):
            views.append(full_range)
    lines: list[TextLine] = []
    for view in views:
        lines = merge_lines(lines, detector.lines(view))
    return _in_reading_order(lines)


def merge_lines(lines: list[TextLine], others: list[TextLine]) -> list[TextLine]:
    """The lines, and those of the others that they do not cover already."""
    return [
        *lines,
        *(other for other in others if sum(_intersection(other, line) for line in lines) < _MIN_OVERLAP * other.area),
    ]


def _intersection(a: TextLine, b: TextLine) -> int:
    """The area that two lines share, in pixels."""
    across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(0, across) * max(0, down)


def _in_reading_order(lines: list[TextLine]) -> list[TextLine]:
    rows: list[list[TextLine]] = []
    for line in sorted(lines, key=lambda line: line.y0 + line.y1):
        first = rows[-1][0] if rows else None
        if first is not None and line.y0 + line.y1 < 2 * first.y1:  # its middle lies above the row's lower edge
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda line: (line.x0, line.y0))]
