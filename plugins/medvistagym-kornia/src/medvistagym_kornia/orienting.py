"""The tool `orient`: turning and mirroring, without changing a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from medvistagym_core.image import Affine, Image
from medvistagym_core.tool import tool

if TYPE_CHECKING:
    import numpy as np

Turn = Literal["left", "right", "half", "mirror_left_right", "mirror_top_bottom"]


@tool
def orient(image: Image, turn: Turn) -> Image:
    """Turn or mirror an image, without changing its values.

    Use it when a picture lies on its side, upside down or is mirrored; it shows nothing new otherwise.

    Args:
        image: The image to turn.
        turn: A quarter turn to the left or right, half a turn, or a mirror image with left and right or top and bottom swapped.
    """
    h, w = image.shape
    spacing = image.spacing
    if spacing is not None and turn in ("left", "right"):
        spacing = (*spacing[:-2], spacing[-1], spacing[-2])
    return image.replace(
        pixels=_turned(image.pixels, turn, 1 if image.is_stack else 0),
        overlay=None if image.overlay is None else _turned(image.overlay, turn, 0),
        spacing=spacing,
        to_source=_after(image.to_source, _back(turn, h, w)),
        detail=None if image.detail is None else orient(image.detail, turn=turn),
    )


def _turned(pixels: np.ndarray, turn: Turn, rows: int) -> np.ndarray:
    import numpy as np

    axes = (rows, rows + 1)
    if turn == "mirror_left_right":
        return np.flip(pixels, axes[1])
    if turn == "mirror_top_bottom":
        return np.flip(pixels, axes[0])
    return np.rot90(pixels, {"left": 1, "half": 2, "right": 3}[turn], axes)


def _back(turn: Turn, h: int, w: int) -> Affine:
    """From pixel edges of the turned image to those of an image of `(h, w)`."""
    if turn == "left":
        return (0.0, -1.0, float(w), 1.0, 0.0, 0.0)
    if turn == "right":
        return (0.0, 1.0, 0.0, -1.0, 0.0, float(h))
    if turn == "half":
        return (-1.0, 0.0, float(w), 0.0, -1.0, float(h))
    if turn == "mirror_left_right":
        return (-1.0, 0.0, float(w), 0.0, 1.0, 0.0)
    return (1.0, 0.0, 0.0, 0.0, -1.0, float(h))


def _after(outer: Affine, inner: Affine) -> Affine:
    """The affine map that does `inner`, then `outer`."""
    a, b, c, d, e, f = outer
    p, q, r, s, t, u = inner
    # adding 0 turns -0.0 into 0.0, so that what is turned back is the same image
    return (a * p + b * s + 0.0, a * q + b * t + 0.0, a * r + b * u + c + 0.0,
            d * p + e * s + 0.0, d * q + e * t + 0.0, d * r + e * u + f + 0.0)  # fmt: skip
