"""The tool `measure`: statistics and size of a box, from the full-resolution pixels (`Image.detail`)."""

from __future__ import annotations

from typing import Any

from medvistagym_core.imaging import Box, Image
from medvistagym_core.tools import tool
from medvistagym_dicom.tools._roi import (
    format_left_out,
    format_statistics,
    format_unit,
    full_resolution,
    physical_unit,
    roi_statistics,
)
from medvistagym_dicom.tools._scale import Scale, scale_at


@tool
def measure(image: Image, box: Box) -> tuple[str, dict[str, Any]]:
    """Measure a part of an image: mean, standard deviation, least and greatest value, and size in mm.

    Use it to tell what something consists of (air, fat, fluid, soft tissue and bone differ in HU) or how large it is. Keep
    the box inside the structure.

    Args:
        image: The image to measure in.
        box: The part to measure, [left, top, right, bottom] on a grid from 0 to 1000 over this image.
    """
    source = full_resolution(image)
    x0, y0, x1, y1 = source.box_to_pixels(box)
    scale = scale_at(source, [(x0, y0), (x1, y1)])
    data: dict[str, Any] = {
        **roi_statistics(source.pixels[y0:y1, x0:x1], "box", source),
        "unit": physical_unit(source),
        "width_px": x1 - x0,
        "height_px": y1 - y0,
        "width_mm": None,
        "height_mm": None,
    }
    if scale.unit == "mm":
        data["height_mm"], data["width_mm"] = (y1 - y0) * scale.down, (x1 - x0) * scale.across
    return _format_measurement(source, data, scale), data


def _format_measurement(image: Image, data: dict[str, Any], scale: Scale) -> str:
    """The measurement in a line; the same values as `data`, rounded."""
    text = format_statistics(image, data)
    if data["width_mm"] is None:
        text += f", {data['width_px']} x {data['height_px']} pixels{scale.note}"
    else:
        text += f", {data['width_mm']:.{scale.decimals}f} x {data['height_mm']:.{scale.decimals}f} mm{scale.note}"
    text += "" if data["unit"] else f"; the values are {format_unit(image)}"
    return text + format_left_out(data)
