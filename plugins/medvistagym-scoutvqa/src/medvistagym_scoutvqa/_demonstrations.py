"""Demonstrations made from the right answer: an informative call with probability `skill`, else a plausible one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.environment import Case, ToolScript
from medvistagym_core.imaging import Box
from medvistagym_core.tools import ToolCall
from medvistagym_scoutvqa._argument_grid import (
    CENTERS_HU,
    MEASURE_SIZE,
    NARROW_WIDTHS_HU,
    WIDTHS_HU,
    ZOOM_SIZE,
    nearest_box,
    shift_box,
)
from medvistagym_scoutvqa._informativeness import is_informative_call, reveals_bars, reveals_contrast
from medvistagym_scoutvqa._scenes import ABSTENTION, QUADRANTS, TISSUE_CENTERS_HU, SceneGroundTruth

if TYPE_CHECKING:
    import numpy as np

MAX_JITTER_STEPS: Final = 3
"""Steps of the grid by which a plausible box misses at most, along each axis."""


def informative_call(truth: SceneGroundTruth) -> ToolCall:
    """The informative call of a family that needs one call, on the grid. For the chain, its first step."""
    if truth.family == "window":
        return window_call(TISSUE_CENTERS_HU[truth.tissue or "lung"], NARROW_WIDTHS_HU[0])
    if truth.family == "measure":
        return box_call("measure", nearest_box(truth.target, MEASURE_SIZE))
    return box_call("zoom", nearest_box(truth.target, ZOOM_SIZE))


def plausible_call(truth: SceneGroundTruth, tools: Sequence[str], rng: np.random.Generator) -> ToolCall:
    """A call that says nothing of which tool the question needs: any tool, a box that misses by a few steps, any window."""
    name = tools[int(rng.integers(len(tools)))]
    if name == "window":
        return window_call(int(rng.choice(CENTERS_HU)), int(rng.choice(WIDTHS_HU)))
    target = truth.target
    if truth.family == "window":
        target = truth.inserts[int(rng.integers(len(QUADRANTS)))]
    box = nearest_box(target, ZOOM_SIZE if name == "zoom" else MEASURE_SIZE)
    right, down = (int(v) for v in rng.integers(-MAX_JITTER_STEPS, MAX_JITTER_STEPS + 1, 2))
    return box_call(name, shift_box(box, right, down))


def window_call(center_hu: int, width_hu: int, image: int = 0) -> ToolCall:
    """A call of `window`."""
    return ToolCall(name="window", arguments={"image": image, "center": center_hu, "width": width_hu})


def box_call(name: str, box: Box, image: int = 0) -> ToolCall:
    """A call of `zoom` or `measure`."""
    return ToolCall(name=name, arguments={"image": image, "box": list(box)})


def demonstrate(case: Case, tools: Sequence[str], rng: np.random.Generator, skill: float) -> ToolScript:
    """Play a case as the core's tasks demonstrate; a direct question is answered at once half of the time."""
    truth: SceneGroundTruth = case.truth
    if truth.family == "chain":
        return (yield from _demonstrate_chain(truth, tools, rng, skill))
    if truth.family == "direct":
        if rng.random() < 0.5:
            yield plausible_call(truth, tools, rng)
        return truth.answer
    skilled = rng.random() < skill
    call = informative_call(truth) if skilled else plausible_call(truth, tools, rng)
    result = yield call
    can_tell = result.ok and is_informative_call(truth, call, case.images[0].pixels)
    return truth.answer if can_tell else ABSTENTION


def _demonstrate_chain(
    truth: SceneGroundTruth, tools: Sequence[str], rng: np.random.Generator, skill: float
) -> ToolScript:
    """Zoom, then window the piece; each step is right with probability `skill`."""
    call = informative_call(truth) if rng.random() < skill else plausible_call(truth, tools, rng)
    result = yield call
    if not (result.ok and result.images and result.handles):
        return ABSTENTION
    zoomed = call.name == "zoom" and reveals_bars(truth, Box(*call.arguments["box"]))
    center, width = TISSUE_CENTERS_HU[truth.tissue or "lung"], int(rng.choice(NARROW_WIDTHS_HU))
    if rng.random() >= skill:
        center, width = int(rng.choice(CENTERS_HU)), int(rng.choice(WIDTHS_HU))
    arguments: dict[str, Any] = {"center": center, "width": width}
    result = yield ToolCall(name="window", arguments={"image": result.handles[0], **arguments})
    return truth.answer if zoomed and result.ok and reveals_contrast(truth, arguments) else ABSTENTION
