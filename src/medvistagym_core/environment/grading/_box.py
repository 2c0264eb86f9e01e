"""The kind "box": a rectangle, compared by intersection over union (Jaccard), as in PASCAL VOC (Everingham et al. 2010).

Read are `[x0, y0, x1, y1]` on the 0-1000 grid, also without brackets, as two corners "(x0, y0), (x1, y1)", between the box
marks of Qwen-VL, as the value of "bbox_2d", "bbox", "box" or "bounding_box" in JSON, or with named sides; and fractions of the
image, when all are at most 1 and not all whole. Widths and heights, pixels, and y before x cannot be told from these and are
not guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.environment.grading._form import unwrap_answer
from medvistagym_core.environment.grading._grade import WRONG, Grade
from medvistagym_core.environment.grading._normalize import fold_characters

if TYPE_CHECKING:
    from medvistagym_core.environment._task import Answer

Corners = tuple[float, float, float, float]

_MIN_OVERLAP: Final = 0.5
_GRID: Final = 1000.0
_NUMBER: Final = r"[-+]?(?:\d{1,9}(?:\.\d{1,18})?|\.\d{1,18})"
_BETWEEN: Final = r"\s{0,3}(?:,|\s)\s{0,3}"
_PAIR: Final = rf"[\[(]\s?({_NUMBER}){_BETWEEN}({_NUMBER})\s?[\])]"
_BOX: Final = re.compile(
    rf"(?P<open>[\[(]{{0,2}})\s?({_NUMBER}){_BETWEEN}({_NUMBER}){_BETWEEN}({_NUMBER}){_BETWEEN}({_NUMBER})\s?(?P<close>[\])]{{0,2}})"
)
_CORNERS: Final = re.compile(rf"[\[(]?\s?{_PAIR}\s?(?:,|;|to|and)?\s?{_PAIR}\s?[\])]?")
_LEAD_IN: Final = re.compile(
    r"(?:(?:the|its|a)\s)?(?:(?:nodule|lesion|mass|finding|object|region|target|bounding|predicted)\s){0,2}"
    r"(?:b?box|bbox|bbox_2d|coordinates|location|region|lesion|nodule|mass|finding)?\s?(?:is\s)?(?:at|in|:|=)?\s?(?=[\[(\d.])",
    re.IGNORECASE,
)
_MARKS: Final = re.compile(
    r"<\|object_ref_start\|>[^<]{0,100}<\|object_ref_end\|>|<\|(?:box_start|box_end)\|>|</?(?:box|bbox)>"
)
_SIDE: Final = rf"([a-z][a-z0-9_]{{1,5}})\s?[=:]\s?({_NUMBER})"
_SIDES_IN_TEXT: Final = re.compile(rf"[\[({{]?\s?(?:{_SIDE}[,;\s]{{0,3}}){{4}}[\])}}]?", re.IGNORECASE)
_NAMED_SIDE: Final = re.compile(_SIDE, re.IGNORECASE)
_BOX_KEYS: Final = ("bbox_2d", "bbox", "box", "bounding_box", "boundingbox", "coordinates")
_SIDES: Final = (("x0", "y0", "x1", "y1"), ("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"),
                 ("x_min", "y_min", "x_max", "y_max"), ("left", "top", "right", "bottom"))  # fmt: skip


def grade_box(answer: Answer, text: str, options: Sequence[str]) -> Grade:
    """Right when the overlap is the threshold at least (0.5 unless given); the partial credit is the overlap."""
    right, given = _parse_box(answer.value), _parse_box(text)
    if right is None:
        raise ValueError(
            f"the answer {answer.value!r} of a question for a box is not [x0, y0, x1, y1] within 0 to 1000"
        )
    if given is None:
        return WRONG
    width = min(right[2], given[2]) - max(right[0], given[0])
    height = min(right[3], given[3]) - max(right[1], given[1])
    shared = max(width, 0.0) * max(height, 0.0)
    overlap = shared / (sum((b[2] - b[0]) * (b[3] - b[1]) for b in (right, given)) - shared)
    min_overlap = _MIN_OVERLAP if answer.threshold is None else answer.threshold
    return Grade(correct=overlap >= min_overlap, partial_credit=overlap)


def _parse_box(text: str) -> Corners | None:
    """The one box that a text is, on the 0-1000 grid; None when it is anything else."""
    text = _MARKS.sub("", unwrap_answer(text)).strip()
    if text[:1] in ("{", "["):
        try:
            document = json.loads(text.replace("'", '"'), object_pairs_hook=_unique)
        except (ValueError, RecursionError):
            pass
        else:
            return _from_json(document)
    text = fold_characters(text).strip(" .;")
    lead_in = _LEAD_IN.match(text)
    text = text[lead_in.end() :] if lead_in else text
    box = _BOX.fullmatch(text)
    if box and box["open"] + box["close"] in ("", "[]", "()", "[[]]", "(())"):
        return _corners([float(box[k]) for k in range(2, 6)])
    if _SIDES_IN_TEXT.fullmatch(text):
        return _from_json({name: float(value) for name, value in _NAMED_SIDE.findall(text)})
    corners = _CORNERS.fullmatch(text)
    return _corners([float(corners[k]) for k in range(1, 5)]) if corners else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key is given twice")
    return dict(pairs)


def _from_json(document: Any) -> Corners | None:
    if isinstance(document, list) and len(document) == 1:
        return _from_json(document[0])
    if isinstance(document, dict):
        named = {str(key).casefold(): value for key, value in document.items()}
        boxes = [named[key] for key in _BOX_KEYS if key in named]
        if boxes:
            return _from_json(boxes[0]) if len(boxes) == 1 else None
        complete = [sides for sides in _SIDES if all(side in named for side in sides)]
        return _from_json([named[side] for side in complete[0]]) if len(complete) == 1 else None
    if isinstance(document, list) and len(document) == 2 and all(isinstance(p, list) and len(p) == 2 for p in document):
        document = [*document[0], *document[1]]
    if (
        not isinstance(document, list)
        or len(document) != 4
        or not all(type(value) in (int, float) for value in document)
    ):
        return None
    return _corners(document)


def _corners(values: Sequence[float]) -> Corners | None:
    scale = _GRID if max(values) <= 1 and any(value != int(value) for value in values) else 1.0
    x0, y0, x1, y1 = (float(value) * scale for value in values)
    return (x0, y0, x1, y1) if 0 <= x0 < x1 <= _GRID and 0 <= y0 < y1 <= _GRID else None
