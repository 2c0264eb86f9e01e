"""The tool `measure_mask`: how large a mask is, its longest diameter, and the values within it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from medvistagym_core.imaging import (
    Image,
    format_frame,
    format_mask_slices,
    format_measurements,
    full_resolution,
    mask_measurements,
    resample_mask_to,
)
from medvistagym_core.tools import tool

if TYPE_CHECKING:
    import numpy as np


@tool
def measure_mask(image: Image, mask: Image) -> tuple[str, dict[str, Any]]:
    """Measure what a mask covers: volume or area, longest diameter in mm with the one across it, and the image's values there.

    Use it for sizes and densities of a structure that segment or a model outlined; look at the mask first, since a wrong mask
    gives wrong figures. For the distance between two points of your own choosing use distance.

    Args:
        image: The image, or volume, whose values are wanted.
        mask: The mask, of the same region.
    """
    source = full_resolution(image)
    inside = resample_mask_to(mask, source)
    data = mask_measurements(inside, source)
    parts = [format_measurements(data)]
    if source.spacing is not None:
        longest = longest_diameter(inside, source.spacing[-2:])
        data |= longest
        location = f" on slice {longest['diameter_slice']}" if "diameter_slice" in longest else ""
        parts.append(
            f"longest diameter {longest['longest_diameter_mm']:.1f} mm{location}, across it {longest['short_axis_mm']:.1f} mm"
        )
    if source.photometric != "RGB":
        data["values"] = _statistics(source.pixels[inside], source.unit)
        v = data["values"]
        parts.append(
            f"values {v['mean']:.1f} (standard deviation {v['std']:.1f}, from {v['min']:g} to {v['max']:g}) in {v['unit']}"
        )
    return "; ".join(parts) + format_mask_slices(mask, source) + format_frame(image, source), data


def longest_diameter(mask: np.ndarray, spacing: tuple[float, ...]) -> dict[str, Any]:
    """The longest diameter of a mask within a slice, and the longest one at right angles to it.

    Source: RECIST 1.1 (Eisenhauer et al., European Journal of Cancer 45, 2009), which measures lesions in the axial plane.
    Diameters run between edges of pixels, and over gaps within the convex hull.

    Args:
        mask: Booleans `(H, W)` or `(N, H, W)`, not all False.
        spacing: Of pixel centres in mm, row and column.

    Returns:
        `longest_diameter_mm`, `short_axis_mm`, `diameter_ends` (two points `[x, y]` in pixels) and, of a volume,
        `diameter_slice`.
    """
    import numpy as np

    planes = mask if mask.ndim == 3 else mask[None]
    candidates: list[tuple[float, int, np.ndarray, tuple[int, int]]] = []
    for z in np.flatnonzero(planes.any((1, 2))).tolist():
        hull = _hull(planes[z]) * np.array(spacing[::-1])
        apart = np.hypot(*np.moveaxis(hull[:, None] - hull[None], -1, 0))
        i, j = divmod(int(apart.argmax()), len(hull))
        candidates.append((float(apart[i, j]), z, hull, (i, j)))
    length, z, hull, (i, j) = max(candidates, key=lambda one: one[0])
    ends = (hull[[i, j]] / np.array(spacing[::-1])).round(1).tolist()
    data: dict[str, Any] = {
        "longest_diameter_mm": length,
        "short_axis_mm": _longest_chord_across(hull, hull[j] - hull[i]),
        "diameter_ends": ends,
    }
    return data if mask.ndim == 2 else {**data, "diameter_slice": z}


def _hull(plane: np.ndarray) -> np.ndarray:
    """The convex hull of the corners of a plane's pixels, `(K, 2)` as x, y in pixel edges."""
    import cv2
    import numpy as np

    ys, xs = plane.nonzero()
    rows, first = np.unique(ys, return_index=True)
    last = np.append(first[1:], len(ys)) - 1  # pixels lie row by row, so the ends of each row hold its hull
    left, right = xs[first], xs[last] + 1
    corners = np.concatenate([np.stack([x, y], 1) for x in (left, right) for y in (rows, rows + 1)])
    return cv2.convexHull(corners.astype(np.float32))[:, 0].astype(np.float64)


def _longest_chord_across(hull: np.ndarray, direction: np.ndarray) -> float:
    """The longest chord of a convex polygon at right angles to a direction; it begins at a corner."""
    import numpy as np

    along = direction / max(float(np.hypot(*direction)), 1e-12)
    t, s = hull @ along, hull @ np.array([-along[1], along[0]])
    best = 0.0
    for at in t:
        crossings = []
        for a in range(len(t)):
            b = (a + 1) % len(t)
            low, high = min(t[a], t[b]), max(t[a], t[b])
            if not low - 1e-9 <= at <= high + 1e-9:
                continue
            if math.isclose(low, high):
                crossings += [s[a], s[b]]
            else:
                crossings.append(s[a] + (s[b] - s[a]) * (at - t[a]) / (t[b] - t[a]))
        best = max(best, float(max(crossings) - min(crossings)))
    return best


def _statistics(values: np.ndarray, unit: str) -> dict[str, Any]:
    """Mean, standard deviation, least, greatest and middle of values; those that are no numbers are left out."""
    import numpy as np

    values = values.astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        raise ValueError("the pixels that the mask covers have no values (NaN or infinite)")
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
        "median": float(np.median(values)),
        "unit": unit,
    }
