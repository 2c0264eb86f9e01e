"""Which calls are informative: what a reader of a result could answer, judged with knowledge of the scene."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from medvistagym_core.imaging import Box, Window
from medvistagym_core.tools import ToolCall
from medvistagym_scoutvqa._argument_grid import area, intersect, to_canvas
from medvistagym_scoutvqa._scenes import CONTRAST_HU, TISSUES_HU, SceneGroundTruth

MIN_GREY_DIFFERENCE: Final = 30
"""Grey levels of 255 between what has to be told apart."""
MAX_ZOOM_SIDE: Final = 96
"""Longest side, in canvas pixels, of a zoom box that shows bars of two pixels on a picture of 64."""
_MIN_PATCH_SHARE: Final = 0.8  # of a measured box that lies on the patch
_TISSUE_LIMITS_HU: Final = ((-500, "air"), (-35, "fat"), (32, "fluid"), (190, "soft tissue"))


def nearest_tissue(mean_hu: float) -> str:
    """The tissue that a mean is nearest to, one of `TISSUES_HU`."""
    return next((name for limit, name in _TISSUE_LIMITS_HU if mean_hu < limit), tuple(TISSUES_HU)[-1])


def is_informative_call(truth: SceneGroundTruth, call: ToolCall, pixels: Any) -> bool:
    """Whether the result of a call tells the answer.

    Args:
        truth: Of the scene.
        call: What was asked for. For the chain it is the second step that tells: a window of a zoom, or a zoom of a window.
        pixels: The canvas, `(H, W)` in HU.
    """
    on_scout = call.arguments.get("image", 0) == 0
    if truth.family == "window":
        return on_scout and call.name == "window" and reveals_contrast(truth, call.arguments)
    if truth.family == "zoom":
        return on_scout and call.name == "zoom" and reveals_bars(truth, _box(call.arguments))
    if truth.family == "measure":
        return on_scout and call.name == "measure" and _reveals_tissue(truth, _box(call.arguments), pixels)
    if truth.family == "chain" and not on_scout:
        zoomed = call.name == "zoom" and reveals_bars(truth, _box(call.arguments))
        return zoomed or (call.name == "window" and reveals_contrast(truth, call.arguments))
    return False


def reveals_contrast(truth: SceneGroundTruth, arguments: Mapping[str, Any]) -> bool:
    """Whether a window shows `CONTRAST_HU` around the scene's tissue with at least `MIN_GREY_DIFFERENCE`."""
    import numpy as np

    window = _window(arguments)
    if window is None:
        return False
    low, high = window.apply(np.array([truth.base - CONTRAST_HU / 2, truth.base + CONTRAST_HU / 2]))
    return bool(high - low >= MIN_GREY_DIFFERENCE)


def reveals_bars(truth: SceneGroundTruth, box: Box | None) -> bool:
    """Whether a zoom box is small enough and holds at least half of the bars along each side."""
    if box is None:
        return False
    frame = to_canvas(box)
    visible = intersect(frame, truth.target)
    if visible is None or max(frame[2] - frame[0], frame[3] - frame[1]) > MAX_ZOOM_SIDE:
        return False
    side = truth.target[2] - truth.target[0]
    return min(visible[2] - visible[0], visible[3] - visible[1]) >= side / 2


def _reveals_tissue(truth: SceneGroundTruth, box: Box | None, pixels: Any) -> bool:
    """Whether at least 80 % of the box lies on the patch and its mean names the right tissue."""
    if box is None:
        return False
    frame = to_canvas(box)
    visible = intersect(frame, truth.target)
    if visible is None or area(visible) < _MIN_PATCH_SHARE * area(frame):
        return False
    y0, x0, y1, x1 = (round(v) for v in frame)
    mean_hu = float(pixels[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)].mean())
    return nearest_tissue(mean_hu) == truth.answer


def _box(arguments: Mapping[str, Any]) -> Box | None:
    """The box that a call asks for; None when it asks for none, or a wrong one."""
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
