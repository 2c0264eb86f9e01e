"""The tool `crop_foreground`: the empty border taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from medvistagym_core.imaging import Image
from medvistagym_core.tools import tool
from medvistagym_segment.masks import cut_in_words, extent, finest

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
    source, mask = _foreground(image, above, percentile)
    kept = extent(mask).widened(margin_mm, source)
    part = kept.cut(source)
    if part.window != image.window:
        part = part.replace(window=image.window)
    return part, cut_in_words(source, kept, margin_mm)


def _foreground(image: Image, above: float | None, percentile: float | None) -> tuple[Image, np.ndarray]:
    """The finest pixels of the image, and where they are brighter; somewhere they are."""
    import numpy as np

    from medvistagym_segment.classical import grey

    if above is not None and percentile is not None:
        raise ValueError("give above or percentile, not both")
    source = finest(image)
    values = grey(source)
    sense = -1.0 if source.photometric == "MONOCHROME1" else 1.0
    if above is not None:
        limit = sense * above
    else:
        limit = float(values.min() if percentile is None else np.percentile(values, percentile))
    mask: np.ndarray = values > limit
    if not mask.any():
        if values.min() == values.max():
            raise ValueError("the pixels of the image are all alike; there is no foreground")
        word = "below" if sense < 0 else "above"
        raise ValueError(
            f"no pixel is {word} {sense * limit:g}; the brightest is {sense * float(values.max()):g}: take another threshold"
        )
    return source, mask
