"""Planes `(B, H, W)` of images, one a frame and colour: their values, their picture, and images of planes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging import LUMA, Image, Window, require_finite

if TYPE_CHECKING:
    import numpy as np

MAX_PIXELS: Final = 2**26
MAX_MAGNITUDE: Final = 1e18  # of a value: filters square it, and float32 ends at 3e38


def check_size(image: Image) -> Image:
    """The image, if it is of a size that can be worked on.

    Raises:
        ValueError: It has more than 2**26 pixels.
    """
    if image.pixels.size > MAX_PIXELS:
        raise ValueError(
            f"the image has {image.pixels.size:,} pixels, the most is {MAX_PIXELS:,}; take a part of it with zoom first"
        )
    return image


def value_planes(image: Image) -> np.ndarray:
    """Float32 planes of the values, one a frame and colour.

    Raises:
        ValueError: The image is too large, or some of its values are NaN, infinite or beyond `MAX_MAGNITUDE`.
    """
    import numpy as np

    pixels = check_size(image).pixels
    if image.photometric == "RGB":
        pixels = np.moveaxis(pixels, -1, -3)
    with np.errstate(over="ignore"):
        planes = np.ascontiguousarray(pixels, np.float32).reshape(-1, *image.shape)
    if pixels.dtype.kind == "f":
        check_magnitude(*require_finite(planes))
    return planes


def check_magnitude(low: float, high: float) -> None:
    """Refuse values that filters cannot compute with.

    Raises:
        ValueError: They reach beyond `MAX_MAGNITUDE`.
    """
    if max(-low, high) > MAX_MAGNITUDE:
        raise ValueError(
            f"the values of the image reach {max(-low, high):.3g}, the most is {MAX_MAGNITUDE:g}; bring them to another scale "
            "with scale_intensity first"
        )


def display_planes(image: Image) -> np.ndarray:
    """The frames as they are displayed, without graphics: uint8 `(B, H, W)` or `(B, H, W, 3)`.

    Raises:
        ValueError: The image is too large, or some of its values are NaN or infinite.
    """
    import numpy as np

    if check_size(image).pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            require_finite(image.pixels.astype(np.float32, copy=False))
    bare = image if image.overlay is None else image.replace(overlay=None)
    if not image.is_stack:
        return bare.rendered().pixels[None]  # rendered already, where a policy was shown it
    frames = np.empty((image.frames, *bare.view_shape()), np.uint8)
    for k, frame in enumerate(frames):
        bare.replace(frame=k).view(out=frame)
    return frames


def grayscale_planes(image: Image) -> np.ndarray:
    """The frames as they are displayed, uint8 `(B, H, W)`; of colours their luma."""
    import numpy as np

    frames = display_planes(image)
    if frames.ndim == 3:
        return frames
    luma: np.ndarray = np.rint(frames @ np.array(LUMA, np.float32)).astype(np.uint8)
    return luma


def pixels_like(image: Image, planes: np.ndarray) -> np.ndarray:
    """Planes of other values as pixels of the image's shape, in its own dtype: integers are rounded, floats become float32."""
    import numpy as np

    kind = image.pixels.dtype
    if kind.kind == "b":
        planes = planes >= 0.5
    elif kind.kind in "iu":
        limits = np.iinfo(kind)
        wide = planes.astype(np.float64) if kind.itemsize >= 4 else planes
        # a float64 cannot hold the largest int64: the next lower one is taken
        top = np.nextafter(float(limits.max), 0) if kind.itemsize == 8 else limits.max
        planes = np.clip(np.rint(wide), limits.min, top).astype(kind)
    return unflatten_planes(image, planes)


def replace_values(image: Image, planes: np.ndarray, **changes: Any) -> Image:
    """The image with other values, and other attributes as of `Image.with_pixels`."""
    return image.with_pixels(pixels_like(image, planes), **changes)


def unflatten_planes(image: Image, planes: np.ndarray) -> np.ndarray:
    """Planes in the order of axes of the image's pixels."""
    import numpy as np

    h, w = image.shape
    if image.photometric != "RGB":
        return planes.reshape(image.pixels.shape)
    colours: np.ndarray = np.moveaxis(planes.reshape(-1, 3, h, w), 1, -1)
    return np.ascontiguousarray(colours).reshape(image.pixels.shape)


def stack_planes(image: Image, planes: np.ndarray) -> np.ndarray:
    """Planes of one channel as pixels of the image's frames: `(N, H, W)` of a stack, `(H, W)` of a single frame."""
    return planes.reshape(-1, *image.shape) if image.is_stack else planes[0]


def window_up_to_percentile(planes: np.ndarray) -> Window:
    """From 0 to the 99.5th percentile, which only a few pixels exceed."""
    import numpy as np

    most = float(np.percentile(planes[..., :: max(1, planes[0].size // 2**20)], 99.5)) or float(planes.max()) or 1.0
    return Window(most / 2, most, "linear_exact")
