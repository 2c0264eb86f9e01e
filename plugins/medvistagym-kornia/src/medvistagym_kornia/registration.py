"""The tool `difference`: one image minus another, after the second has been moved onto the first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Literal

from medvistagym_core.imaging import Image, Window
from medvistagym_core.tools import tool
from medvistagym_kornia import aligning
from medvistagym_kornia.planes import checked

if TYPE_CHECKING:
    import numpy as np

_LEAST: Final = 16  # pixels a side, below which nothing can be registered
_SIDE: Final = 512  # longer side at which the motion is estimated last, and first
_COARSE: Final = 64
_TRUST: Final = 0.3  # correlation below which the images are not taken to show the same


@tool
def difference(
    image: Image, other: Image, register: Literal["none", "shift", "rigid"] = "rigid"
) -> tuple[Image, str, dict[str, Any]]:
    """Subtract another image of the same region from this one, after moving it into place.

    Use it to find what has changed between two scans, or between before and after contrast medium: bright is more in `image`,
    dark is less, mid-grey is no change.

    Args:
        image: The image that stays in its place.
        other: The image to subtract; of the same unit.
        register: "rigid" moves and turns the other image to fit, "shift" only moves it, "none" takes it as it lies.
    """
    import numpy as np

    still, unit = _values(image)
    moving, other_unit = _values(other)
    if unit != other_unit:
        raise ValueError(f"the images have different units, {unit} and {other_unit}, and cannot be subtracted")
    start = _by_spacing(image, other)
    correlation = None
    warp = start
    if register != "none":
        warp, correlation = _registered(still, moving, start, register)
    moved, seen = _moved(moving, warp, still.shape)
    if not seen.any():
        raise ValueError("the images do not overlap")
    change = np.where(seen, still - moved, np.float32(0))
    inside = change[seen]
    motion = _motion(start, warp, still.shape)
    data: dict[str, Any] = {
        **motion,
        "correlation": correlation,
        "mean": float(np.abs(inside).mean()),
        "largest": float(np.abs(inside).max()),
        "overlap": float(seen.mean()),
        "unit": None if unit in ("grey", "raw") else unit,
    }
    reach = float(np.percentile(np.abs(inside), 99.5)) or data["largest"] or 1.0
    result = image.replace(
        pixels=change,
        frame=None,
        spacing=None if image.spacing is None else image.spacing[-2:],
        unit=unit,
        photometric="MONOCHROME2",
        window=Window(0.0, 2 * reach, "linear_exact", "difference"),
        windows=(),
        overlay=None,
        detail=None,
    )
    return result, _sentence(image, data), data


def _values(image: Image) -> tuple[np.ndarray, str]:
    """Float32 `(H, W)` of the frame that is shown, luma of colours (ITU-R BT.601), and their unit."""
    import numpy as np

    pixels = checked(image).pixels
    if image.is_stack:
        pixels = pixels[image.frames // 2 if image.frame is None else image.frame]
    with np.errstate(over="ignore"):
        plane = np.ascontiguousarray(pixels, np.float32)
    if image.photometric == "RGB":
        plane = plane @ np.array((0.299, 0.587, 0.114), np.float32)
    bad = plane.size - int(np.count_nonzero(np.isfinite(plane)))
    if bad:
        raise ValueError(f"{bad} of {plane.size} pixels have no value (NaN or infinite); take a part without them")
    if image.photometric == "MONOCHROME1":
        plane = -plane  # so that bright stays bright; the common offset falls out of a difference
    return plane, image.unit


def _by_spacing(image: Image, other: Image) -> np.ndarray:
    """Float64 `(2, 3)`, from pixels of `image` to those of `other` with both centres together and both scales true."""
    import numpy as np

    (h, w), (oh, ow) = image.shape, other.shape
    if image.spacing is not None and other.spacing is not None:
        rows, columns = (a / b for a, b in zip(image.spacing[-2:], other.spacing[-2:], strict=True))
    elif (h, w) == (oh, ow):
        rows = columns = 1.0
    else:
        raise ValueError(
            f"the images have different sizes, {w} x {h} and {ow} x {oh} pixels, and their spacing is not known"
        )
    if (h * rows / oh, w * columns / ow) > (8, 8) or max(oh / (h * rows), ow / (w * columns)) > 64:
        raise ValueError("the images show regions of very different size")
    return np.array(
        [[columns, 0, (ow - 1) / 2 - columns * (w - 1) / 2], [0, rows, (oh - 1) / 2 - rows * (h - 1) / 2]], np.float64
    )


def _moved(moving: np.ndarray, warp: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The other image on the grid of the first, bilinear, and where it has values there."""
    import cv2
    import numpy as np

    if max(moving.shape) >= 32767 or max(shape) >= 32767:  # a limit of OpenCV's
        raise ValueError("the images must be smaller than 32767 pixels a side")
    size = (shape[1], shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(moving, warp, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    seen = cv2.warpAffine(np.ones(moving.shape, np.float32), warp, size, flags=flags)
    return moved, seen > 1 - 1e-3


def _registered(
    still: np.ndarray, moving: np.ndarray, start: np.ndarray, register: Literal["shift", "rigid"]
) -> tuple[np.ndarray, float]:
    """The warp that fits best, and the correlation of the two images where they overlap."""
    import cv2
    import numpy as np

    h, w = still.shape
    if min(h, w) < _LEAST or min(moving.shape) < _LEAST:
        raise ValueError(f'images to register have at least {_LEAST} pixels a side; register "none" takes smaller ones')
    if np.ptp(still) == 0 or np.ptp(moving) == 0:
        raise ValueError('an image in which all values are equal cannot be registered; register "none" takes it')
    moved, seen = _moved(moving, start, still.shape)
    fixed, moved = _stretched(still), _stretched(moved)
    pairs = [(fixed, moved, seen.astype(np.float32))]
    for side in (_SIDE, _SIDE // 4, _COARSE):
        scale = min(1.0, side / max(h, w))
        size = (max(_LEAST // 2, round(w * scale)), max(_LEAST // 2, round(h * scale)))
        pairs.append(tuple(cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in pairs[0]))  # type: ignore[arg-type]
    best = (-1.0, np.eye(3))
    for guess in aligning.guesses(*pairs[-1], turning=register == "rigid"):
        found = guess
        size = pairs[-1][0].shape
        for fine in (pairs[-1], pairs[-2], pairs[-3]):
            found = aligning.rescaled(found, size, fine[0].shape)
            size = fine[0].shape
            correlation, found = aligning.refined(*fine, found, turning=register == "rigid")
        if correlation > best[0]:
            best = correlation, aligning.rescaled(found, size, (h, w))
    if best[0] < _TRUST:
        raise ValueError(
            'the images could not be brought together; register "none" subtracts them as they lie, if they fit already'
        )
    return (np.vstack([start, [0, 0, 1]]) @ best[1])[:2], best[0]


def _stretched(plane: np.ndarray) -> np.ndarray:
    """Float32 0 to 1 between the 1st and 99th percentile."""
    import numpy as np

    thinned = plane[:: max(1, plane.shape[0] // 512), :: max(1, plane.shape[1] // 512)]
    low, high = np.percentile(thinned, (1, 99))
    if high <= low:
        low, high = plane.min(), plane.max()
    scaled: np.ndarray = np.clip((plane - np.float32(low)) / np.float32(high - low), 0, 1)
    return scaled


def _motion(start: np.ndarray, warp: np.ndarray, shape: tuple[int, ...]) -> dict[str, float]:
    """How the other image was moved, in pixels of the first, and turned, in degrees to the right."""
    import numpy as np

    h, w = shape
    to_first = np.linalg.inv(np.vstack([warp, [0, 0, 1]]))
    before = np.vstack([start, [0, 0, 1]])
    moved = to_first @ before
    middle = np.array([(w - 1) / 2, (h - 1) / 2, 1.0])
    dx, dy = (moved @ middle)[:2] - middle[:2]
    return {
        "right_px": float(dx),
        "down_px": float(dy),
        "turned_degrees": math.degrees(math.atan2(moved[1, 0], moved[0, 0])),
    }


def _sentence(image: Image, data: dict[str, Any]) -> str:
    unit = f" {data['unit']}" if data["unit"] else ""
    text = f"mean absolute difference {data['mean']:.4g}{unit}, largest {data['largest']:.4g}{unit}"
    if data["correlation"] is not None:
        text += f"; the other image was moved {data['right_px']:.1f} px to the right and {data['down_px']:.1f} px down"
        if image.spacing is not None:
            right, down = data["right_px"] * image.spacing[-1], data["down_px"] * image.spacing[-2]
            text += f" ({right:.1f} and {down:.1f} mm)"
        text += f" and turned {data['turned_degrees']:.1f} degrees; correlation {data['correlation']:.2f}"
    if data["overlap"] < 0.995:
        text += f"; {100 * data['overlap']:.0f} % of the image is covered by the other, the rest is left at 0"
    return text
