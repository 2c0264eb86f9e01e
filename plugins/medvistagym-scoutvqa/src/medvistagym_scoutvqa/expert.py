"""A scripted expert: it reads the question, the scout as a policy sees it, and what its tools return. Nothing else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from medvistagym_core.environment import ToolScript
from medvistagym_core.imaging import Box, Image
from medvistagym_core.tools import ToolResult
from medvistagym_scoutvqa import grid
from medvistagym_scoutvqa.demonstration import box_call, window_call
from medvistagym_scoutvqa.information import tissue
from medvistagym_scoutvqa.insert import BLOCK, LEVEL, ORIGIN
from medvistagym_scoutvqa.scene import ABSTENTION, BASES, QUADRANTS, QUESTIONS

if TYPE_CHECKING:
    import numpy as np

SCOUT: Final = 64
"""Side of the picture that a policy sees, in pixels."""
TRIES: Final = 4
"""Places looked at before giving up."""
_MEAN: Final = re.compile(r"mean\s*:?\s*(-?\d+(?:\.\d+)?)")


def expert(question: str, images: tuple[Image, ...]) -> ToolScript:
    """Answer a question of the task.

    Args:
        question: One of `scene.QUESTIONS`.
        images: What the policy was shown; only `view(64)` of the first is read.
    """
    scout = images[0].view(SCOUT)
    family = next((name for name, text in QUESTIONS.items() if text == question), None)
    if family == "direct":
        y, x = _marker(scout)
        return _quadrant(y, x)
    if family == "measure":
        return (yield from _measure(scout))
    if family == "window":
        return (yield from _window(scout))
    if family == "zoom":
        return (yield from _zoom(scout))
    if family == "chain":
        return (yield from _chain(scout))
    return ABSTENTION


def _measure(scout: np.ndarray) -> ToolScript:
    """Measure a square of 8 scout pixels in the middle of the marker."""
    y, x = _marker(scout)
    result = yield box_call("measure", grid.box((y - 4, x - 4, y + 4, x + 4), SCOUT))
    said = _MEAN.search(result.text)
    return tissue(float(said[1])) if said else ABSTENTION


def _window(scout: np.ndarray) -> ToolScript:
    """Find four discs of one grey level, window at that level's HU, and name the brightest."""
    import numpy as np

    for value, discs in _nodules(scout)[:TRIES]:
        result = yield window_call(value * LEVEL + ORIGIN, 40)
        shown = _shown(result)
        if shown is None:
            continue
        greys = sorted((float(np.median(shown[y - 2 : y + 3, x - 2 : x + 3])), q) for q, (y, x) in enumerate(discs))
        if greys[3][0] - greys[2][0] > 40 and greys[2][0] - greys[0][0] < 40:
            return QUADRANTS[greys[3][1]]
    return ABSTENTION


def _zoom(scout: np.ndarray) -> ToolScript:
    """Zoom in on bright flat squares until one shows bars; none does: they are plain."""
    best = (0.0, "plain")
    for y, x in _squares(scout, range(140, 200))[:TRIES]:
        result = yield box_call("zoom", _around(y, x))
        shown = _shown(result)
        if shown is not None:
            best = max(best, _bars(shown, 15))
    return best[1]


