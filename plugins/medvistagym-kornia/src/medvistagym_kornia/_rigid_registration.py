"""Registration of two planes: the shift, and the rotation, that lay one onto the other.

A transform is a `(3, 3)` matrix from pixels of the fixed plane to those of the moving one. Initial transforms come from the
normalised cross-correlation of small planes at every shift, for a fan of rotations; each is refined by least squares on the
linearised difference, brightness and contrast being free, on finer and finer planes.
Sources: Padfield, Masked object registration in the Fourier domain, IEEE TIP 21(5), 2012; Lucas and Kanade, An iterative image
registration technique, IJCAI 1981.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import numpy as np

    Level = tuple[np.ndarray, np.ndarray, np.ndarray]  # fixed, moving, and where moving has values, of one size

ROTATION_CANDIDATES_DEG: Final = tuple(range(-30, 31, 5))
_MIN_SIDE: Final = 16  # pixels, below which nothing can be registered
_FINE_SIDE: Final = 512  # longer side at which the transform is estimated last, and first
_COARSE_SIDE: Final = 64
_MIN_CORRELATION: Final = 0.3  # below which the planes are not taken to show the same
_MAX_CANDIDATES: Final = 3
_MAX_ITERATIONS: Final = 30
_MIN_OVERLAP: Final = 0.4  # part of the fixed plane that must be covered
_MAX_OPENCV_SIDE: Final = 32766

Kind = Literal["shift", "rigid"]


def estimate_transform(
    fixed: np.ndarray, moving: np.ndarray, start: np.ndarray, kind: Kind
) -> tuple[np.ndarray, float]:
    """The transform that fits best.

    Args:
        fixed: Float32 `(H, W)`.
        moving: Float32, of any size.
        start: Float64 `(2, 3)`, from pixels of the fixed plane to those of the moving one, to begin with.
        kind: "shift" only moves, "rigid" moves and rotates.

    Returns:
        The transform, `(2, 3)`, and the correlation of the two planes where they overlap.

    Raises:
        ValueError: A plane is too small or constant, or they do not fit anywhere.
    """
    import cv2
    import numpy as np

    h, w = fixed.shape
    if min(h, w) < _MIN_SIDE or min(moving.shape) < _MIN_SIDE:
        raise ValueError(
            f'images to register have at least {_MIN_SIDE} pixels a side; register "none" takes smaller ones'
        )
    if np.ptp(fixed) == 0 or np.ptp(moving) == 0:
        raise ValueError('an image in which all values are equal cannot be registered; register "none" takes it')
    rotate = kind == "rigid"
    warped, covered = warp_moving(moving, start, fixed.shape)
    full_size = (_match_intensity(fixed), _match_intensity(warped), covered.astype(np.float32))
    pyramid: list[Level] = []
    for side in (_COARSE_SIDE, _FINE_SIDE // 4, _FINE_SIDE):
        scale = min(1.0, side / max(h, w))
        size = (max(_MIN_SIDE // 2, round(w * scale)), max(_MIN_SIDE // 2, round(h * scale)))
        resized = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in full_size]
        pyramid.append((resized[0], resized[1], resized[2]))
    best = (-1.0, np.eye(3))
    for candidate in initial_transforms(*pyramid[0], rotate=rotate):
        correlation, transform, shape = -1.0, candidate, pyramid[0][0].shape
        for level in pyramid:
            transform = _rescale_transform(transform, shape, level[0].shape)
            shape = level[0].shape
            correlation, transform = refine_transform(*level, transform, rotate=rotate)
        if correlation > best[0]:
            best = correlation, _rescale_transform(transform, shape, (h, w))
    if best[0] < _MIN_CORRELATION:
        raise ValueError(
            'the images could not be brought together; register "none" subtracts them as they lie, if they fit already'
        )
    return (np.vstack([start, [0, 0, 1]]) @ best[1])[:2], best[0]


def warp_moving(moving: np.ndarray, transform: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The moving plane on the grid of the fixed one, bilinear, and booleans: where it has values there."""
    import cv2
    import numpy as np

    if max(*moving.shape, *shape) > _MAX_OPENCV_SIDE:
        raise ValueError(f"the images must be smaller than {_MAX_OPENCV_SIDE + 1} pixels a side")
    size = (shape[1], shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(moving, transform, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    coverage = cv2.warpAffine(np.ones(moving.shape, np.float32), transform, size, flags=flags)
    return warped, coverage > 1 - 1e-3


def initial_transforms(
    fixed: np.ndarray, moving: np.ndarray, coverage: np.ndarray, *, rotate: bool
) -> list[np.ndarray]:
    """The most promising transforms, best first.

    Args:
        fixed: Float32 `(H, W)`.
        moving: The same.
        coverage: Where `moving` has values, 0 to 1.
        rotate: Whether rotations are looked at.
    """
    import numpy as np

    candidates = []
    for degrees in ROTATION_CANDIDATES_DEG if rotate else (0,):
        rotation = _rotate_about_centre(math.radians(degrees), fixed.shape)
        rotated, covered = _warp(moving, rotation, fixed.shape), _warp(coverage, rotation, fixed.shape) > 0.99
        correlation, dx, dy = _best_shift(fixed, rotated, covered)
        shift = np.eye(3)
        shift[:2, 2] = dx, dy
        candidates.append((correlation, rotation @ shift))
    candidates.sort(key=lambda pair: -pair[0])
    return [transform for _, transform in candidates[:_MAX_CANDIDATES]]


def refine_transform(
    fixed: np.ndarray, moving: np.ndarray, coverage: np.ndarray, transform: np.ndarray, *, rotate: bool
) -> tuple[float, np.ndarray]:
    """The transform near `transform` that fits best, and its correlation; -1 where the planes hardly overlap."""
    import numpy as np

    h, w = fixed.shape
    y, x = np.mgrid[:h, :w].astype(np.float32)
    x, y = x - np.float32((w - 1) / 2), y - np.float32((h - 1) / 2)
    best = (-1.0, transform)
    for _ in range(_MAX_ITERATIONS):
        warped, inside = _warp(moving, transform, fixed.shape), _warp(coverage, transform, fixed.shape) > 0.99
        inside[[0, -1]] = inside[:, [0, -1]] = False
        if inside.mean() < _MIN_OVERLAP * coverage.mean():
            break
        correlation = _ncc(fixed[inside], warped[inside])
        if correlation <= best[0] + 1e-7:
            break
        best = correlation, transform
        down, right = np.gradient(warped)
        columns = [right, down, *([right * -y + down * x] if rotate else []), warped, np.ones_like(warped)]
        fields = np.stack([column[inside] for column in (*columns, fixed)]).astype(np.float64)
        products = np.einsum("in,jn->ij", fields, fields)  # not @, whose last digits depend on the number of threads
        solution, *_ = np.linalg.lstsq(products[:-1, :-1], products[:-1, -1], rcond=1e-10)
        contrast = solution[-2]
        if abs(contrast) < 1e-6:
            break
        step = _rotate_about_centre(float(solution[2] / contrast) if rotate else 0.0, fixed.shape)
        step[:2, 2] += solution[:2] / contrast
        transform = transform @ step
    return best


def _match_intensity(plane: np.ndarray) -> np.ndarray:
    """Float32 0 to 1 between the 1st and 99th percentile."""
    import numpy as np

    thinned = plane[:: max(1, plane.shape[0] // 512), :: max(1, plane.shape[1] // 512)]
    low, high = np.percentile(thinned, (1, 99))
    if high <= low:
        low, high = plane.min(), plane.max()
    scaled: np.ndarray = np.clip((plane - np.float32(low)) / np.float32(high - low), 0, 1)
    return scaled


def _rescale_transform(transform: np.ndarray, shape: tuple[int, ...], new_shape: tuple[int, ...]) -> np.ndarray:
    """A transform between planes of `shape` as one between the same planes resampled to `new_shape`."""
    import numpy as np

    down, across = new_shape[0] / shape[0], new_shape[1] / shape[1]
    # pixel i is centred at (i + 0.5) * across - 0.5 of the new grid
    to_new = np.array([[across, 0, across / 2 - 0.5], [0, down, down / 2 - 0.5], [0, 0, 1]])
    rescaled: np.ndarray = to_new @ transform @ np.linalg.inv(to_new)
    return rescaled


def _best_shift(fixed: np.ndarray, moving: np.ndarray, covered: np.ndarray) -> tuple[float, int, int]:
    """The greatest normalised cross-correlation over full_size-pixel shifts, and the shift from fixed to moving."""
    import numpy as np

    (h, w), size = fixed.shape, tuple(2 * n for n in fixed.shape)
    fields = [np.ones_like(fixed), fixed, fixed**2, covered.astype(np.float32), moving * covered, moving**2 * covered]
    one, a, a2, mask, b, b2 = (np.fft.rfft2(field, size) for field in fields)

    def correlate(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return np.fft.irfft2(np.conj(p) * q, size)

    count = np.maximum(correlate(one, mask), 1)
    sum_a, sum_b = correlate(a, mask), correlate(one, b)
    covariance = correlate(a, b) - sum_a * sum_b / count
    variance_a = np.maximum(correlate(a2, mask) - sum_a**2 / count, 0)
    variance_b = np.maximum(correlate(one, b2) - sum_b**2 / count, 0)
    power = np.sqrt(variance_a * variance_b)
    correlation = np.where(power > 1e-6 * count, covariance / np.maximum(power, 1e-12), -1)
    correlation[count < _MIN_OVERLAP * max(1, covered.sum())] = -1
    down, right = np.unravel_index(int(correlation.argmax()), size)
    best = float(correlation[down, right])
    return best, int(right) - (size[1] if right >= w else 0), int(down) - (size[0] if down >= h else 0)


def _rotate_about_centre(angle: float, shape: tuple[int, ...]) -> np.ndarray:
    """The rotation by `angle`, in radians, about the centre of a plane."""
    import numpy as np

    cx, cy, c, s = (shape[1] - 1) / 2, (shape[0] - 1) / 2, math.cos(angle), math.sin(angle)
    return np.array([[c, -s, cx - c * cx + s * cy], [s, c, cy - s * cx - c * cy], [0, 0, 1]])


def _warp(plane: np.ndarray, transform: np.ndarray, shape: tuple[int, ...]) -> Any:
    import cv2

    return cv2.warpAffine(plane, transform[:2], (shape[1], shape[0]), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _ncc(a: np.ndarray, b: np.ndarray) -> float:
    """Normalised cross-correlation, -1 to 1."""
    a, b = a - a.mean(), b - b.mean()
    # not np.vdot, whose last digits depend on the number of threads
    aa, bb, ab = (float((p * q).sum()) for p, q in ((a, a), (b, b), (a, b)))
    power = math.sqrt(aa * bb)
    return ab / power if power > 0 else -1.0
