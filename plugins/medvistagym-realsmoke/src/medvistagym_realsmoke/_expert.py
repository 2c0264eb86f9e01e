"""A scripted expert: it reads the question, the pictures as a policy sees them, and what its tools return. Nothing else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.environment import ToolScript
from medvistagym_core.imaging import Image
from medvistagym_core.tools import ToolCall, ToolResult
from medvistagym_realsmoke._masks import MATTER, PLANES
from medvistagym_realsmoke._pieces import DENSE_HU, PLACES, TISSUE_HU

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_NUMBER: Final = r"(-?\d+(?:\.\d+)?)"
_BOX: Final = re.compile(r"\[(\d+), (\d+), (\d+), (\d+)\]")
_POINT: Final = re.compile(r"\[(\d+), (\d+)\]")
_MODALITIES: Final = {
    "CT": "computed tomography", "MR": "magnetic resonance", "CR": "plain film", "NM": "nuclear medicine",
}  # fmt: skip
_LEAK_RATIO: Final = 5.0  # a region that grows so much with its tolerance has left the lesion
_WIDE_TOLERANCE_HU: Final = 300
_SIDE: Final = 256


def run_expert(question: str, images: tuple[Image, ...]) -> ToolScript:
    """Answer a question of either task.

    Args:
        question: As it is asked.
        images: What the policy was shown; only views are read.
    """
    for beginning, solve in _SOLVERS.items():
        if question.startswith(beginning):
            return (yield from solve(question, images))
    return "unclear"


def _tissue(question: str, images: tuple[Image, ...]) -> ToolScript:
    mean = yield from _measure(_boxes(question)[0], "mean")
    return min(TISSUE_HU, key=lambda tissue: max(TISSUE_HU[tissue][0] - mean, mean - TISSUE_HU[tissue][1]))


def _mean_value(question: str, images: tuple[Image, ...]) -> ToolScript:
    mean = yield from _measure(_boxes(question)[0], "mean")
    return f"{mean:g} HU"


def _dense(question: str, images: tuple[Image, ...]) -> ToolScript:
    most = yield from _measure(_boxes(question)[0], "max")
    return "yes" if most > DENSE_HU else "no"


def _distance(question: str, images: tuple[Image, ...]) -> ToolScript:
    first, second = ([int(v) for v in match.groups()] for match in _POINT.finditer(question))
    result = yield _call("distance", from_point=first, to_point=second)
    return f"{_read(result, _NUMBER + ' mm'):g} mm"


def _area(question: str, images: tuple[Image, ...]) -> ToolScript:
    result = yield _call("area", ellipse=_boxes(question)[0])
    return f"{_read(result, 'area ' + _NUMBER):g} mm2"


def _width(question: str, images: tuple[Image, ...]) -> ToolScript:
    result = yield _call("acquisition")
    columns, spacing = _read(result, r"(\d+) x \d+ pixels"), _read(result, r"x " + _NUMBER + " mm")
    return f"{columns * spacing:.1f} mm"


def _wider(question: str, images: tuple[Image, ...]) -> ToolScript:
    spacings = []
    for k in range(2):
        result = yield _call("acquisition", image=k)
        spacings.append(_read(result, r"x " + _NUMBER + " mm"))
    return "image 0" if spacings[0] > spacings[1] else "image 1"


def _brightest(question: str, images: tuple[Image, ...]) -> ToolScript:
    means = []
    for box in _boxes(question):
        mean = yield from _measure(box, "mean")
        means.append(mean)
    return PLACES[means.index(max(means))]


def _modality(question: str, images: tuple[Image, ...]) -> ToolScript:
    result = yield _call("acquisition")
    return _MODALITIES.get(result.text.partition(";")[0].strip(), "unclear")


def _burned_text(question: str, images: tuple[Image, ...]) -> ToolScript:
    result = yield _call("read_text", places_only=True)
    return "no" if result.text.startswith("no text") else "yes"


def _marker_side(question: str, images: tuple[Image, ...]) -> ToolScript:
    """The half in which dark columns, background, hold something bright."""
    import numpy as np

    view = images[0].view(_SIDE)
    dark = np.median(view, axis=0) < 45
    bright = (view > 150).any(0)
    columns = np.nonzero(dark & bright)[0]
    yield from ()
    return "left" if columns.size and columns.mean() < view.shape[1] / 2 else "right"


def _frame(question: str, images: tuple[Image, ...]) -> ToolScript:
    frames = [int(k) for k in re.findall(r"frame (\d+)", question)]
    means = []
    for k, frame in enumerate(frames):
        yield _call("reformat", index=frame)
        mean = yield from _measure(_boxes(question)[0], "mean", image=1 + k)
        means.append(mean)
    return f"frame {frames[means[1] > means[0]]}"


def _plane(question: str, images: tuple[Image, ...]) -> ToolScript:
    result = yield _call("acquisition")
    return next((plane for plane in PLANES if plane in result.text), "unclear")


def _matter(question: str, images: tuple[Image, ...]) -> ToolScript:
    """White matter of a T1 is bright, fluid is dark."""
    box = _boxes(question)[0]
    third = [(box[2] - box[0]) // 5, (box[3] - box[1]) // 5]
    inner = [box[0] + 2 * third[0], box[1] + 2 * third[1], box[2] - 2 * third[0], box[3] - 2 * third[1]]
    mean = yield from _measure(inner, "mean")
    grey, white, fluid = MATTER
    return white if mean > 193 else grey if mean > 115 else fluid


def _tumour_slice(question: str, images: tuple[Image, ...]) -> ToolScript:
    """The slice that is dense at the point."""
    x, y = _first_point(question)
    box = [max(0, x - 15), max(0, y - 15), min(1000, x + 15), min(1000, y + 15)]
    for k in range(2):  # the third is it where neither of these is
        yield _call("reformat", index=k)
        mean = yield from _measure(box, "mean", image=1 + k)
        if mean > -500:
            return f"slice {k}"
    return "slice 2"


def _tumour_size(question: str, images: tuple[Image, ...]) -> ToolScript:
    """What is connected with the point: once with the tool's own tolerance, once with a wide one, unless that leaks."""
    point = list(_first_point(question))
    unit = "ml" if "in ml" in question else "mm2"
    sizes = []
    for more in ({}, {"tolerance": _WIDE_TOLERANCE_HU}):
        result = yield _call("segment", method="region", point=point, **more)
        sizes.append(_read(result, _NUMBER + " " + unit))
    size = sizes[1] if sizes[1] < _LEAK_RATIO * sizes[0] else sizes[0]
    return f"{size:g} {unit}"


