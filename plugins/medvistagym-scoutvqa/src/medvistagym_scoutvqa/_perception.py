"""Perception items: what there is to see on the scout, and on what a tool returns, with words for parts of the picture."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from medvistagym_core.environment import PerceptionItem
from medvistagym_core.imaging import Box, Image
from medvistagym_scoutvqa._argument_grid import (
    CENTERS_HU,
    MEASURE_SIZE,
    NARROW_WIDTHS_HU,
    WIDTHS_HU,
    ZOOM_SIZE,
    CanvasBox,
    intersect,
    nearest_box,
    shift_box,
    to_box,
    to_canvas,
)
from medvistagym_scoutvqa._demonstrations import MAX_JITTER_STEPS, box_call, informative_call, window_call
from medvistagym_scoutvqa._informativeness import reveals_bars, reveals_contrast
from medvistagym_scoutvqa._scenes import ABSTENTION, QUESTIONS, TISSUE_CENTERS_HU, SceneGroundTruth
from medvistagym_scoutvqa._tool_calls import tool_image, tool_text

if TYPE_CHECKING:
    import numpy as np

    from medvistagym_core.tools import ToolCall

WHICH_TISSUE: Final = "Which tissue are the nodules?"
WHICH_WINDOW: Final = "Window of the nodules?"
WHICH_PLATE: Final = "Which tissue is the plate?"
WHERE_PLATE: Final = "Where is the plate?"
BOX_PLATE: Final = "Box of the plate?"
BOX_MARKER: Final = "Box of the marker?"
WINDOW_PLATE: Final = "Window of the plate?"
PERCEPTION_QUESTIONS: Final = (
    WHICH_TISSUE,
    WHICH_WINDOW,
    WHICH_PLATE,
    WHERE_PLATE,
    BOX_PLATE,
    BOX_MARKER,
    WINDOW_PLATE,
)
"""Questions that only perception items ask."""
ARGUMENT_QUESTIONS: Final = {"window": (WHICH_WINDOW,), "zoom": (BOX_PLATE,), "measure": (BOX_MARKER,)}
"""Those among them that are answered by arguments of a tool."""
CHAIN_ARGUMENT_QUESTIONS: Final = {"window": (WINDOW_PLATE,), "zoom": (BOX_PLATE,), "measure": (BOX_PLATE,)}
"""The same where there is nothing but a faint plate to aim at."""
FAMILY_SCHEDULE: Final = (
    *("window", "measure", "window", "zoom", "window"),
    *("window", "direct", "window", "zoom", "window"),
)
"""Families of items, by index: what is harder to see comes more often."""


def make_perception_item(image: Image, truth: SceneGroundTruth, rng: np.random.Generator) -> PerceptionItem:
    """An item of a scene: its scout, or what an informative (or, rarer, an uninformative) call returns."""
    return _ITEM_MAKERS[truth.family](image, truth, rng)


def _nodule_item(image: Image, truth: SceneGroundTruth, rng: np.random.Generator) -> PerceptionItem:
    tissue = truth.tissue or ABSTENTION
    kind = rng.random()
    if kind < 0.45:
        regions = tuple((to_box(_shrink(nodule)), tissue) for nodule in truth.inserts)
        if kind < 0.05:
            image = tool_image(_draw_tissue_window(rng), image)
            return PerceptionItem(image, WHICH_WINDOW, _window_text(TISSUE_CENTERS_HU[tissue]))
        if kind < 0.3:
            return PerceptionItem(image, WHICH_WINDOW, _window_text(TISSUE_CENTERS_HU[tissue]), regions)
        return PerceptionItem(image, WHICH_TISSUE, tissue, regions)
    call = _draw_window_call(TISSUE_CENTERS_HU[tissue], rng)
    windowed = tool_image(call, image)
    if not reveals_contrast(truth, call.arguments):
        return PerceptionItem(windowed, QUESTIONS["window"], ABSTENTION)
    return PerceptionItem(
        windowed, QUESTIONS["window"], truth.answer, ((to_box(_shrink(truth.target)), truth.quadrant),)
    )


def _plate_item(image: Image, truth: SceneGroundTruth, rng: np.random.Generator) -> PerceptionItem:
    regions = ((to_box(truth.inserts[0]), truth.quadrant),)
    kind = rng.random()
    if kind < 0.15:
        return PerceptionItem(image, WHERE_PLATE, truth.quadrant, regions)
    if kind < 0.35:
        return PerceptionItem(image, BOX_PLATE, _box_text(nearest_box(truth.target, ZOOM_SIZE)), regions)
    box = _draw_zoom_box(truth, rng, near=rng.random() < 0.8)
    piece = tool_image(box_call("zoom", box), image)
    return _read_bars(piece, truth, box if reveals_bars(truth, box) else None)


def _faint_plate_item(image: Image, truth: SceneGroundTruth, rng: np.random.Generator) -> PerceptionItem:
    """A plate like its surroundings: where it lies, also on a windowed overview; which tissue it is like; how its bars run."""
    center_hu = TISSUE_CENTERS_HU[truth.tissue or "lung"]
    rectangle = truth.inserts[0]
    kind = rng.random()
    if kind < 0.40:
        if rng.random() < 0.25:
            image = tool_image(window_call(center_hu, int(rng.choice(NARROW_WIDTHS_HU))), image)
        if kind < 0.04:
            return PerceptionItem(image, WHERE_PLATE, truth.quadrant, ((to_box(rectangle), truth.quadrant),))
        regions = ((to_box(rectangle), truth.tissue or ABSTENTION),)
        return PerceptionItem(image, BOX_PLATE, _box_text(nearest_box(truth.target, ZOOM_SIZE)), regions)
    box = _draw_zoom_box(truth, rng, near=rng.random() < 0.8)
    piece = tool_image(box_call("zoom", box), image)
    if kind < 0.85:
        on_piece = _place_on_piece(box, rectangle) if kind >= 0.82 else None
        image_shown, place = (image, to_box(rectangle)) if on_piece is None else (piece, on_piece)
        if 0.77 <= kind < 0.82:
            return PerceptionItem(tool_image(_draw_tissue_window(rng), image), WINDOW_PLATE, _window_text(center_hu))
        like = ((place, truth.tissue or ABSTENTION),)
        if kind < 0.5:
            return PerceptionItem(image_shown, WHICH_PLATE, like[0][1], like)
        return PerceptionItem(image_shown, WINDOW_PLATE, _window_text(center_hu), like)
    # Either step alone shows no bars: so a policy reads what it sees on its way.
    part, call = rng.random(), _draw_window_call(center_hu, rng)
    image_shown = image if part < 0.12 else piece
    both = 0.12 <= part < 0.88 and reveals_bars(truth, box) and reveals_contrast(truth, call.arguments)
    return _read_bars(tool_image(call, image_shown) if part < 0.88 else image_shown, truth, box if both else None)


def _read_bars(image: Image, truth: SceneGroundTruth, box: Box | None) -> PerceptionItem:
    """The question about the bars, of a picture that shows them within `box`, or that does not show them (None)."""
    place = None if box is None else _place_on_piece(box, truth.target)
    if place is None:
        return PerceptionItem(image, QUESTIONS[truth.family], ABSTENTION)
    return PerceptionItem(image, QUESTIONS[truth.family], truth.answer, ((place, truth.answer),))


def _place_on_piece(box: Box, rectangle: CanvasBox) -> Box | None:
    """Where a rectangle of the canvas lies on the picture that a zoom on a square box returns; None where it is not on it."""
    frame = to_canvas(box)
    visible = intersect(frame, rectangle)
    if visible is None:
        return None
    within = (visible[0] - frame[0], visible[1] - frame[1], visible[2] - frame[0], visible[3] - frame[1])
    return to_box(within, round(frame[2] - frame[0]))


def _patch_item(image: Image, truth: SceneGroundTruth, rng: np.random.Generator) -> PerceptionItem:
    return PerceptionItem(None, f"{QUESTIONS['measure']} {tool_text(informative_call(truth), image)}", truth.answer)


def _marker_item(image: Image, truth: SceneGroundTruth, rng: np.random.Generator) -> PerceptionItem:
    regions = ((to_box(truth.target), truth.quadrant),)
    if rng.random() < 0.5:
        return PerceptionItem(image, BOX_MARKER, _box_text(nearest_box(truth.target, MEASURE_SIZE)), regions)
    return PerceptionItem(image, QUESTIONS["direct"], truth.answer, regions)


def _draw_tissue_window(rng: np.random.Generator) -> ToolCall:
    """A narrow window around the centre of any tissue: what shows nothing still tells which tissue it is not."""
    return window_call(int(rng.choice(list(TISSUE_CENTERS_HU.values()))), int(rng.choice(NARROW_WIDTHS_HU)))


def _draw_window_call(center_hu: int, rng: np.random.Generator) -> ToolCall:
    """A narrow window around a centre; or, 15 times of 100, any window."""
    call = window_call(center_hu, int(rng.choice(NARROW_WIDTHS_HU)))
    if rng.random() < 0.15:
        call = window_call(int(rng.choice(CENTERS_HU)), int(rng.choice(WIDTHS_HU)))
    return call


def _draw_zoom_box(truth: SceneGroundTruth, rng: np.random.Generator, *, near: bool) -> Box:
    """A zoom box on the grid: the nearest to the bars or one that still shows them, or one that may miss."""
    nearest = nearest_box(truth.target, ZOOM_SIZE)
    steps = 1 if near else MAX_JITTER_STEPS
    box = shift_box(nearest, *(int(v) for v in rng.integers(-steps, steps + 1, 2)))
    return box if not near or reveals_bars(truth, box) else nearest


def _shrink(rectangle: CanvasBox) -> CanvasBox:
    """The middle 85 % of a rectangle: what a word is surely true of."""
    y0, x0, y1, x1 = rectangle
    dy, dx = (y1 - y0) * 0.075, (x1 - x0) * 0.075
    return y0 + dy, x0 + dx, y1 - dy, x1 - dx


def _window_text(center_hu: int) -> str:
    """A narrow window, of the width that is read best, as its arguments are written in a call."""
    return json.dumps({"center": center_hu, "width": NARROW_WIDTHS_HU[1]})


def _box_text(box: Box) -> str:
    """A box as it is written in a call."""
    return str(list(box))


_ITEM_MAKERS: Final = {
    "window": _nodule_item,
    "zoom": _plate_item,
    "chain": _faint_plate_item,
    "measure": _patch_item,
    "direct": _marker_item,
}
