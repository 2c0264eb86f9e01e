"""Single looks: what there is to see on the scout, and on what a tool returns, with words for the parts of the picture."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from medvistagym_core.environment import PerceptionItem
from medvistagym_core.imaging import Box, Image
from medvistagym_scoutvqa import grid, viewer
from medvistagym_scoutvqa.demonstration import REACH, box_call, right_call, window_call
from medvistagym_scoutvqa.grid import Place
from medvistagym_scoutvqa.information import shows_bars, shows_contrast
from medvistagym_scoutvqa.scene import ABSTENTION, BASES, QUESTIONS, Truth

if TYPE_CHECKING:
    import numpy as np

WHICH_TISSUE: Final = "Which tissue are the nodules?"
WHICH_WINDOW: Final = "Window of the nodules?"
WHICH_PLATE: Final = "Which tissue is the plate?"
WHERE_PLATE: Final = "Where is the plate?"
BOX_PLATE: Final = "Box of the plate?"
BOX_MARKER: Final = "Box of the marker?"
AUXILIARY: Final = (WHICH_TISSUE, WHICH_WINDOW, WHICH_PLATE, WHERE_PLATE, BOX_PLATE, BOX_MARKER)
"""Questions that only looks ask."""
CYCLE: Final = ("window", "measure", "zoom", "direct", "window", "window", "zoom", "measure")
"""Families of looks, by index: what is harder to see comes more often."""


def look(image: Image, truth: Truth, rng: np.random.Generator) -> PerceptionItem:
    """A look at a scene: at its scout, or at what an informative (or, rarer, an uninformative) call returns."""
    return _LOOKS[truth.family](image, truth, rng)


def _nodules(image: Image, truth: Truth, rng: np.random.Generator) -> PerceptionItem:
    tissue = truth.tissue or ABSTENTION
    kind = rng.random()
    if kind < 0.35:
        here = tuple((grid.box(_inner(place)), tissue) for place in truth.inserts)
        asked, said = (WHICH_WINDOW, _window(BASES[tissue])) if kind < 0.2 else (WHICH_TISSUE, tissue)
        return PerceptionItem(image, asked, said, here)
    call = window_call(BASES[tissue], _width(rng))
    if rng.random() < 0.15:
        call = window_call(int(rng.choice(grid.CENTERS)), int(rng.choice(grid.WIDTHS)))
    shown = viewer.picture(call, image)
    if not shows_contrast(truth, call.arguments):
        return PerceptionItem(shown, QUESTIONS["window"], ABSTENTION)
    return PerceptionItem(shown, QUESTIONS["window"], truth.answer, ((grid.box(_inner(truth.target)), truth.quadrant),))


def _plate(image: Image, truth: Truth, rng: np.random.Generator) -> PerceptionItem:
    here = ((grid.box(truth.inserts[0]), truth.quadrant),)
    kind = rng.random()
    if kind < 0.15:
        return PerceptionItem(image, WHERE_PLATE, truth.quadrant, here)
    if kind < 0.35:
        return PerceptionItem(image, BOX_PLATE, _text(grid.nearest(truth.target, grid.ZOOM)), here)
    if truth.tissue and kind < 0.5:
        return PerceptionItem(image, WHICH_PLATE, truth.tissue, ((grid.box(truth.inserts[0]), truth.tissue),))
    box = _zoom_box(truth, rng, near=rng.random() < 0.8)
    shown = viewer.picture(box_call("zoom", box), image)
    told = shows_bars(truth, box)
    if truth.family == "chain":
        call = window_call(BASES[truth.tissue or "lung"], _width(rng))
        if rng.random() < 0.15:
            call = window_call(int(rng.choice(grid.CENTERS)), int(rng.choice(grid.WIDTHS)))
        shown = viewer.picture(call, shown)
        told = told and shows_contrast(truth, call.arguments)
    if not told:
        return PerceptionItem(shown, QUESTIONS[truth.family], ABSTENTION)
    frame = grid.pixels(box)
    seen = grid.overlap(frame, truth.target) or truth.target
    within = (seen[0] - frame[0], seen[1] - frame[1], seen[2] - frame[0], seen[3] - frame[1])
    side = frame[2] - frame[0]
    return PerceptionItem(
        shown, QUESTIONS[truth.family], truth.answer, ((grid.box(within, round(side)), truth.answer),)
    )


def _patch(image: Image, truth: Truth, rng: np.random.Generator) -> PerceptionItem:
    return PerceptionItem(None, f"{QUESTIONS['measure']} {viewer.reading(right_call(truth), image)}", truth.answer)


def _marker(image: Image, truth: Truth, rng: np.random.Generator) -> PerceptionItem:
    here = ((grid.box(truth.target), truth.quadrant),)
    if rng.random() < 0.5:
        return PerceptionItem(image, BOX_MARKER, _text(grid.nearest(truth.target, grid.MEASURE)), here)
    return PerceptionItem(image, QUESTIONS["direct"], truth.answer, here)


def _zoom_box(truth: Truth, rng: np.random.Generator, *, near: bool) -> Box:
    """A zoom box on the grid: the nearest to the bars or one that still shows them, or one that may miss."""
    around = grid.nearest(truth.target, grid.ZOOM)
    reach = 1 if near else REACH
    box = grid.shifted(around, *(int(v) for v in rng.integers(-reach, reach + 1, 2)))
    return box if not near or shows_bars(truth, box) else around


def _width(rng: np.random.Generator) -> int:
    """A narrow window width, the narrowest three times of four."""
    return grid.NARROW[int(rng.random() < 0.25)]


def _inner(place: Place) -> Place:
    """The middle 85 % of a place: what a word is surely true of."""
    y0, x0, y1, x1 = place
    dy, dx = (y1 - y0) * 0.075, (x1 - x0) * 0.075
    return y0 + dy, x0 + dx, y1 - dy, x1 - dx


def _window(center: int) -> str:
    """A narrow window as its arguments are written in a call; centre in HU."""
    return json.dumps({"center": center, "width": grid.NARROW[0]})


def _text(box: Box) -> str:
    """A box as it is written in a call."""
    return str(list(box))


_LOOKS: Final = {"window": _nodules, "zoom": _plate, "chain": _plate, "measure": _patch, "direct": _marker}
