"""Masks as images: making, measuring and resampling them, and cropping to the box that holds one.

A mask is an `Image` of unit "mask", `(H, W)` or `(N, H, W)`, whose pixels are not 0 where the structure lies. NumPy only.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Final

from medvistagym_core.imaging._box import BOX_GRID_SIZE
from medvistagym_core.imaging._fitting_window import MASK_WINDOW
from medvistagym_core.imaging._image import Image
from medvistagym_core.imaging._native import native_kernels
from medvistagym_core.imaging._patient_geometry import AS_STORED, is_oriented, order_between, patient_geometry

if TYPE_CHECKING:
    import numpy as np

_POSITION: Final = "position_mm"
_SLICE_ATTRIBUTES: Final = ("plane", "projection", "slice", "frame")


def mask_image(mask: np.ndarray, source: Image, *, keep_frame: bool = False) -> Image:
    """A mask as an image with the geometry of `source`, displayed black and white.

    Args:
        mask: Booleans of the shape of the source's pixels, `(H, W)` or `(N, H, W)`.
        source: The image that the mask was made for.
        keep_frame: Whether to display the slice that `source` displays also where the mask is empty there; otherwise the
            first slice that is not.
    """
    import numpy as np

    frame = source.frame
    if source.is_stack and not keep_frame:
        displayed = source.frames // 2 if frame is None else frame
        frame = displayed if mask[displayed].any() else int(np.flatnonzero(mask.any((1, 2)))[0])
    return source.replace(
        pixels=mask, unit="mask", photometric="MONOCHROME2", window=MASK_WINDOW, windows=(), overlay=None, detail=None,
        frame=frame,
    )  # fmt: skip


def to_boolean(mask: Image) -> np.ndarray:
    """Booleans `(H, W)` or `(N, H, W)`: where a mask is not 0.

    Raises:
        ValueError: It is no mask: it is in colour, or has more than two values or a physical unit, and is neither a "mask" nor
            a "label" by its unit.
    """
    pixels = mask.pixels
    if pixels.dtype == bool and mask.photometric != "RGB":
        return pixels
    is_mask = mask.unit in ("mask", "label") or (mask.physical_unit is None and _has_two_values(pixels))
    if mask.photometric == "RGB" or not is_mask:
        raise ValueError(f"the mask is an image of {mask.unit} values; give one that segment made")
    booleans: np.ndarray = pixels != 0
    return booleans


def resample_mask_to(mask: Image, image: Image) -> np.ndarray:
    """A mask on the pixel grid of an image of the same region, by the nearest pixel.

    The mask of a volume is put in the order of the image's axes where both say how they lie in the patient. A mask of a single
    slice is taken for every slice of a volume, unless it says that it is one of several, and of the mask of a volume the slice
    that an image of one frame is; `format_mask_slices` says so.

    Args:
        mask: An image of unit "mask", `(H, W)` or `(N, H, W)`, at any resolution.
        image: A frame or a volume of the same region.

    Returns:
        Booleans `(H, W)` or `(N, H, W)`, not all False.

    Raises:
        ValueError: It is no mask, shows another region or slice, or is empty.
    """
    import numpy as np

    if mask.is_stack and image.is_stack:
        mask = _in_axes_of(mask, image)
    pixels = to_boolean(mask)
    if not (_show_same_region(mask, image) and mask.attributes.get("slices") == image.attributes.get("slices")):
        raise ValueError("the mask shows another region than the image; segment the image itself")
    if mask.is_stack and not image.is_stack and "frame" in image.attributes:
        frame = int(image.attributes["frame"])
        if frame >= mask.frames:
            raise ValueError(f"the mask has slices 0 to {mask.frames - 1}, and the image shows slice {frame}")
        pixels = pixels[frame]
    elif mask.is_stack and (not image.is_stack or mask.frames != image.frames):
        have = f"{image.frames} slices" if image.is_stack else "a single frame"
        raise ValueError(f"the mask has {mask.frames} slices and the image {have}")
    elif image.is_stack and not mask.is_stack and "frames" in mask.attributes:
        slice_, slices = mask.attributes.get("frame"), mask.attributes["frames"]
        raise ValueError(
            f"the mask holds slice {slice_} alone of {slices}, and the image is a volume; keep the whole mask, in a file of "
            ".nii.gz, .nrrd, .mha, .npy or .tif"
        )
    elif not (mask.is_stack or image.is_stack):
        _require_same_slice(mask, image)
    if not pixels.any():
        raise ValueError("the mask is empty")
    (h, w), (height, width) = mask.shape, image.shape
    if (h, w) != (height, width):
        rows, columns = np.arange(height) * h // height, np.arange(width) * w // width
        pixels = pixels[..., rows[:, None], columns]
        if not pixels.any():
            raise ValueError("what the mask holds is smaller than a pixel of the image")
    return pixels


def format_mask_slices(mask: Image, image: Image) -> str:
    """Of which slices a mask was used for which of an image, as the end of a sentence; empty where they are the same.

    Args:
        mask: The mask as it was given.
        image: The image that it was used for (`resample_mask_to`).
    """
    if image.is_stack and not mask.is_stack:
        return f"; the mask is a single slice and was used for all {image.frames} of the image"
    if mask.is_stack and not image.is_stack:
        return f"; of the mask, slice {image.attributes['frame']} of 0 to {mask.frames - 1} was used"
    return ""


def _require_same_slice(mask: Image, image: Image) -> None:
    """Refuse the mask of another slice of the same volume, as far as both say which slice they are."""
    for name in _SLICE_ATTRIBUTES:
        one, other = mask.attributes.get(name), image.attributes.get(name)
        if one is not None and other is not None and one != other:
            raise ValueError(f"the mask shows {name} {one} and the image {name} {other}; segment the image itself")


def _in_axes_of(mask: Image, image: Image) -> Image:
    """The mask of a volume with its axes in the order and direction of those of an image, as far as both say how they lie.

    Raises:
        ValueError: They lie obliquely to each other, or in different places.
    """
    order = order_between(mask, image)
    if order is None:
        raise ValueError("the mask lies in other planes of the patient than the image; segment the image itself")
    if is_oriented(mask) and is_oriented(image) and _POSITION in mask.attributes and _POSITION in image.attributes:
        (h, w), wanted = mask.shape, patient_geometry(image)
        reordered = order.geometry(patient_geometry(mask), (mask.frames, h, w))
        pixel = max(math.hypot(*step) for step in (*reordered.steps, *wanted.steps))
        if math.dist(reordered.position, wanted.position) > 1.5 * pixel:
            raise ValueError("the mask shows another region than the image; segment the image itself")
    if order == AS_STORED:
        return mask
    pixels = order.view(mask.pixels)
    return Image(
        pixels=pixels, unit=mask.unit, photometric=mask.photometric, to_source=image.to_source, source_shape=image.source_shape,
        attributes=image.attributes,
    )  # fmt: skip


def _has_two_values(pixels: np.ndarray) -> bool:
    """Whether it is what a file of a mask holds: 0 and one other value, of any dtype."""
    return bool(((pixels == 0) | (pixels == pixels.max())).all())


def _show_same_region(a: Image, b: Image) -> bool:
    """Whether two images show the same rectangle of the same source, to a pixel of it."""
    if a.source_shape != b.source_shape:
        return False
    rectangles = []
    for image in (a, b):
        p, q, c, r, s, f = image.to_source
        h, w = image.shape
        rectangles.append((p * w, q * h, c, r * w, s * h, f))
    return all(math.isclose(x, y, abs_tol=1.0) for x, y in zip(*rectangles, strict=True))


# -- where a mask lies


@dataclasses.dataclass(frozen=True)
class MaskBounds:
    """The box that holds a mask, in pixels.

    Attributes:
        x: First column and the one after the last.
        y: First row and the one after the last.
        z: First slice and the one after the last; None of a single frame.
    """

    x: tuple[int, int]
    y: tuple[int, int]
    z: tuple[int, int] | None = None

    def dilate_mm(self, margin_mm: float, image: Image) -> MaskBounds:
        """With a margin on all sides, as far as the image reaches; in pixels where its spacing is not known.

        Args:
            margin_mm: The margin in mm, 0 or more, rounded up to whole pixels.
            image: The image that the mask is of.
        """
        spacing = (1.0, 1.0, 1.0) if image.spacing is None else (1.0, *image.spacing)[-3:]
        (h, w), n = image.shape, image.frames

        def dilate(ends: tuple[int, int], step_mm: float, size: int) -> tuple[int, int]:
            margin = min(size, math.ceil(margin_mm / step_mm - 1e-9))
            return max(0, ends[0] - margin), min(size, ends[1] + margin)

        z = None if self.z is None else dilate(self.z, spacing[0], n)
        return MaskBounds(dilate(self.x, spacing[2], w), dilate(self.y, spacing[1], h), z)

    def crop(self, image: Image) -> Image:
        """The part of an image within the box, at its own resolution."""
        cropped = image.crop(self.x[0], self.y[0], self.x[1], self.y[1])
        if self.z is None or not cropped.is_stack:
            return cropped
        first, end = self.z
        displayed = image.frames // 2 if image.frame is None else image.frame
        before = int(image.attributes.get("slices", "0-0").split("-")[0])
        return cropped.replace(
            pixels=cropped.pixels[first:end],
            window="keep",
            frame=min(max(displayed, first), end - 1) - first,
            attributes={**cropped.attributes, "slices": f"{before + first}-{before + end - 1}"},
        )

    def box(self, image: Image) -> list[int]:
        """The least box `[x0, y0, x1, y1]` of the 0-1000 grid that holds it."""
        h, w = image.shape
        grid = BOX_GRID_SIZE
        return [self.x[0] * grid // w, self.y[0] * grid // h, -(-self.x[1] * grid // w), -(-self.y[1] * grid // h)]


def mask_bounds(mask: np.ndarray) -> MaskBounds:
    """The least box of a mask, booleans `(H, W)` or `(N, H, W)`, that is not empty."""
    boxes = bounding_boxes(mask.reshape(-1, *mask.shape[-2:]))
    slices = boxes[:, 2].nonzero()[0]
    boxes = boxes[slices]
    x0, y0 = boxes[:, :2].min(0).tolist()
    x1, y1 = boxes[:, 2:].max(0).tolist()
    z = None if mask.ndim == 2 else (int(slices[0]), int(slices[-1]) + 1)
    return MaskBounds((x0, x1), (y0, y1), z)


def bounding_boxes(masks: np.ndarray) -> np.ndarray:
    """The box of each of many masks.

    Args:
        masks: Booleans `(N, H, W)`.

    Returns:
        int64 `(N, 4)`: `x0, y0, x1, y1` in pixels, the last two exclusive; zeros for a mask that is empty.
    """
    import numpy as np

    masks = np.ascontiguousarray(masks, bool)
    n, h, w = masks.shape
    if not masks.size:
        return np.zeros((n, 4), np.int64)
    if (c := native_kernels()) is not None:
        boxes = np.empty((n, 4), np.int64)
        c.boxes(masks, boxes)
        return boxes
    across, down = np.any(masks, 1), np.any(masks, 2)
    boxes = np.stack((across.argmax(1), down.argmax(1), w - across[:, ::-1].argmax(1), h - down[:, ::-1].argmax(1)), 1)
    boxes[~across.any(1)] = 0
    return boxes


def format_crop(source: Image, bounds: MaskBounds, margin_mm: float) -> str:
    """What was cropped from an image, as a sentence without its full stop.

    Args:
        source: The image.
        bounds: What was cut from it, margin included.
        margin_mm: The margin that was asked for, in mm.
    """
    width, height = bounds.x[1] - bounds.x[0], bounds.y[1] - bounds.y[0]
    depth = "" if bounds.z is None else f" x {bounds.z[1] - bounds.z[0]}"
    text = f"Cut to {width} x {height}{depth} pixels at box {bounds.box(source)}"
    if source.spacing is None:
        return f"{text}; the spacing is not known, so the margin is {margin_mm:g} pixels" if margin_mm else text
    sizes_mm = [width * source.spacing[-1], height * source.spacing[-2]]
    if bounds.z is not None:
        sizes_mm.append((bounds.z[1] - bounds.z[0]) * source.spacing[0])
    return f"{text}, {' x '.join(f'{size:.1f}' for size in sizes_mm)} mm"


# -- how large a mask is


def mask_measurements(mask: np.ndarray, source: Image) -> dict[str, Any]:
    """Where a mask that is not empty lies and how large it is, as the data of a tool's result.

    Args:
        mask: Booleans `(H, W)` or `(N, H, W)`.
        source: The image whose pixels they are.

    Returns:
        `box` on the 0-1000 grid, `pixels`, `share` of the image, `slices` (first, last) of a volume, and `volume_ml` or
        `area_mm2` where the spacing is known.
    """
    bounds = mask_bounds(mask)
    pixels = int(mask.sum())
    data: dict[str, Any] = {"box": bounds.box(source), "pixels": pixels, "share": pixels / mask.size}
    if bounds.z is not None:
        data["slices"] = [bounds.z[0], bounds.z[1] - 1]
    if source.spacing is not None and len(source.spacing) >= mask.ndim:
        size = math.prod(source.spacing[-mask.ndim :])
        data["volume_ml" if mask.ndim == 3 else "area_mm2"] = pixels * size * (0.001 if mask.ndim == 3 else 1.0)
    return data


def format_measurements(data: dict[str, Any]) -> str:
    """`mask_measurements` as a phrase."""
    if "volume_ml" in data:
        size = f"{data['volume_ml']:.1f} ml"
    elif "area_mm2" in data:
        size = f"{data['area_mm2']:.0f} mm2"
    else:
        size = f"{data['pixels']} pixels (no size in mm known)"
    text = f"{size}, {100 * data['share']:.1f} % of the image, box {data['box']}"
    return text + (f", slices {data['slices'][0]} to {data['slices'][1]}" if "slices" in data else "")
