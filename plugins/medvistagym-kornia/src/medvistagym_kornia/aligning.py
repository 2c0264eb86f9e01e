"""Finding the shift, and the turn, that lay one plane onto another.

A motion is a `(3, 3)` matrix from pixels of the still plane to those of the moving one. Guesses come from the normalised
cross-correlation of small planes at every shift, for a fan of turns; each is refined by least squares on the linearised
difference, brightness and contrast being free.
Sources: Padfield, Masked object registration in the Fourier domain, IEEE TIP 21(5), 2012; Lucas and Kanade, An iterative image
registration technique, IJCAI 1981.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np

TURNS: Final = tuple(range(-30, 31, 5))  # degrees
_GUESSES: Final = 3
_STEPS: Final = 30
_OVERLAP: Final = 0.4  # least part of the still plane that must be covered


def guesses(still: np.ndarray, moving: np.ndarray, seen: np.ndarray, *, turning: bool) -> list[np.ndarray]:
    """The most promising motions, best first.

    Args:
        still: Float32 `(H, W)`.
        moving: The same.
        seen: Where `moving` has values, 0 to 1.
        turning: Whether turns are looked at.
    """
    found = []
    for degrees in TURNS if turning else (0,):
        turn = _about_centre(math.radians(degrees), still.shape)
        turned, covered = _warped(moving, turn, still.shape), _warped(seen, turn, still.shape) > 0.99
        correlation, dx, dy = _best_shift(still, turned, covered)
        shift = _identity()
        shift[:2, 2] = dx, dy
        found.append((correlation, turn @ shift))
    found.sort(key=lambda pair: -pair[0])
    return [motion for _, motion in found[:_GUESSES]]


def refined(
    still: np.ndarray, moving: np.ndarray, seen: np.ndarray, motion: np.ndarray, *, turning: bool
) -> tuple[float, np.ndarray]:
    """The motion near `motion` that fits best, and the correlation that it reaches; -1 where the planes hardly overlap."""
    import numpy as np

    h, w = still.shape
    y, x = np.mgrid[:h, :w].astype(np.float32)
    x, y = x - np.float32((w - 1) / 2), y - np.float32((h - 1) / 2)
    best = (-1.0, motion)
    for _ in range(_STEPS):
        moved, inside = _warped(moving, motion, still.shape), _warped(seen, motion, still.shape) > 0.99
        inside[[0, -1]] = inside[:, [0, -1]] = False
        if inside.mean() < _OVERLAP * seen.mean():
            break
        correlation = _correlation(still[inside], moved[inside])
        if correlation <= best[0] + 1e-7:
            break
        best = correlation, motion
        down, right = np.gradient(moved)
        columns = [right, down, *([right * -y + down * x] if turning else []), moved, np.ones_like(moved)]
        matrix = np.stack([column[inside] for column in columns], 1).astype(np.float64)
        solution, *_ = np.linalg.lstsq(matrix.T @ matrix, matrix.T @ still[inside].astype(np.float64), rcond=1e-10)
        contrast = solution[-2]
        if abs(contrast) < 1e-6:
            break
        step = _about_centre(float(solution[2] / contrast) if turning else 0.0, still.shape)
        step[:2, 2] += solution[:2] / contrast
        motion = motion @ step
    return best


def rescaled(motion: np.ndarray, size: tuple[int, ...], new: tuple[int, ...]) -> np.ndarray:
    """A motion between planes of `size` as one between the same planes resampled to `new`."""
    import numpy as np

    down, across = new[0] / size[0], new[1] / size[1]
    # pixel i is centred at (i + 0.5) * across - 0.5 of the new grid
    up = np.array([[across, 0, across / 2 - 0.5], [0, down, down / 2 - 0.5], [0, 0, 1]])
    there: np.ndarray = up @ motion @ np.linalg.inv(up)
    return there


def _best_shift(still: np.ndarray, moving: np.ndarray, covered: np.ndarray) -> tuple[float, int, int]:
    """The greatest normalised cross-correlation over whole-pixel shifts, and the shift from still to moving."""
    import numpy as np

    (h, w), size = still.shape, tuple(2 * n for n in still.shape)
    fields = [np.ones_like(still), still, still**2, covered.astype(np.float32), moving * covered, moving**2 * covered]
    one, a, a2, mask, b, b2 = (np.fft.rfft2(field, size) for field in fields)

    def over(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return np.fft.irfft2(np.conj(p) * q, size)

    count = np.maximum(over(one, mask), 1)
    sum_a, sum_b = over(a, mask), over(one, b)
    shared = over(a, b) - sum_a * sum_b / count
    spread_a = np.maximum(over(a2, mask) - sum_a**2 / count, 0)
    spread_b = np.maximum(over(one, b2) - sum_b**2 / count, 0)
    power = np.sqrt(spread_a * spread_b)
    correlation = np.where(power > 1e-6 * count, shared / np.maximum(power, 1e-12), -1)
    correlation[count < _OVERLAP * max(1, covered.sum())] = -1
    down, right = np.unravel_index(int(correlation.argmax()), size)
    best = float(correlation[down, right])
    return best, int(right) - (size[1] if right >= w else 0), int(down) - (size[0] if down >= h else 0)


def _about_centre(angle: float, shape: tuple[int, ...]) -> np.ndarray:
    import numpy as np

    cx, cy, c, s = (shape[1] - 1) / 2, (shape[0] - 1) / 2, math.cos(angle), math.sin(angle)
    return np.array([[c, -s, cx - c * cx + s * cy], [s, c, cy - s * cx - c * cy], [0, 0, 1]])


def _identity() -> np.ndarray:
    import numpy as np

    return np.eye(3)


def _warped(plane: np.ndarray, motion: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    import cv2

    warped: np.ndarray = cv2.warpAffine(
        plane, motion[:2], (shape[1], shape[0]), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    return warped


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    import numpy as np

    a, b = a - a.mean(), b - b.mean()
    power = float(np.sqrt(np.vdot(a, a) * np.vdot(b, b)))
    return float(np.vdot(a, b)) / power if power > 0 else -1.0
