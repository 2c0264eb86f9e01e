"""The tool `auto_window`: a window from percentiles of the values themselves."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final

from pydantic import Field

from medvistagym_core.imaging import Box, Image, Window
from medvistagym_core.tools import tool
from medvistagym_dicom.reformatting import is_padding, padding_range
from medvistagym_dicom.tools._roi import full_resolution, physical_unit

_MAX_SAMPLES: Final = 1_000_000
Percent = Annotated[float, Field(ge=0, le=100)]


@tool
def auto_window(
    image: Image, low: Percent = 1.0, high: Percent = 99.0, box: Box | None = None
) -> tuple[Image, str, dict[str, Any]]:
    """Show the values of an image from a low to a high percentile, spread from black to white; for any modality.

    Use it where no preset fits: MR, PET, ultrasound, films, or an image that looks flat. With a box it suits that part, however
    faint. Padding around the scan is left out. For CT tissues use window with a preset.

    Args:
        image: The image to show otherwise.
        low: Percentile shown as black.
        high: Percentile shown as white.
        box: The part whose values count, [left, top, right, bottom] on a grid from 0 to 1000; all unless given.
    """
    import numpy as np

    if low >= high:
        raise ValueError(f"low must be below high, got {low:g} and {high:g}")
    if box is None:
        values = (image.detail or image).pixels
    else:
        source = full_resolution(image)
        x0, y0, x1, y1 = source.box_to_pixels(box)
        values = source.pixels[y0:y1, x0:x1]
    values = _valid_values(values, image)
    if values.size == 0:
        raise ValueError("there is no value to go by: all are padding, NaN or infinite")
    # Halved first, so that a range as wide as floating point itself does not overflow.
    black, white = (float(v) * 2 for v in np.percentile(values / 2, (low, high)))
    if not black < white:
        raise ValueError(f"the values from percentile {low:g} to {high:g} are all {black:g}; there is no range to show")
    center, width = black / 2 + white / 2, white - black
    if not (math.isfinite(center) and math.isfinite(width)):
        raise ValueError(f"the values from {black:g} to {white:g} are too far apart to be shown")
    result = image.with_window(Window(center, width, "linear_exact", "percentile"))
    unit = physical_unit(image)
    ends = (white, black) if image.photometric == "MONOCHROME1" else (black, white)  # low values are bright there
    text = f"window center {center:.5g}, width {width:.5g}{f' {unit}' if unit else ''}"
    text += f": {ends[0]:.5g} is black, {ends[1]:.5g} white"
    return result, text, {"center": center, "width": width, "low": black, "high": white, "unit": unit}


def _valid_values(values: Any, image: Image) -> Any:
    """Values as float64, without padding and what is not finite; of more than `_MAX_SAMPLES`, evenly spaced ones."""
    import numpy as np

    flat = values.reshape(-1)
    flat = flat[:: max(1, flat.size // _MAX_SAMPLES)].astype(np.float64)
    if (padding := padding_range(image)) is not None:
        flat = flat[~is_padding(flat, padding)]
    return flat[np.isfinite(flat)]
