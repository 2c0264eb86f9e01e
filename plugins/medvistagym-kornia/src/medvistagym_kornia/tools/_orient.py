"""The tool `orient`: turning and mirroring.

Quarter turns and mirror images only put pixels elsewhere; a turn by another angle interpolates between them (`_rotation`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast, get_args

from pydantic import Field

from medvistagym_core.imaging import Affine, Image
from medvistagym_core.tools import Tool, tool
from medvistagym_kornia._batching import FilterCall, run_batched, run_one
from medvistagym_kornia._rotation import compose_affine, height_to_width, prepare_rotation
from medvistagym_kornia.backends import FilterBackend, select_backend

if TYPE_CHECKING:
    import numpy as np

OrientOperation = Literal["left", "right", "half", "mirror_left_right", "mirror_top_bottom"]
Angle = Annotated[float, Field(ge=-360, le=360)]
_QUARTER_TURNS: Final[dict[float, OrientOperation]] = {90: "left", -90: "right", 180: "half", -180: "half"}


@tool
class Orient:
    """Turn or mirror an image. Give a turn, or an angle.

    Use it when a picture lies on its side, upside down, is mirrored, or is tilted, to straighten it; it shows nothing new
    otherwise. At an angle the picture grows until all of it is seen; its corners are filled with the darkest value: keep a box
    to be measured clear of them.

    Args:
        image: The image to turn.
        turn: A quarter turn to the left or right, half a turn, or a mirror image with left and right or top and bottom swapped.
        angle: Degrees to turn it counter-clockwise; negative ones turn it clockwise.
    """

    def setup(self, device: str) -> None:
        self.backend = select_backend(device)

    def run(self, image: Image, turn: OrientOperation | None = None, angle: Angle | None = None) -> Image:
        prepared = _prepare_orient(self.backend, image, turn, angle)
        return run_one(self.backend, prepared) if isinstance(prepared, FilterCall) else prepared


orient = cast(Tool, Orient)  # to a type checker a decorated class is still the class


@orient.batch
def _run_calls(instance: Any, calls: Sequence[Mapping[str, Any]]) -> list[Image | Exception]:
    prepared = [_prepare_or_error(instance.backend, **call) for call in calls]
    rotated = iter(run_batched(instance.backend, [one for one in prepared if not isinstance(one, Image)]))
    return [one if isinstance(one, Image) else next(rotated) for one in prepared]


def _prepare_or_error(
    backend: FilterBackend, image: Image, turn: OrientOperation | None = None, angle: float | None = None
) -> Image | FilterCall | Exception:
    try:
        return _prepare_orient(backend, image, turn, angle)
    except ValueError as error:
        return error


def _prepare_orient(
    backend: FilterBackend, image: Image, turn: OrientOperation | None, angle: float | None
) -> Image | FilterCall:
    """The turned image where no value changes, otherwise the call of the filter that is left to do."""
    if turn is not None and angle is not None:
        raise ValueError("give a turn or an angle, not both")
    if turn is not None:
        return _rotate_quarter(image, turn)
    if angle is None:
        raise ValueError(f"give a turn or an angle: {', '.join(get_args(OrientOperation))}; 12.5 degrees")
    if abs(angle) > 180:
        angle = math.remainder(angle, 360)  # 270 to the left is 90 to the right
    if angle == 0:
        return image
    if angle in _QUARTER_TURNS and (abs(angle) == 180 or math.isclose(height_to_width(image), 1, rel_tol=1e-6)):
        return _rotate_quarter(image, _QUARTER_TURNS[angle])
    return prepare_rotation(backend, image, angle)


def _rotate_quarter(image: Image, turn: OrientOperation) -> Image:
    h, w = image.shape
    spacing = image.spacing
    if spacing is not None and turn in ("left", "right"):
        spacing = (*spacing[:-2], spacing[-1], spacing[-2])
    return image.replace(
        pixels=_rotate_pixels(image.pixels, turn, 1 if image.is_stack else 0),
        window="keep",
        overlay=None if image.overlay is None else _rotate_pixels(image.overlay, turn, 0),
        spacing=spacing,
        to_source=compose_affine(image.to_source, _inverse_affine(turn, h, w)),
        detail=None if image.detail is None else _rotate_quarter(image.detail, turn),
    )


def _rotate_pixels(pixels: np.ndarray, turn: OrientOperation, row_axis: int) -> np.ndarray:
    import numpy as np

    axes = (row_axis, row_axis + 1)
    if turn == "mirror_left_right":
        return np.flip(pixels, axes[1])
    if turn == "mirror_top_bottom":
        return np.flip(pixels, axes[0])
    return np.rot90(pixels, {"left": 1, "half": 2, "right": 3}[turn], axes)


def _inverse_affine(turn: OrientOperation, h: int, w: int) -> Affine:
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
