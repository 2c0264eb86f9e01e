"""Masks as images: making them, measuring them, fitting them to another image of the same region, and their boxes."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging import BOX_GRID_SIZE, Image, Window, native_kernels

if TYPE_CHECKING:
    import numpy as np

SHOWN: Final = Window(0.5, 1.0, "linear_exact")
LARGEST: Final = 2**27


def finest(image: Image) -> Image:
    """The finest pixels of an image; of frames that make no volume, those of the one that is shown.

    Raises:
        ValueError: It has more than 2**27 pixels.
    """
    source = image.detail or image
    if source.pixels.size > LARGEST:
        raise ValueError(
            f"the image has {source.pixels.size:,} pixels, the most is {LARGEST:,}; take a part with zoom first"
        )
    if not source.is_stack or (source.spacing is not None and len(source.spacing) == 3):
        return source
    frame = source.frames // 2 if source.frame is None else source.frame
    return source.replace(
        pixels=source.pixels[frame], frame=None, attributes={**source.attributes, "frame": str(frame)}
    )  # fmt: skip


def as_image(mask: np.ndarray, source: Image) -> Image:
    """The mask as an image in the places of `source`, shown black and white."""
    import numpy as np

    frame = source.frame
    if source.is_stack:
        kept = source.frames // 2 if frame is None else frame
        frame = kept if mask[kept].any() else int(np.flatnonzero(mask.any((1, 2)))[0])
    return source.replace(
        pixels=mask, unit="mask", photometric="MONOCHROME2", window=SHOWN, windows=(), overlay=None, detail=None, frame=frame
    )  # fmt: skip


def fitted(mask: Image, source: Image) -> np.ndarray:
    """Booleans in the places of `source`: `(H, W)` or `(N, H, W)`.

    Raises:
        ValueError: The mask is none, shows another region, or is empty.
    """
    import numpy as np

    pixels = inside(mask)
    if not (_same_region(mask, source) and mask.attributes.get("slices") == source.attributes.get("slices")):
        raise ValueError("the mask shows another region than the image; segment the image itself")
    if mask.is_stack and not source.is_stack and "frame" in source.attributes:
        pixels = pixels[min(int(source.attributes["frame"]), len(pixels) - 1)]
    elif mask.is_stack and (not source.is_stack or mask.frames != source.frames):
        have = f"{source.frames} slices" if source.is_stack else "a single frame"
        raise ValueError(f"the mask has {mask.frames} slices and the image {have}")
    if not pixels.any():
        raise ValueError("the mask is empty")
    (h, w), (height, width) = mask.shape, source.shape
    if (h, w) != (height, width):
        rows, columns = np.arange(height) * h // height, np.arange(width) * w // width
        pixels = pixels[..., rows[:, None], columns]
        if not pixels.any():
            raise ValueError("what the mask holds is smaller than a pixel of the image")
    return pixels


def inside(mask: Image) -> np.ndarray:
    """Booleans `(H, W)` or `(N, H, W)`: where a mask is set.

    Raises:
        ValueError: It is no mask: colours, or more than two values and not said to be a mask or labels.
    """
    pixels = mask.pixels
    if pixels.dtype == bool and mask.photometric != "RGB":
        return pixels
    if mask.photometric == "RGB" or not (mask.unit in ("mask", "label") or _has_two_values(pixels)):
        raise ValueError(f"the mask is an image of {mask.unit} values; give one that segment made")
    held: np.ndarray = pixels != 0
    return held


def _has_two_values(pixels: np.ndarray) -> bool:
    """Whether it is what a file of a mask holds: 8 bits, 0 and one other value."""
    return pixels.dtype.str == "|u1" and bool(((pixels == 0) | (pixels == pixels.max())).all())


def _same_region(a: Image, b: Image) -> bool:
    """Whether two images show the same rectangle of the same source, to a pixel of it."""
    if a.source_shape != b.source_shape:
        return False
    spans = []
    for image in (a, b):
        p, q, c, r, s, f = image.to_source
        h, w = image.shape
        spans.append((p * w, q * h, c, r * w, s * h, f))
    return all(math.isclose(x, y, abs_tol=1.0) for x, y in zip(*spans, strict=True))


@dataclasses.dataclass(frozen=True)
class Extent:
    """Where a mask lies: pixel ranges, the ends exclusive; slices only of volumes."""

    x: tuple[int, int]
    y: tuple[int, int]
    z: tuple[int, int] | None = None

    def widened(self, mm: float, source: Image) -> Extent:
        """With a margin on all sides, as far as the image reaches."""
        spacing = (1.0, 1.0, 1.0) if source.spacing is None else (1.0, *source.spacing)[-3:]
        (h, w), n = source.shape, source.frames

        def wider(ends: tuple[int, int], step: float, most: int) -> tuple[int, int]:
            reach = min(most, math.ceil(mm / step - 1e-9))
            return max(0, ends[0] - reach), min(most, ends[1] + reach)

        z = None if self.z is None else wider(self.z, spacing[0], n)
        return Extent(wider(self.x, spacing[2], w), wider(self.y, spacing[1], h), z)

    def cut(self, source: Image) -> Image:
        """The part of an image, at its own resolution."""
        part = source.crop(self.x[0], self.y[0], self.x[1], self.y[1])
        if self.z is None or not part.is_stack:
            return part
        first, end = self.z
        shown = source.frames // 2 if source.frame is None else source.frame
        before = int(source.attributes.get("slices", "0-0").split("-")[0])
        return part.replace(
            pixels=part.pixels[first:end],
            frame=min(max(shown, first), end - 1) - first,
            attributes={**part.attributes, "slices": f"{before + first}-{before + end - 1}"},
        )

    def box(self, image: Image) -> list[int]:
        """On the 0-1000 grid: the least box that holds it."""
        h, w = image.shape
        grid = BOX_GRID_SIZE
        return [self.x[0] * grid // w, self.y[0] * grid // h, -(-self.x[1] * grid // w), -(-self.y[1] * grid // h)]


def extent(mask: np.ndarray) -> Extent:
    """The least ranges that hold a mask that is not empty."""
    boxes = boxes_of(mask.reshape(-1, *mask.shape[-2:]))
    slices = boxes[:, 2].nonzero()[0]
    held = boxes[slices]
    x0, y0 = held[:, :2].min(0).tolist()
    x1, y1 = held[:, 2:].max(0).tolist()
    z = None if mask.ndim == 2 else (int(slices[0]), int(slices[-1]) + 1)
    return Extent((x0, x1), (y0, y1), z)


def boxes_of(masks: np.ndarray) -> np.ndarray:
    """The boxes of many masks.

    Args:
        masks: Booleans `(N, H, W)`.

    Returns:
        Integers `(N, 4)`: `x0, y0, x1, y1` in pixels, the last two exclusive; zeros for a mask that is empty.
    """
    import numpy as np

    masks = np.ascontiguousarray(masks, bool)
    n, h, w = masks.shape
    if not masks.size:
        return np.zeros((n, 4), np.int64)
    if (c := native_kernels()) is not None:
        found = np.empty((n, 4), np.int64)
        c.boxes(masks, found)
        return found
    across, down = np.any(masks, 1), np.any(masks, 2)
    boxes = np.stack((across.argmax(1), down.argmax(1), w - across[:, ::-1].argmax(1), h - down[:, ::-1].argmax(1)), 1)
    boxes[~across.any(1)] = 0
    return boxes


def cut_in_words(source: Image, kept: Extent, margin_mm: float) -> str:
    """What was cut out of an image, as a sentence without its full stop."""
    width, height = kept.x[1] - kept.x[0], kept.y[1] - kept.y[0]
    depth = "" if kept.z is None else f" x {kept.z[1] - kept.z[0]}"
    text = f"Cut to {width} x {height}{depth} pixels at box {kept.box(source)}"
    if source.spacing is None:
        return f"{text}; the spacing is not known, so the margin is {margin_mm:g} pixels" if margin_mm else text
    sizes = [width * source.spacing[-1], height * source.spacing[-2]]
    if kept.z is not None:
        sizes.append((kept.z[1] - kept.z[0]) * source.spacing[0])
    return f"{text}, {' x '.join(f'{size:.1f}' for size in sizes)} mm"


def facts(mask: np.ndarray, source: Image) -> dict[str, Any]:
    """What there is to say of a mask: its box on the grid, its slices and its size."""
    found = extent(mask)
    pixels = int(mask.sum())
    data: dict[str, Any] = {"box": found.box(source), "pixels": pixels, "share": pixels / mask.size}
    if found.z is not None:
        data["slices"] = [found.z[0], found.z[1] - 1]
    if source.spacing is not None:
        size = math.prod(source.spacing[-mask.ndim :])
        data["volume_ml" if mask.ndim == 3 else "area_mm2"] = pixels * size * (0.001 if mask.ndim == 3 else 1.0)
    return data


def in_words(data: dict[str, Any]) -> str:
    """`facts` as a phrase."""
    if "volume_ml" in data:
        size = f"{data['volume_ml']:.1f} ml"
    elif "area_mm2" in data:
        size = f"{data['area_mm2']:.0f} mm2"
    else:
        size = f"{data['pixels']} pixels (no size in mm known)"
    text = f"{size}, {100 * data['share']:.1f} % of the image, box {data['box']}"
    return text + (f", slices {data['slices'][0]} to {data['slices'][1]}" if "slices" in data else "")
