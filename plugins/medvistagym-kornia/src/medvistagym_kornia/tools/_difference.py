"""The tool `difference`: one image minus another, after the second has been moved onto the first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Literal

from medvistagym_core.imaging import LUMA, Image, Window, require_finite
from medvistagym_core.tools import tool
from medvistagym_kornia._planes import check_magnitude, check_size
from medvistagym_kornia._rigid_registration import estimate_transform, warp_moving

if TYPE_CHECKING:
    import numpy as np

_MAX_LARGER: Final = 8  # times the side of the other that one of the image may be
_MAX_SMALLER: Final = 64


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

    fixed, unit = _displayed_values(image)
    moving, other_unit = _displayed_values(other)
    if unit != other_unit:
        raise ValueError(f"the images have different units, {unit} and {other_unit}, and cannot be subtracted")
    start = _align_centers(image, other)
    correlation = None
    transform = start
    if register != "none":
        transform, correlation = estimate_transform(fixed, moving, start, register)
    warped, covered = warp_moving(moving, transform, fixed.shape)
    if not covered.any():
        raise ValueError("the images do not overlap")
    change = np.where(covered, fixed - warped, np.float32(0))
    magnitude = np.abs(change[covered])
    data: dict[str, Any] = {
        **_describe_motion(start, transform, fixed.shape),
        "correlation": correlation,
        "mean": float(magnitude.mean()),
        "largest": float(magnitude.max()),
        "overlap": float(covered.mean()),
        "unit": image.physical_unit,
    }
    half_width = float(np.percentile(magnitude, 99.5)) or data["largest"] or 1.0
    result = image.replace(
        pixels=change,
        frame=None,
        spacing=None if image.spacing is None else image.spacing[-2:],
        unit=unit,
        photometric="MONOCHROME2",
        window=Window(0.0, 2 * half_width, "linear_exact", "difference"),
        windows=(),
        overlay=None,
        detail=None,
    )
    text = _format_difference(image, data) + _format_frame("image", image) + _format_frame("other", other)
    return result, text, data


def _displayed_values(image: Image) -> tuple[np.ndarray, str]:
    """Float32 `(H, W)` of the frame that is displayed, luma of colours, and their unit."""
    import numpy as np

    pixels = check_size(image).pixels
    if image.is_stack:
        pixels = pixels[image.frames // 2 if image.frame is None else image.frame]
    with np.errstate(over="ignore"):
        plane = np.ascontiguousarray(pixels, np.float32)
    if image.photometric == "RGB":
        plane = plane @ np.array(LUMA, np.float32)
    check_magnitude(*require_finite(plane))
    if image.photometric == "MONOCHROME1":
        plane = -plane  # so that bright stays bright; the common offset falls out of a difference
    return plane, image.unit


def _align_centers(image: Image, other: Image) -> np.ndarray:
    """Float64 `(2, 3)`, from pixels of `image` to those of `other` with both centres together and both scales true."""
    import numpy as np

    (h, w), (other_h, other_w) = image.shape, other.shape
    if image.spacing is not None and other.spacing is not None:
        rows, columns = (a / b for a, b in zip(image.spacing[-2:], other.spacing[-2:], strict=True))
    elif (h, w) == (other_h, other_w):
        rows = columns = 1.0
    else:
        raise ValueError(
            f"the images have different sizes, {w} x {h} and {other_w} x {other_h} pixels, and their spacing is not known"
        )
    ratios = (h * rows / other_h, w * columns / other_w)  # of the image's sides to those of the other
    if max(ratios) > _MAX_LARGER or min(ratios) < 1 / _MAX_SMALLER:
        raise ValueError("the images show regions of very different size")
    return np.array(
        [
            [columns, 0, (other_w - 1) / 2 - columns * (w - 1) / 2],
            [0, rows, (other_h - 1) / 2 - rows * (h - 1) / 2],
        ],
        np.float64,
    )


def _describe_motion(start: np.ndarray, transform: np.ndarray, shape: tuple[int, ...]) -> dict[str, float]:
    """How the other image was moved, in pixels of the first, and turned, in degrees to the right."""
    import numpy as np

    h, w = shape
    to_first = np.linalg.inv(np.vstack([transform, [0, 0, 1]]))
    motion = to_first @ np.vstack([start, [0, 0, 1]])
    centre = np.array([(w - 1) / 2, (h - 1) / 2, 1.0])
    dx, dy = (motion @ centre)[:2] - centre[:2]
    return {
        "right_px": float(dx),
        "down_px": float(dy),
        "turned_degrees": math.degrees(math.atan2(motion[1, 0], motion[0, 0])),
    }


def _format_frame(name: str, image: Image) -> str:
    """Which frame of a stack is compared, as the end of a sentence; empty for a single frame."""
    if not image.is_stack:
        return ""
    frame = image.frames // 2 if image.frame is None else image.frame
    return f"; of {name}, frame {frame} of 0 to {image.frames - 1}"


def _format_difference(image: Image, data: dict[str, Any]) -> str:
    unit = f" {data['unit']}" if data["unit"] else ""
    text = f"mean absolute difference {data['mean']:.4g}{unit}, largest {data['largest']:.4g}{unit}"
    if data["correlation"] is not None:
        text += f"; the other image was moved {data['right_px']:.1f} px to the right and {data['down_px']:.1f} px down"
        if image.spacing is not None:
            right_mm, down_mm = data["right_px"] * image.spacing[-1], data["down_px"] * image.spacing[-2]
            text += f" ({right_mm:.1f} and {down_mm:.1f} mm)"
        text += f" and turned {data['turned_degrees']:.1f} degrees; correlation {data['correlation']:.2f}"
    if data["overlap"] < 0.995:
        text += f"; {100 * data['overlap']:.0f} % of the image is covered by the other, the rest is left at 0"
    return text
