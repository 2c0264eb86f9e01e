"""A scripted expert: it reads the question, the scout as a policy sees it, and what its tools return. Nothing else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from medvistagym_core.environment import ToolScript
from medvistagym_core.imaging import Box, Image
from medvistagym_core.tools import ToolResult
from medvistagym_scoutvqa._argument_grid import to_box
from medvistagym_scoutvqa._demonstrations import box_call, window_call
from medvistagym_scoutvqa._informativeness import nearest_tissue
from medvistagym_scoutvqa._inserts import BLOCK_SIDE, LEVEL_0_HU, LEVEL_HU
from medvistagym_scoutvqa._scenes import ABSTENTION, QUADRANTS, QUESTIONS, TISSUE_CENTERS_HU

if TYPE_CHECKING:
    import numpy as np

SCOUT_SIDE: Final = 64
"""Side of the picture that a policy sees, in pixels."""
MAX_TRIES: Final = 4
"""Places looked at before giving up."""
_WINDOW_WIDTH_HU: Final = 40
_ZOOM_SIDE: Final = 16  # scout pixels: 64 of the canvas
_MIN_BAR_STRENGTH: Final = 15  # grey levels
_MEAN: Final = re.compile(r"mean\s*:?\s*(-?\d+(?:\.\d+)?)")


def run_expert(question: str, images: tuple[Image, ...]) -> ToolScript:
    """Answer a question of the task.

    Args:
        question: One of `QUESTIONS`.
        images: What the policy was shown; only `view(64)` of the first is read.
    """
    scout = images[0].view(SCOUT_SIDE)
    family = next((name for name, text in QUESTIONS.items() if text == question), None)
    if family == "direct":
        y, x = _find_marker(scout)
        return _quadrant(y, x)
    if family == "measure":
        return (yield from _solve_measure(scout))
    if family == "window":
        return (yield from _solve_window(scout))
    if family == "zoom":
        return (yield from _solve_zoom(scout))
    if family == "chain":
        return (yield from _solve_chain(scout))
    return ABSTENTION


def _solve_measure(scout: np.ndarray) -> ToolScript:
    """Measure a square of 8 scout pixels in the middle of the marker."""
    y, x = _find_marker(scout)
    result = yield box_call("measure", to_box((y - 4, x - 4, y + 4, x + 4), SCOUT_SIDE))
    mean = _MEAN.search(result.text)
    return nearest_tissue(float(mean[1])) if mean else ABSTENTION


def _solve_window(scout: np.ndarray) -> ToolScript:
    """Find four discs of one grey level, window at that level's HU, and name the brightest."""
    import numpy as np

    for level, discs in _find_nodules(scout)[:MAX_TRIES]:
        result = yield window_call(_to_hu(level), _WINDOW_WIDTH_HU)
        view = _result_view(result)
        if view is None:
            continue
        greys = sorted((float(np.median(view[y - 2 : y + 3, x - 2 : x + 3])), q) for q, (y, x) in enumerate(discs))
        if greys[3][0] - greys[2][0] > 40 and greys[2][0] - greys[0][0] < 40:
            return QUADRANTS[greys[3][1]]
    return ABSTENTION


def _solve_zoom(scout: np.ndarray) -> ToolScript:
    """Zoom in on bright flat squares until one shows bars; none does: they are plain."""
    best = (0.0, "plain")
    for y, x in _find_squares(scout, range(140, 200))[:MAX_TRIES]:
        result = yield box_call("zoom", _zoom_box(y, x))
        view = _result_view(result)
        if view is not None:
            best = max(best, _detect_bars(view))
    return best[1]


