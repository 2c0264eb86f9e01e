"""Which calls tell something: the generator's knowledge of what a reader of a result could say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from medvistagym_core.imaging import Box, Window
from medvistagym_core.tools import ToolCall
from medvistagym_scoutvqa import grid
from medvistagym_scoutvqa.scene import CONTRAST, TISSUES, Truth

VISIBLE: Final = 30
"""Least grey levels of 255 between what has to be told apart."""
WIDEST: Final = 96
"""Longest side, in canvas pixels, of a zoom box that shows bars of two pixels on a picture of 64."""
_LIMITS: Final = ((-500, "air"), (-35, "fat"), (32, "fluid"), (190, "soft tissue"))


def tissue(mean: float) -> str:
    """The tissue that a mean in HU is nearest to, one of `scene.TISSUES`."""
    return next((name for limit, name in _LIMITS if mean < limit), tuple(TISSUES)[-1])


def informative(truth: Truth, call: ToolCall, pixels: Any) -> bool:
    """Whether the result of a call tells the answer.

    Args:
        truth: Of the scene.
        call: What was asked for. For the chain it is the second step that tells: a window of a zoom, or a zoom of a window.
        pixels: The canvas, `(H, W)` in HU.
    """
    first = call.arguments.get("image", 0) == 0
    if truth.family == "window":
        return first and call.name == "window" and shows_contrast(truth, call.arguments)
    if truth.family == "zoom":
        return first and call.name == "zoom" and shows_bars(truth, _box(call.arguments))
    if truth.family == "measure":
        return first and call.name == "measure" and _tells_tissue(truth, _box(call.arguments), pixels)
    if truth.family == "chain" and not first:
        zoomed = call.name == "zoom" and shows_bars(truth, _box(call.arguments))
        return zoomed or (call.name == "window" and shows_contrast(truth, call.arguments))
    return False


def shows_contrast(truth: Truth, arguments: Mapping[str, Any]) -> bool:
    """Whether a window shows `CONTRAST` HU around the scene's tissue with at least `VISIBLE` grey levels."""
    import numpy as np

    window = _window(arguments)
    if window is None:
        return False
    low, high = window.apply(np.array([truth.base - CONTRAST / 2, truth.base + CONTRAST / 2]))
    return bool(high - low >= VISIBLE)


def shows_bars(truth: Truth, box: Box | None) -> bool:
    """Whether a zoom box is small enough and holds at least half of the bars along each side."""
    if box is None:
        return False
    place = grid.pixels(box)
    seen = grid.overlap(place, truth.target)
    if seen is None or max(place[2] - place[0], place[3] - place[1]) > WIDEST:
        return False
    side = truth.target[2] - truth.target[0]
    return min(seen[2] - seen[0], seen[3] - seen[1]) >= side / 2


def _tells_tissue(truth: Truth, box: Box | None, pixels: Any) -> bool:
    """Whether at least 80 % of the box lies on the patch and its mean names the right tissue."""
    if box is None:
        return False
    place = grid.pixels(box)
    seen = grid.overlap(place, truth.target)
    if seen is None or grid.area(seen) < 0.8 * grid.area(place):
        return False
    y0, x0, y1, x1 = (round(v) for v in place)
    return tissue(float(pixels[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)].mean())) == truth.answer


def _box(arguments: Mapping[str, Any]) -> Box | None:
    corners = arguments.get("box")
    if not isinstance(corners, list | tuple) or len(corners) != 4 or not all(isinstance(v, int) for v in corners):
        return None
    try:
        return Box.from_list(list(corners))
    except ValueError:
        return None


def _window(arguments: Mapping[str, Any]) -> Window | None:
    """The window that a call asks for; None when it asks for none, or a wrong one."""
    from medvistagym_dicom import PRESETS

    center, width = arguments.get("center"), arguments.get("width")
    preset = arguments.get("preset")
    if preset is not None:
        center, width = PRESETS.get(preset, (None, None)) if center is None and width is None else (None, None)
    if not isinstance(center, int | float) or not isinstance(width, int | float):
        return None
    try:
        return Window(float(center), float(width))
    except ValueError:
        return None
