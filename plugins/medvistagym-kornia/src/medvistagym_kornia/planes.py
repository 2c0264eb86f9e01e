"""From images to planes and back, and the running of many calls on as few kernels as there can be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Final

from medvistagym_core.imaging import Image, Window, rendered_view

if TYPE_CHECKING:
    import numpy as np

    from medvistagym_kornia.kernels import Kernels

LARGEST: Final = 2**26
MASK: Final = Window(0.5, 1.0, "linear_exact")


@dataclasses.dataclass(frozen=True, eq=False)
class Work:
    """One call, ready for a kernel.

    Attributes:
        planes: `(B, H, W)`.
        kind: Works of equal kind and plane size may be computed together.
        kernel: Gives a plane for each plane.
        finish: Makes the result of them.
    """

    planes: np.ndarray
    kind: Hashable
    kernel: Callable[[Kernels, np.ndarray], np.ndarray]
    finish: Callable[[np.ndarray], Image]


def done(kernels: Kernels, work: Work) -> Image:
    """The result of one call."""
    return work.finish(work.kernel(kernels, work.planes))


def together(kernels: Kernels, works: Sequence[Work | Exception]) -> list[Image | Exception]:
    """The results of several calls, in one kernel run for all that are alike, where that pays; errors pass through."""
    import numpy as np

    results: list[Image | Exception | None] = [None] * len(works)
    alike: dict[Hashable, list[int]] = {}
    for k, work in enumerate(works):
        if isinstance(work, Exception):
            results[k] = work
        else:
            key = (work.kind, work.planes.shape[1:], work.planes.dtype.str) if kernels.stacks else k
            alike.setdefault(key, []).append(k)
    for places in alike.values():
        group = [work for k in places if isinstance(work := works[k], Work)]
        planes = group[0].planes if len(group) == 1 else np.concatenate([work.planes for work in group])
        computed = group[0].kernel(kernels, planes)
        start = 0
        for k, work in zip(places, group, strict=True):
            results[k] = work.finish(computed[start : start + len(work.planes)])
            start += len(work.planes)
    return [result for result in results if result is not None]


def checked(image: Image) -> Image:
    """The image, if it is of a size that can be worked on.

    Raises:
        ValueError: It has more than 2**26 pixels.
    """
    if image.pixels.size > LARGEST:
        raise ValueError(
            f"the image has {image.pixels.size:,} pixels, the most is {LARGEST:,}; take a part of it with zoom first"
        )
    return image


def values(image: Image) -> np.ndarray:
    """Float32 planes `(B, H, W)` of the values, one a frame and colour.

    Raises:
        ValueError: The image is too large, or some of its values are NaN or infinite.
    """
    import numpy as np

    pixels = checked(image).pixels
    if image.photometric == "RGB":
        pixels = np.moveaxis(pixels, -1, -3)
    with np.errstate(over="ignore"):
        planes = np.ascontiguousarray(pixels, np.float32).reshape(-1, *image.shape)
    if pixels.dtype.kind == "f":
        refuse_missing(planes)
    return planes


def refuse_missing(floats: np.ndarray) -> None:
    """Stop at values that are none.

    Raises:
        ValueError: Some are NaN or infinite.
    """
    import numpy as np

    if np.isfinite(floats.min()) and np.isfinite(floats.max()):  # NaN spreads to both
        return
    bad = floats.size - int(np.count_nonzero(np.isfinite(floats)))
    raise ValueError(f"{bad} of {floats.size} pixels have no value (NaN or infinite); take a part without them")


def with_values(image: Image, planes: np.ndarray) -> Image:
    """The image with other values, in the type of its own: integers are rounded, floats become float32."""
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
    return image.with_pixels(shaped(image, planes))


def shaped(image: Image, planes: np.ndarray) -> np.ndarray:
    """Planes in the order of axes of the image's pixels."""
    import numpy as np

    h, w = image.shape
    if image.photometric != "RGB":
        return planes.reshape(image.pixels.shape)
    colours: np.ndarray = np.moveaxis(planes.reshape(-1, 3, h, w), 1, -1)
    return np.ascontiguousarray(colours).reshape(image.pixels.shape)


def greys(image: Image) -> np.ndarray:
    """The frames as they are shown, uint8 `(B, H, W)`; of colours their luma (ITU-R BT.601)."""
    import numpy as np

    shown = colours(image)
    if shown.ndim == 3:
        return shown
    luma: np.ndarray = np.rint(shown @ np.array((0.299, 0.587, 0.114), np.float32)).astype(np.uint8)
    return luma


def colours(image: Image) -> np.ndarray:
    """The frames as they are shown, without graphics: uint8 `(B, H, W)` or `(B, H, W, 3)`.

    Raises:
        ValueError: The image is too large, or some of its values are NaN or infinite.
    """
    import numpy as np

    if checked(image).pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            refuse_missing(image.pixels.astype(np.float32, copy=False))
    bare = image if image.overlay is None else image.replace(overlay=None)
    if not image.is_stack:
        return rendered_view(bare, None).pixels[None]  # which the policy has seen, perhaps, so that it is there already
    shown = np.empty((image.frames, *bare.view_shape()), np.uint8)
    for k, frame in enumerate(shown):
        bare.replace(frame=k).view(out=frame)
    return shown


def as_mask(image: Image, planes: np.ndarray) -> Image:
    """A mask, 0 or 1, on the places of the image."""
    import numpy as np

    mask = planes.astype(bool).reshape(-1, *image.shape)
    return image.replace(
        pixels=np.ascontiguousarray(mask if image.is_stack else mask[0]),
        unit="mask", photometric="MONOCHROME2", window=MASK, windows=(), overlay=None, detail=None,
    )  # fmt: skip