def _solve_chain(scout: np.ndarray) -> ToolScript:
    """Zoom in on flat squares of a tissue's grey level, window each, until one shows bars."""
    best = (0.0, "plain")
    levels = sorted(
        {(center - LEVEL_0_HU + shift) // LEVEL_HU for center in TISSUE_CENTERS_HU.values() for shift in (0, LEVEL_HU)}
    )
    for y, x in _find_squares(scout, levels)[: MAX_TRIES - 1]:
        result = yield box_call("zoom", _zoom_box(y, x))
        if not (result.ok and result.handles):
            continue
        result = yield window_call(_to_hu(int(scout[y, x])), _WINDOW_WIDTH_HU, result.handles[0])
        view = _result_view(result)
        if view is not None:
            best = max(best, _detect_bars(view))
    return best[1]


def _find_marker(scout: np.ndarray) -> tuple[int, int]:
    """Middle of the marker, (row, column) in scout pixels."""
    import numpy as np

    rows, columns = np.nonzero(scout == 255)
    return (int(np.median(rows)), int(np.median(columns))) if len(rows) else (SCOUT_SIDE // 2, SCOUT_SIDE // 2)


def _find_nodules(scout: np.ndarray) -> list[tuple[int, list[tuple[int, int]]]]:
    """Grey levels of which each quadrant holds a disc of 6 scout pixels radius, best first, with the discs' centres."""
    import numpy as np

    offsets = np.arange(-6, 7)
    stamp = (offsets[:, None] ** 2 + offsets[None] ** 2 <= 33).astype(np.float32)
    half = SCOUT_SIDE // 2
    candidates = []
    for level in np.unique(scout):
        mask = (scout == level).astype(np.float32)
        if mask.sum() < 4 * stamp.sum() * 0.9:
            continue
        fits, centres = [], []
        for q in range(4):
            top, left = q // 2 * half, q % 2 * half
            score = _correlate(mask[top : top + half, left : left + half], stamp)
            y, x = np.unravel_index(int(score.argmax()), score.shape)
            fits.append(float(score[y, x]) / float(stamp.sum()))
            centres.append((top + int(y) + 6, left + int(x) + 6))
        candidates.append((min(fits), int(level), centres))
    candidates.sort(key=lambda candidate: -candidate[0])
    return [(level, centres) for fit, level, centres in candidates if fit > 0.85]


def _find_squares(scout: np.ndarray, levels: Sequence[int]) -> list[tuple[int, int]]:
    """Middles of squares of one grey level, 7 to 12 scout pixels a side, the largest and most perfect first.

    Each pixel of such a level votes for the rectangle that its row and column span; all pixels of a square vote alike.
    """
    import numpy as np

    votes: Counter[tuple[int, int, int, int]] = Counter()
    for level in levels:
        inside = scout == level
        if inside.sum() < 49:
            continue
        left, right = _run_lengths(inside), _run_lengths(inside[:, ::-1])[:, ::-1]
        up, down = _run_lengths(inside.T).T, _run_lengths(inside.T[:, ::-1])[:, ::-1].T
        width, height = left + right - 1, up + down - 1
        fits = inside & (np.minimum(width, height) >= 7) & (np.maximum(width, height) <= 12)
        for y, x in zip(*(axis.tolist() for axis in np.nonzero(fits)), strict=True):
            top, start = y - int(up[y, x]) + 1, x - int(left[y, x]) + 1
            votes[top, start, top + int(height[y, x]), start + int(width[y, x])] += 1
    ranked = sorted(votes, key=lambda r: (-(votes[r] ** 2) / ((r[2] - r[0]) * (r[3] - r[1])), r))
    return [((y0 + y1) // 2, (x0 + x1) // 2) for y0, x0, y1, x1 in ranked]


def _run_lengths(inside: np.ndarray) -> np.ndarray:
    """Length of the unbroken run of True that ends at each place, along the second axis."""
    import numpy as np

    lengths = np.zeros(inside.shape, int)
    for x in range(inside.shape[1]):
        lengths[:, x] = (lengths[:, x - 1] if x else 0) * inside[:, x] + inside[:, x]
    return lengths


def _correlate(mask: np.ndarray, stamp: np.ndarray) -> np.ndarray:
    import numpy as np

    windows = np.lib.stride_tricks.sliding_window_view(mask, stamp.shape)
    total: np.ndarray = np.tensordot(windows, stamp, axes=((2, 3), (0, 1)))
    return total


def _detect_bars(view: np.ndarray) -> tuple[float, str]:
    """How strong the strongest pattern on a zoomed picture is, and which way it runs; "plain" under a strength of 15."""
    import numpy as np

    grey = view.astype(np.float32)
    n = 20  # pixels a side of the square over which a pattern is averaged
    if min(grey.shape) < n + BLOCK_SIDE:
        return 0.0, "plain"
    inner = grey[:-BLOCK_SIDE, :-BLOCK_SIDE]
    half, whole = BLOCK_SIDE // 2, BLOCK_SIDE
    down, across = np.abs(grey[half:-half, :-whole] - inner), np.abs(grey[:-whole, half:-half] - inner)
    # a period repeats itself
    unlike = (np.abs(grey[whole:, :-whole] - inner) + np.abs(grey[:-whole, whole:] - inner)) / 2
    best = (0.0, "plain")
    for name, change in (
        ("horizontal", down - across),
        ("vertical", across - down),
        ("checked", np.minimum(down, across)),
    ):
        total = np.pad(change - unlike, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
        strength = float((total[n:, n:] - total[:-n, n:] - total[n:, :-n] + total[:-n, :-n]).max()) / (n * n)
        if strength >= _MIN_BAR_STRENGTH:
            best = max(best, (strength, name))
    return best


def _zoom_box(y: int, x: int) -> Box:
    """The zoom box of 16 scout pixels around a place, kept within the image."""
    top, left = (min(SCOUT_SIDE - _ZOOM_SIDE, max(0, v - _ZOOM_SIDE // 2)) for v in (y, x))
    return to_box((top, left, top + _ZOOM_SIDE, left + _ZOOM_SIDE), SCOUT_SIDE)


def _to_hu(level: int) -> int:
    """The HU in the middle of a grey level of the scout."""
    return level * LEVEL_HU + LEVEL_0_HU


def _result_view(result: ToolResult) -> np.ndarray | None:
    """The picture that a result shows, at the policy's size; None when it has none."""
    if not result.ok or not result.images:
        return None
    return result.images[0].view(SCOUT_SIDE)


def _quadrant(y: float, x: float) -> str:
    return QUADRANTS[2 * (y >= SCOUT_SIDE / 2) + (x >= SCOUT_SIDE / 2)]