def _call(name: str, *, image: int = 0, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments={"image": image, **arguments})


def _measure(box: list[int], value: str, image: int = 0) -> Generator[ToolCall, ToolResult, float]:
    result = yield _call("measure", image=image, box=box)
    return _read(result, value + " " + _NUMBER)


def _read(result: ToolResult, pattern: str) -> float:
    match = re.search(pattern, result.text)
    return float(match[1]) if match else 0.0


def _boxes(question: str) -> list[list[int]]:
    return [[int(v) for v in match.groups()] for match in _BOX.finditer(question)]


def _first_point(question: str) -> tuple[int, int]:
    match = _POINT.search(question)
    return (int(match[1]), int(match[2])) if match else (500, 500)


_SOLVERS: Final[dict[str, Callable[[str, tuple[Image, ...]], ToolScript]]] = {
    "Which of these does the part": _tissue,
    "What is the mean value": _mean_value,
    "Does anything within": _dense,
    "How far apart": _distance,
    "What is the area": _area,
    "How wide": _width,
    "Which image shows the wider": _wider,
    "Which of these boxes": _brightest,
    "How was image 0 made": _modality,
    "Is any text": _burned_text,
    "On which side": _marker_side,
    "In which frame": _frame,
    "In which plane": _plane,
    "What does the middle": _matter,
    "In which slice": _tumour_slice,
    "A tumour of the lung": _tumour_size,
}
