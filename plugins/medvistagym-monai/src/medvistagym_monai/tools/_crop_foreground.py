"""The tool `crop_foreground`: the empty border taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from medvistagym_core.imaging import (
    Image,
    display_like,
    format_crop,
    format_frame,
    full_resolution,
    mask_bounds,
    to_grayscale_array,
)
from medvistagym_core.tools import tool

if TYPE_CHECKING:
    import numpy as np


@tool
def crop_foreground(
    image: Image,
    above: float | None = None,
    percentile: Annotated[float, Field(ge=0, lt=100)] | None = None,
    margin_mm: Annotated[float, Field(ge=0, le=1000)] = 0.0,
) -> tuple[Image, str]:
    """Cut away the empty border: keep the box of all that is brighter than a threshold.

    Use it when a picture is mostly background. For a structure that has a name use segment_crop, for a box of your own choosing
    zoom.

    Args:
        image: The image, or volume, to cut.
        above: Foreground is brighter than this value, in the image's unit (-300 is the body in CT). Unless this or a percentile
            is given, all that is brighter than the darkest value.
        percentile: Instead of a value: the percentage of pixels that are background.
        margin_mm: Margin on all sides in mm; in pixels if the spacing is not known.
    """
    if above is not None and percentile is not None:
        raise ValueError("give above or percentile, not both")
    source = full_resolution(image)
    bounds = mask_bounds(_foreground(source, above, percentile)).dilate_mm(margin_mm, source)
    text = format_crop(source, bounds, margin_mm) + format_frame(image, source)
    return display_like(bounds.crop(source), image), text


def _foreground(source: Image, above: float | None, percentile: float | None) -> np.ndarray:
    """Booleans of the image's shape, not all False: where it is brighter than the threshold."""
    import numpy as np

    values = to_grayscale_array(source)
    sign = -1.0 if source.photometric == "MONOCHROME1" else 1.0
    if above is not None:
        threshold = sign * above
    else:
        threshold = float(values.min() if percentile is None else np.percentile(values, percentile))
    mask: np.ndarray = values > threshold
    if not mask.any():
        if values.min() == values.max():
            raise ValueError("the pixels of the image are all alike; there is no foreground")
        relation = "below" if sign < 0 else "above"
        raise ValueError(
            f"no pixel is {relation} {sign * threshold:g}; the brightest is {sign * float(values.max()):g}: take another "
            "threshold"
        )
    return mask
