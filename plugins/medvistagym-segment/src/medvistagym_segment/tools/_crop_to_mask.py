"""The tool `crop_to_mask`: cuts an image to what a mask holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from medvistagym_core.imaging import (
    Image,
    MaskBounds,
    darkest_value,
    display_like,
    displayed_share,
    fitting_window,
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

_MIN_DISPLAYED: Final = 0.02  # of a structure's pixels, as greys and not black or white


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
    inside = resample_mask_to(mask, source)
    cropped, bounds = crop_to_bounds(source, inside, margin_mm, mask_out)
    view, note = display_like(cropped, image), ""
    if mask_out:
        view, note = display_structure(view, _inside(source, inside))
    text = f"{format_crop(source, bounds, margin_mm)}{note}{format_mask_slices(mask, source)}"
    return view, text + format_frame(image, source)


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
        pixels = np.where(inside, source.pixels, darkest_value(source))
        source = source.replace(pixels=pixels, window="keep", detail=None)
    return bounds.crop(source), bounds


def display_structure(cropped: Image, values: np.ndarray) -> tuple[Image, str]:
    """A structure on black as it is displayed, or by a window of its own where that shows it black or white all over.

    Args:
        cropped: What is left of the image, displayed as that is.
        values: Those of the structure, of any shape.

    Returns:
        The crop, and what is to be said of its display as the end of a sentence.
    """
    if cropped.photometric == "RGB" or displayed_share(cropped, values) > _MIN_DISPLAYED:
        return cropped, ""
    window = fitting_window(values)
    if window is None:
        return cropped, ""
    low, high = window.center - window.width / 2, window.center + window.width / 2
    unit = f" {cropped.physical_unit}" if cropped.physical_unit else ""
    note = f"; displayed from {low:.4g} to {high:.4g}{unit}, as the window of the image does not show it"
    return cropped.replace(window=window), note


def _inside(source: Image, mask: np.ndarray) -> np.ndarray:
    """The values of an image within a mask, of a volume in every slice where the mask is of one."""
    single_slice = source.is_stack and mask.ndim == 2
    return source.pixels[:, mask] if single_slice else source.pixels[mask]
