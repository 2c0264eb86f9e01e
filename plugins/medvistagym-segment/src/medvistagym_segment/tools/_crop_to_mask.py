"""The tool `crop_to_mask`: cuts an image to what a mask holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvistagym_core.imaging import (
    Image,
    MaskBounds,
    darkest_value,
    display_like,
    format_crop,
    format_frame,
    format_mask_slices,
    full_resolution,
    mask_bounds,
    resample_mask_to,
)
from medvistagym_core.tools import tool
from medvistagym_segment.tools._arguments import MarginMm

if TYPE_CHECKING:
    import numpy as np


@tool
def crop_to_mask(image: Image, mask: Image, margin_mm: MarginMm = 5.0, mask_out: bool = False) -> tuple[Image, str]:
    """Cut an image to the box of a mask, with a margin.

    Use it to look closely at a finding: with a mask of this image that segment or a model made and, perhaps, morphology mended.
    For a box, of a model's finding or of your own choosing, use zoom.

    Args:
        image: The image, or volume, to cut.
        mask: The mask, of the same region.
        margin_mm: Margin on all sides in mm; in pixels if the spacing is not known.
        mask_out: Whether what lies outside the mask is made black.
    """
    source = full_resolution(image)
    cropped, bounds = crop_to_bounds(source, resample_mask_to(mask, source), margin_mm, mask_out)
    text = format_crop(source, bounds, margin_mm) + format_mask_slices(mask, source) + format_frame(image, source)
    return display_like(cropped, image), text


def crop_to_bounds(source: Image, mask: np.ndarray, margin_mm: float, mask_out: bool) -> tuple[Image, MaskBounds]:
    """The part of an image that holds a mask with its margin, and where that is.

    Args:
        source: The image, or volume, to cut.
        mask: Booleans of its shape, not all False.
        margin_mm: Margin on all sides.
        mask_out: Whether what lies outside the mask becomes the darkest value.
    """
    import numpy as np

    bounds = mask_bounds(mask).dilate_mm(margin_mm, source)
    if mask_out:
        inside = mask[..., None] if source.photometric == "RGB" else mask
        source = source.replace(pixels=np.where(inside, source.pixels, darkest_value(source)), detail=None)
    return bounds.crop(source), bounds
