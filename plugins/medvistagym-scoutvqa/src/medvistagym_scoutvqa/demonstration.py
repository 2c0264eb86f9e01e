"""Demonstrations made with knowledge of the truth: with some skill the right call, else a plausible one; an honest answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.environment import Case, ToolScript
from medvistagym_core.imaging import Box
from medvistagym_core.tools import ToolCall
from medvistagym_scoutvqa import grid
from medvistagym_scoutvqa.information import informative, shows_bars, shows_contrast
from medvistagym_scoutvqa.scene import ABSTENTION, BASES, QUADRANTS, Truth

if TYPE_CHECKING:
    import numpy as np

REACH: Final = 3
"""Steps of the grid by which a clumsy box misses at most, along each axis."""


def right_call(truth: Truth) -> ToolCall:
    """The informative call of a family that needs one call, on the grid. For the chain, its first step."""
    if truth.family == "window":
        return window_call(BASES[truth.tissue or "lung"], grid.NARROW[0])
    if truth.family == "measure":
        return box_call("measure", grid.nearest(truth.target, grid.MEASURE))
    return box_call("zoom", grid.nearest(truth.target, grid.ZOOM))


def clumsy_call(truth: Truth, tools: Sequence[str], rng: np.random.Generator) -> ToolCall:
    """A call that says nothing of which tool the question needs: any tool, a box that misses by a few steps, any window."""
    name = tools[int(rng.integers(len(tools)))]
    if name == "window":
        return window_call(int(rng.choice(grid.CENTERS)), int(rng.choice(grid.WIDTHS)))
    place = truth.target
    if truth.family == "window":
        place = truth.inserts[int(rng.integers(len(QUADRANTS)))]
    around = grid.nearest(place, grid.ZOOM if name == "zoom" else grid.MEASURE)
    right, down = (int(v) for v in rng.integers(-REACH, REACH + 1, 2))
    return box_call(name, grid.shifted(around, right, down))


def window_call(center: int, width: int, image: int = 0) -> ToolCall:
    """A call of `window`; centre and width in HU."""
    return ToolCall(name="window", arguments={"image": image, "center": center, "width": width})


def box_call(name: str, box: Box, image: int = 0) -> ToolCall:
    """A call of `zoom` or `measure`."""
    return ToolCall(name=name, arguments={"image": image, "box": list(box)})


def demonstrate(case: Case, tools: Sequence[str], rng: np.random.Generator, skill: float) -> ToolScript:
    """Play a case as `medvistagym_core.task.Demonstrated` says; a direct question is answered at once half of the time."""
    truth: Truth = case.truth
    if truth.family == "chain":
        return (yield from _chain(truth, tools, rng, skill))
    if truth.family == "direct":
        if rng.random() < 0.5:
            yield clumsy_call(truth, tools, rng)
        return truth.answer
    skilled = rng.random() < skill
    call = right_call(truth) if skilled else clumsy_call(truth, tools, rng)
    result = yield call
    told = result.ok and informative(truth, call, case.images[0].pixels)
    return truth.answer if told else ABSTENTION


def _chain(truth: Truth, tools: Sequence[str], rng: np.random.Generator, skill: float) -> ToolScript:
    """Zoom, then window the piece; each step is right with probability `skill`."""
    call = right_call(truth) if rng.random() < skill else clumsy_call(truth, tools, rng)
    result = yield call
    if not (result.ok and result.images and result.handles):
        return ABSTENTION
    near = call.name == "zoom" and shows_bars(truth, Box(*call.arguments["box"]))
    center, width = BASES[truth.tissue or "lung"], int(rng.choice(grid.NARROW))
    if rng.random() >= skill:
        center, width = int(rng.choice(grid.CENTERS)), int(rng.choice(grid.WIDTHS))
    arguments: dict[str, Any] = {"center": center, "width": width}
    result = yield ToolCall(name="window", arguments={"image": result.handles[0], **arguments})
    return truth.answer if near and result.ok and shows_contrast(truth, arguments) else ABSTENTION
