"""The tool `orient`: turning and mirroring.

Quarter turns and mirror images only put pixels elsewhere. A turn by another angle interpolates between them, in millimetres, so
that pixels which are not square distort nothing; masks take the nearest pixel instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast, get_args

from pydantic import Field

from medvistagym_core.imaging import Affine, Image
from medvistagym_core.tools import Tool, tool
from medvistagym_kornia.kernels import kernels as kernels_for
from medvistagym_kornia.planes import LARGEST, Work, checked, done, shaped, together, with_values

if TYPE_CHECKING:
    import numpy as np

    from medvistagym_kornia.kernels import Kernels

Turn = Literal["left", "right", "half", "mirror_left_right", "mirror_top_bottom"]
Angle = Annotated[float, Field(ge=-180, le=180)]
_LONGEST: Final = 32766  # OpenCV counts pixels along a side in 16 bits
_TALLEST: Final = 10**6  # or widest; what is beyond fits on no canvas, or its ratio is no number
_AT_ONCE: Final = 2**18  # pixels of a mask that are looked up in one go
_QUARTERS: Final[dict[float, Turn]] = {90: "left", -90: "right", 180: "half", -180: "half"}


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
        self.kernels = kernels_for(device)

    def run(self, image: Image, turn: Turn | None = None, angle: Angle | None = None) -> Image:
        made = _turning(self.kernels, image, turn, angle)
        return done(self.kernels, made) if isinstance(made, Work) else made


orient = cast(Tool, Orient)


@orient.batch
def _orients(instance: Any, calls: Sequence[Mapping[str, Any]]) -> list[Image | Exception]:
    made = [_prepared(instance.kernels, **call) for call in calls]
    tilted = iter(together(instance.kernels, [one for one in made if not isinstance(one, Image)]))
    return [one if isinstance(one, Image) else next(tilted) for one in made]


def _prepared(
    kernels: Kernels, image: Image, turn: Turn | None = None, angle: float | None = None
) -> Image | Work | Exception:
    try:
        return _turning(kernels, image, turn, angle)
    except ValueError as error:
        return error


def _turning(kernels: Kernels, image: Image, turn: Turn | None, angle: float | None) -> Image | Work:
    """The turned image where no value changes, otherwise the work that is left to do."""
    if (turn is None) == (angle is None):
        raise ValueError(
            f"give a turn or an angle{', not both' if turn else ': ' + ', '.join(get_args(Turn)) + '; 12.5 degrees'}"
        )
    if turn is not None:
        return _quarter(image, turn)
    assert angle is not None
    if angle == 0:
        return image
    if angle in _QUARTERS and (abs(angle) == 180 or math.isclose(_height_to_width(image), 1, rel_tol=1e-6)):
        return _quarter(image, _QUARTERS[angle])
    return _tilting(kernels, image, angle)


# -- quarter turns and mirror images


def _quarter(image: Image, turn: Turn) -> Image:
    h, w = image.shape
    spacing = image.spacing
    if spacing is not None and turn in ("left", "right"):
        spacing = (*spacing[:-2], spacing[-1], spacing[-2])
    return image.replace(
        pixels=_turned(image.pixels, turn, 1 if image.is_stack else 0),
        overlay=None if image.overlay is None else _turned(image.overlay, turn, 0),
        spacing=spacing,
        to_source=_after(image.to_source, _back(turn, h, w)),
        detail=None if image.detail is None else _quarter(image.detail, turn),
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


# -- any angle


def _tilting(kernels: Kernels, image: Image, angle: float) -> Work:
    """An image turned about its middle, on a canvas that holds all of it.

    The pixels of the finest detail keep their spacing; an image that was resampled from it covers the same canvas, by pixels
    as near to its own as whole numbers of them allow.
    """
    checked(image)
    finest = image
    while finest.detail is not None:
        finest = finest.detail
    (rows, columns), (h, w) = finest.shape, image.shape
    tallness = _height_to_width(finest)
    if not 1 / _TALLEST <= tallness <= _TALLEST:
        raise ValueError(
            f"an image is turned by an angle if its pixels are at most {_TALLEST:,} times as tall as wide or as wide as tall, "
            f"not {tallness:g} times as tall as wide; give a turn"
        )
    a, b, d, e = _tilt(angle, tallness)
    tall = max(1, math.ceil(abs(d) * columns + abs(e) * rows - 1e-6))
    wide = max(1, math.ceil(abs(a) * columns + abs(b) * rows - 1e-6))
    height, width = max(1, round(tall * h / rows)), max(1, round(wide * w / columns))
    size = height * width * (image.pixels.size // (h * w))
    if size > LARGEST or max(height, width, h, w) > _LONGEST:
        raise ValueError(
            f"an image turned by {angle:g} degrees has at most {LARGEST:,} pixels and {_LONGEST:,} a side, this one would "
            f"have {size:,}, {width:,} across and {height:,} down; take a part of it with zoom first"
        )
    of_finest = (a, b, (columns - a * wide - b * tall) / 2, d, e, (rows - d * wide - e * tall) / 2)
    grown, shrunk = (wide / width, 0.0, 0.0, 0.0, tall / height, 0.0), (w / columns, 0.0, 0.0, 0.0, h / rows, 0.0)
    back = _after(shrunk, _after(of_finest, grown))
    spacing = image.spacing
    if spacing is not None:
        longer = (h / rows * (tall / height), w / columns * (wide / width))
        spacing = (*spacing[:-2], spacing[-2] * longer[0], spacing[-1] * longer[1])
    turned = image.replace(
        pixels=_canvas(image, height, width),
        overlay=None if image.overlay is None else _picked(image.overlay[None], back, (height, width), False)[0],
        spacing=spacing,
        to_source=_after(image.to_source, back),
        detail=None if image.detail is None else done(kernels, _tilting(kernels, image.detail, angle)),
    )
    return _work(image, turned, back)


def _height_to_width(image: Image) -> float:
    """How much taller than wide a pixel is."""
    return 1.0 if image.spacing is None else image.spacing[-2] / image.spacing[-1]


def _tilt(angle: float, tallness: float) -> tuple[float, float, float, float]:
    """`(a, b, d, e)` from pixels of the turned image to those of the image: in millimetres a rotation, clockwise."""
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    if abs(angle) == 90:
        cosine = 0.0
    return cosine, -sine * tallness, sine / tallness, cosine


def _canvas(image: Image, height: int, width: int) -> np.ndarray:
    """Pixels of the turned image that take no memory, until there are values."""
    import numpy as np

    first = image.pixels.shape[:1] if image.is_stack else ()
    colours = (3,) if image.photometric == "RGB" else ()
    return np.broadcast_to(np.zeros((), image.pixels.dtype), (*first, height, width, *colours))


def _work(image: Image, turned: Image, back: Affine) -> Work:
    """The values of a turned image, of which all but those is known."""
    import numpy as np

    pixels = np.moveaxis(image.pixels, -1, -3) if image.photometric == "RGB" else image.pixels
    planes, shape = pixels.reshape(-1, *image.shape), turned.shape
    if image.unit in ("mask", "label") or pixels.dtype.kind == "b":
        nearest = _picked(planes, back, shape, 0)
        return Work(nearest, "mask", lambda k, x: x, lambda x: turned.replace(pixels=shaped(turned, x)))
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(planes, np.float32)
    missing = ~np.isfinite(values) if pixels.dtype.kind == "f" else np.zeros((1, 1, 1), bool)
    known = values if not missing.any() else values[~missing]
    fill = 0.0
    if image.photometric != "RGB" and known.size:
        fill = float(known.max() if image.photometric == "MONOCHROME1" else known.min())
    if missing.any():
        values = np.where(missing, np.float32(fill), values)

    def finish(x: np.ndarray) -> Image:
        if missing.any():  # what has no value next to where a pixel lies has none there
            x = np.where(_picked(missing, back, shape, False), _picked(planes, back, shape, 0), x)
        return turned.replace(pixels=with_values(turned, x).pixels)

    return Work(values, (back, shape, fill), lambda k, x: k.sampled(x, back, shape, fill), finish)


def _picked(planes: np.ndarray, back: Affine, shape: tuple[int, int], fill: float) -> np.ndarray:
    """Planes `(B, H, W)` of any type at other places, each pixel that of the plane which its middle lies in."""
    import numpy as np

    (h, w), (rows, columns) = planes.shape[1:], shape
    a, b, c, d, e, f = back
    out = np.full((len(planes), *shape), fill, planes.dtype)
    across = np.arange(columns) + 0.5
    step = max(1, _AT_ONCE // columns)
    for k in range(0, rows, step):
        down = np.arange(k, min(k + step, rows))[:, None] + 0.5
        x = np.floor(a * across + b * down + c).astype(np.int64)
        y = np.floor(d * across + e * down + f).astype(np.int64)
        inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
        out[:, k : k + step][:, inside] = planes[:, y[inside], x[inside]]
    return out


def _after(outer: Affine, inner: Affine) -> Affine:
    """The affine map that does `inner`, then `outer`."""
    a, b, c, d, e, f = outer
    p, q, r, s, t, u = inner
    # adding 0 turns -0.0 into 0.0, so that what is turned back is the same image
    return (a * p + b * s + 0.0, a * q + b * t + 0.0, a * r + b * u + c + 0.0,
            d * p + e * s + 0.0, d * q + e * t + 0.0, d * r + e * u + f + 0.0)  # fmt: skip