def _chain(scout: np.ndarray) -> ToolScript:
    """Zoom in on flat squares of a tissue's grey level, window each, until one shows bars."""
    best = (0.0, "plain")
    levels = sorted({(centre - ORIGIN + shift) // LEVEL for centre in BASES.values() for shift in (0, LEVEL)})
    for y, x in _squares(scout, levels)[: TRIES - 1]:
        result = yield box_call("zoom", _around(y, x))
        if not (result.ok and result.handles):
            continue
        result = yield window_call(int(scout[y, x]) * LEVEL + ORIGIN, 40, result.handles[0])
        shown = _shown(result)
        if shown is not None:
            best = max(best, _bars(shown, 15))
    return best[1]


def _marker(scout: np.ndarray) -> tuple[int, int]:
    """Middle of the marker, (row, column) in scout pixels."""
    import numpy as np

    rows, columns = np.nonzero(scout == 255)
    return (int(np.median(rows)), int(np.median(columns))) if len(rows) else (SCOUT // 2, SCOUT // 2)


def _nodules(scout: np.ndarray) -> list[tuple[int, list[tuple[int, int]]]]:
    """Grey levels of which each quadrant holds a disc of 6 scout pixels radius, best first, with the discs' centres."""
    import numpy as np

    reach = np.arange(-6, 7)
    stamp = (reach[:, None] ** 2 + reach[None] ** 2 <= 33).astype(np.float32)
    half = SCOUT // 2
    found = []
    for value in np.unique(scout):
        level = (scout == value).astype(np.float32)
        if level.sum() < 4 * stamp.sum() * 0.9:
            continue
        fits, centres = [], []
        for q in range(4):
            top, left = q // 2 * half, q % 2 * half
            score = _correlated(level[top : top + half, left : left + half], stamp)
            y, x = np.unravel_index(int(score.argmax()), score.shape)
            fits.append(float(score[y, x]) / float(stamp.sum()))
            centres.append((top + int(y) + 6, left + int(x) + 6))
        found.append((min(fits), int(value), centres))
    return [(value, centres) for fit, value, centres in sorted(found, key=lambda f: -f[0]) if fit > 0.85]


def _squares(scout: np.ndarray, levels: Sequence[int]) -> list[tuple[int, int]]:
    """Middles of squares of one grey level, 7 to 12 scout pixels a side, the largest and most perfect first.

    Each pixel of such a level votes for the rectangle that its row and column span; all pixels of a square vote alike.
    """
    import numpy as np

    votes: Counter[tuple[int, int, int, int]] = Counter()
    for value in levels:
        inside = scout == value
        if inside.sum() < 49:
            continue
        left, right = _run(inside), _run(inside[:, ::-1])[:, ::-1]
        up, down = _run(inside.T).T, _run(inside.T[:, ::-1])[:, ::-1].T
        width, height = left + right - 1, up + down - 1
        fits = inside & (np.minimum(width, height) >= 7) & (np.maximum(width, height) <= 12)
        for y, x in zip(*(axis.tolist() for axis in np.nonzero(fits)), strict=True):
            top, start = y - int(up[y, x]) + 1, x - int(left[y, x]) + 1
            votes[top, start, top + int(height[y, x]), start + int(width[y, x])] += 1
    perfect = sorted(votes, key=lambda r: (-(votes[r] ** 2) / ((r[2] - r[0]) * (r[3] - r[1])), r))
    return [((y0 + y1) // 2, (x0 + x1) // 2) for y0, x0, y1, x1 in perfect]


def _run(inside: np.ndarray) -> np.ndarray:
    """Length of the unbroken run of True that ends at each place, along the second axis."""
    import numpy as np

    run = np.zeros(inside.shape, int)
    for x in range(inside.shape[1]):
        run[:, x] = (run[:, x - 1] if x else 0) * inside[:, x] + inside[:, x]
    return run


def _correlated(level: np.ndarray, stamp: np.ndarray) -> np.ndarray:
    import numpy as np

    windows = np.lib.stride_tricks.sliding_window_view(level, stamp.shape)
    total: np.ndarray = np.tensordot(windows, stamp, axes=((2, 3), (0, 1)))
    return total


def _around(y: int, x: int) -> Box:
    """The zoom box of 16 scout pixels around a place, kept within the image: 64 pixels of the canvas."""
    top, left = (min(SCOUT - 16, max(0, v - 8)) for v in (y, x))
    return grid.box((top, left, top + 16, left + 16), SCOUT)


def _bars(shown: np.ndarray, least: float) -> tuple[float, str]:
    """How strong the strongest pattern on a zoomed picture is, and which way it runs; ("plain") under `least` grey levels."""
    import numpy as np

    grey = shown.astype(np.float32)
    n = 20
    if min(grey.shape) < n + BLOCK:
        return 0.0, "plain"
    inner = grey[:-BLOCK, :-BLOCK]
    half, whole = BLOCK // 2, BLOCK
    down, across = np.abs(grey[half:-half, :-whole] - inner), np.abs(grey[:-whole, half:-half] - inner)
    unlike = (
        np.abs(grey[whole:, :-whole] - inner) + np.abs(grey[:-whole, whole:] - inner)
    ) / 2  # a period repeats itself
    best = (0.0, "plain")
    for name, change in (
        ("horizontal", down - across),
        ("vertical", across - down),
        ("checked", np.minimum(down, across)),
    ):
        total = np.pad(change - unlike, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
        strongest = float((total[n:, n:] - total[:-n, n:] - total[n:, :-n] + total[:-n, :-n]).max()) / (n * n)
        if strongest >= least:
            best = max(best, (strongest, name))
    return best


def _shown(result: ToolResult) -> np.ndarray | None:
    """The picture that a result shows, at the policy's size; None when it has none."""
    if not result.ok or not result.images:
        return None
    return result.images[0].view(SCOUT)


def _quadrant(y: float, x: float) -> str:
    return QUADRANTS[2 * (y >= SCOUT / 2) + (x >= SCOUT / 2)]
