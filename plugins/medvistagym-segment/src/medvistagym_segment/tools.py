"""The tools: `segment` finds a structure, `crop_to_mask` cuts to what a mask holds, `segment_crop` does both.

They read and cut the finest pixels that an image was made from (`Image.detail`), at their own resolution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field

from medvistagym_core.imaging import BOX_GRID_SIZE, Box, Image
from medvistagym_core.tools import tool
from medvistagym_segment.masks import Extent, as_image, cut_in_words, extent, facts, finest, fitted, in_words
from medvistagym_segment.segmenters import Where, available, segmenter

if TYPE_CHECKING:
    import numpy as np

    Method = str
else:
    Method = Literal[available()]

Point = Annotated[list[Annotated[int, Field(ge=0, le=BOX_GRID_SIZE)]], Field(min_length=2, max_length=2)]
Tolerance = Annotated[float, Field(gt=0)]
Margin = Annotated[float, Field(ge=0, le=1000)]
TIMEOUT_S: Final = 120.0


@tool(timeout_s=TIMEOUT_S)
class Segment:
    """Find a structure: its mask, its size in mm2 or ml, and the box that holds it.

    Use it to learn where something lies and how large it is, or for a mask to mend and crop with. To just look at a structure
    closely, segment_crop does it in one call.

    Args:
        image: The image, or volume, to search.
        method: What to find. lung and bone: in CT; body: without table and air; otsu: the largest bright part; region: what is
            connected with the point and alike; brain: in a head MR volume of axial slices.
        point: [x, y] on a grid from 0 to 1000 over the image, well inside the structure; for region and for models that are
            pointed at it.
        box: [left, top, right, bottom] on the same grid around the structure, for models that are pointed at it.
        tolerance: For region: how far values may be from that at the point, in the image's unit.
    """

    def setup(self, device: str) -> None:
        self.device = device

    def run(
        self,
        image: Image,
        method: Method,
        point: Point | None = None,
        box: Box | None = None,
        tolerance: Tolerance | None = None,
    ) -> tuple[Image, str, dict[str, Any]]:
        source, mask = _found(image, method, point, box, tolerance, self.device)
        data = facts(mask, source)
        return as_image(mask, source), f"{method}: {in_words(data)}", {"method": method, **data}


@tool
def crop_to_mask(image: Image, mask: Image, margin_mm: Margin = 5.0, mask_out: bool = False) -> tuple[Image, str]:
    """Cut an image to the box of a mask, with a margin.

    Use it with a mask of this image that segment made and, perhaps, morphology mended. For a box of your own choosing use zoom.

    Args:
        image: The image, or volume, to cut.
        mask: The mask, of the same region.
        margin_mm: Margin on all sides in mm; in pixels if the spacing is not known.
        mask_out: Whether what lies outside the mask is made black.
    """
    source = finest(image)
    inside = fitted(mask, source)
    part, kept = _cut(source, inside, margin_mm, mask_out)
    if part.window != image.window:
        part = part.replace(window=image.window)
    return part, cut_in_words(source, kept, margin_mm)


@tool(timeout_s=TIMEOUT_S)
class SegmentCrop:
    """Find a structure and cut the image to it, with a margin: segment and crop_to_mask in one call.

    Use it to look closely at a structure that has a name or that you can point at. For a box of your own choosing use zoom.

    Args:
        image: The image, or volume, to cut.
        method: What to find. lung and bone: in CT; body: without table and air; otsu: the largest bright part; region: what is
            connected with the point and alike; brain: in a head MR volume of axial slices.
        point: [x, y] on a grid from 0 to 1000 over the image, well inside the structure; for region and for models that are
            pointed at it.
        box: [left, top, right, bottom] on the same grid around the structure, for models that are pointed at it.
        tolerance: For region: how far values may be from that at the point, in the image's unit.
        margin_mm: Margin on all sides in mm; in pixels if the spacing is not known.
        mask_out: Whether what lies outside the structure is made black.
    """

    def setup(self, device: str) -> None:
        self.device = device

    def run(
        self,
        image: Image,
        method: Method,
        point: Point | None = None,
        box: Box | None = None,
        tolerance: Tolerance | None = None,
        margin_mm: Margin = 5.0,
        mask_out: bool = False,
    ) -> tuple[Image, str, dict[str, Any]]:
        source, mask = _found(image, method, point, box, tolerance, self.device)
        part, kept = _cut(source, mask, margin_mm, mask_out)
        if part.window != image.window:
            part = part.replace(window=image.window)
        data = facts(mask, source)
        text = f"{method}: {in_words(data)}. {cut_in_words(source, kept, margin_mm)}"
        return part, text, {"method": method, **data, "crop": kept.box(source)}


def _found(
    image: Image, method: str, point: list[int] | None, box: Box | None, tolerance: float | None, device: str
) -> tuple[Image, np.ndarray]:
    """The finest pixels of the image, and the mask of what was found in them, not empty."""
    import numpy as np

    if tolerance is not None and method != "region":
        raise ValueError(f'tolerance goes with the method "region", not with "{method}"')
    source = finest(image)
    h, w = source.shape
    where = Where(
        None
        if point is None
        else (min(w - 1, point[0] * w // BOX_GRID_SIZE), min(h - 1, point[1] * h // BOX_GRID_SIZE)),
        None if box is None else source.box_to_pixels(box),
        tolerance,
    )
    mask = np.asarray(segmenter(method, device)(source, where))
    wanted = source.pixels.shape[:-1] if source.photometric == "RGB" else source.pixels.shape
    if mask.shape != wanted:
        raise RuntimeError(f"the segmenter {method} gave a mask of shape {mask.shape} for an image of {wanted}")
    if not mask.any():
        raise ValueError(f"no {method} was found in this image")
    return source, mask.astype(bool, copy=False)


def _cut(source: Image, mask: np.ndarray, margin_mm: float, mask_out: bool) -> tuple[Image, Extent]:
    """The part of the image that holds the mask, and where that is."""
    import numpy as np

    kept = extent(mask).widened(margin_mm, source)
    if mask_out:
        source = source.replace(pixels=np.where(_over(mask, source), source.pixels, _black(source)), detail=None)
    return kept.cut(source), kept


def _over(mask: np.ndarray, source: Image) -> np.ndarray:
    return mask[..., None] if source.photometric == "RGB" else mask


def _black(source: Image) -> Any:
    """The value that is shown darkest, in the type of the pixels."""
    import numpy as np

    if source.photometric == "RGB":
        return source.pixels.dtype.type(0)
    with np.errstate(invalid="ignore"):
        darkest = np.fmax.reduce if source.photometric == "MONOCHROME1" else np.fmin.reduce
        return darkest(source.pixels.ravel())
