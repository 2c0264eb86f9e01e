"""Turning an image by any angle, on a canvas that holds all of it.

It is turned in millimetres, so that pixels which are not square distort nothing. Values between pixels are interpolated
linearly; masks and labels take the nearest pixel.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from medvistagym_core.imaging import Affine, Image
from medvistagym_kornia._batching import FilterCall, run_one
from medvistagym_kornia._planes import MAX_PIXELS, check_size, pixels_like, unflatten_planes
from medvistagym_kornia.backends import FilterBackend

if TYPE_CHECKING:
    import numpy as np

_MAX_SIDE: Final = 32766  # OpenCV counts pixels along a side in 16 bits
_MAX_HEIGHT_TO_WIDTH: Final = 10**6  # what is beyond fits on no canvas, or its ratio is no number
_MAX_CHUNK: Final = 2**18  # pixels of a mask that are looked up at once


def height_to_width(image: Image) -> float:
    """How much taller than wide a pixel is."""
    return 1.0 if image.spacing is None else image.spacing[-2] / image.spacing[-1]


def compose_affine(outer: Affine, inner: Affine) -> Affine:
    """The affine map that does `inner`, then `outer`."""
    a, b, c, d, e, f = outer
    p, q, r, s, t, u = inner
    # adding 0 turns -0.0 into 0.0, so that what is turned back is the same image
    return (a * p + b * s + 0.0, a * q + b * t + 0.0, a * r + b * u + c + 0.0,
            d * p + e * s + 0.0, d * q + e * t + 0.0, d * r + e * u + f + 0.0)  # fmt: skip


def prepare_rotation(backend: FilterBackend, image: Image, angle: float) -> FilterCall:
    """A turn about the centre, counter-clockwise in degrees, ready for the backend.

    The pixels of the full resolution keep their spacing; an image that was resampled from it covers the same canvas, by pixels
    as near to its own as whole numbers of them allow.

    Raises:
        ValueError: The image, or the canvas, is too large, or its pixels are too far from square.
    """
    check_size(image)
    finest = image
    while finest.detail is not None:
        finest = finest.detail
    (rows, columns), (h, w) = finest.shape, image.shape
    ratio = height_to_width(finest)
    if not 1 / _MAX_HEIGHT_TO_WIDTH <= ratio <= _MAX_HEIGHT_TO_WIDTH:
        raise ValueError(
            f"an image is turned by an angle if its pixels are at most {_MAX_HEIGHT_TO_WIDTH:,} times as tall as wide or as "
            f"wide as tall, not {ratio:g} times as tall as wide; give a turn"
        )
    a, b, d, e = _rotation(angle, ratio)
    tall = max(1, math.ceil(abs(d) * columns + abs(e) * rows - 1e-6))
    wide = max(1, math.ceil(abs(a) * columns + abs(b) * rows - 1e-6))
    height, width = max(1, round(tall * h / rows)), max(1, round(wide * w / columns))
    size = height * width * (image.pixels.size // (h * w))
    if size > MAX_PIXELS or max(height, width, h, w) > _MAX_SIDE:
        raise ValueError(
            f"an image turned by {angle:g} degrees has at most {MAX_PIXELS:,} pixels and {_MAX_SIDE:,} a side, this one would "
            f"have {size:,}, {width:,} across and {height:,} down; take a part of it with zoom first"
        )
    canvas_to_finest = (a, b, (columns - a * wide - b * tall) / 2, d, e, (rows - d * wide - e * tall) / 2)
    to_canvas = (wide / width, 0.0, 0.0, 0.0, tall / height, 0.0)
    from_finest = (w / columns, 0.0, 0.0, 0.0, h / rows, 0.0)
    to_input = compose_affine(from_finest, compose_affine(canvas_to_finest, to_canvas))
    spacing = image.spacing
    if spacing is not None:
        scale = (h / rows * (tall / height), w / columns * (wide / width))
        spacing = (*spacing[:-2], spacing[-2] * scale[0], spacing[-1] * scale[1])
    overlay = image.overlay
    if overlay is not None:
        overlay = _warp_nearest(overlay[None], to_input, (height, width), False)[0]
    detail = image.detail
    if detail is not None:
        detail = run_one(backend, prepare_rotation(backend, detail, angle))
    turned = image.replace(
        pixels=_blank_canvas(image, height, width),
        window="keep",
        overlay=overlay,
        spacing=spacing,
        to_source=compose_affine(image.to_source, to_input),
        detail=detail,
    )
    return _prepare_values(image, turned, to_input)


def _rotation(angle: float, ratio: float) -> tuple[float, float, float, float]:
    """`(a, b, d, e)` from pixels of the turned image to those of the image: in millimetres a rotation, clockwise."""
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    if abs(angle) == 90:
        cosine = 0.0
    return cosine, -sine * ratio, sine / ratio, cosine


def _blank_canvas(image: Image, height: int, width: int) -> np.ndarray:
    """Pixels of the turned image that take no memory, in the place of its values until they are computed."""
    import numpy as np

    frames = image.pixels.shape[:1] if image.is_stack else ()
    colours = (3,) if image.photometric == "RGB" else ()
    return np.broadcast_to(np.zeros((), image.pixels.dtype), (*frames, height, width, *colours))


def _prepare_values(image: Image, turned: Image, to_input: Affine) -> FilterCall:
    """The values of a turned image, of which all else is computed."""
    import numpy as np

    pixels = np.moveaxis(image.pixels, -1, -3) if image.photometric == "RGB" else image.pixels
    planes, shape = pixels.reshape(-1, *image.shape), turned.shape
    if image.holds_labels:
        nearest = _warp_nearest(planes, to_input, shape, 0)
        return FilterCall(
            nearest,
            "mask",
            lambda backend, x: x,
            lambda x: turned.replace(pixels=unflatten_planes(turned, x), window="keep"),
        )
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(planes, np.float32)
    missing = ~np.isfinite(values) if pixels.dtype.kind == "f" else np.zeros((1, 1, 1), bool)
    finite = values if not missing.any() else values[~missing]
    fill = 0.0
    if image.photometric != "RGB" and finite.size:
        fill = float(finite.max() if image.photometric == "MONOCHROME1" else finite.min())
    if missing.any():
        values = np.where(missing, np.float32(fill), values)

    def finish(x: np.ndarray) -> Image:
        if missing.any():  # a pixel whose nearest pixel has no value has none either
            is_missing = _warp_nearest(missing, to_input, shape, False)
            x = np.where(is_missing, _warp_nearest(planes, to_input, shape, 0), x)
        return turned.replace(pixels=pixels_like(turned, x), window="keep")

    return FilterCall(
        values, (to_input, shape, fill), lambda backend, x: backend.warp_affine(x, to_input, shape, fill), finish
    )


def _warp_nearest(planes: np.ndarray, to_input: Affine, shape: tuple[int, int], fill: float) -> np.ndarray:
    """Planes `(B, H, W)` of any dtype on the canvas, each pixel that of the plane which its centre lies in."""
    import numpy as np

    (h, w), (rows, columns) = planes.shape[1:], shape
    a, b, c, d, e, f = to_input
    out = np.full((len(planes), *shape), fill, planes.dtype)
    across = np.arange(columns) + 0.5
    step = max(1, _MAX_CHUNK // columns)
    for k in range(0, rows, step):
        down = np.arange(k, min(k + step, rows))[:, None] + 0.5
        x = np.floor(a * across + b * down + c).astype(np.int64)
        y = np.floor(d * across + e * down + f).astype(np.int64)
        inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
        out[:, k : k + step][:, inside] = planes[:, y[inside], x[inside]]
    return out
