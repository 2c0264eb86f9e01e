"""The tool `distance`: length and angle of a line drawn on an image."""

from __future__ import annotations

import math
from typing import Any

from medvistagym_core.imaging import Image
from medvistagym_core.tools import tool
from medvistagym_dicom.tools._grid_points import Point, grid_to_pixels
from medvistagym_dicom.tools._roi import full_resolution
from medvistagym_dicom.tools._scale import scale_at


@tool(light=True)
def distance(image: Image, from_point: Point, to_point: Point) -> tuple[str, dict[str, Any]]:
    """Measure the distance between two points of an image in mm, and the angle of the line.

    Use it for diameters, widths and gaps, one line for each. What a part consists of is for measure or area.

    Args:
        image: The image to measure in; of a stack, the slice that it shows.
        from_point: [x, y] on a grid from 0 to 1000 over this image.
        to_point: [x, y] of the other end.
    """
    if from_point == to_point:
        raise ValueError(f"from_point and to_point are both {from_point}; give two different points")
    source = full_resolution(image)
    (x0, y0), (x1, y1) = grid_to_pixels(source, [from_point, to_point])
    scale = scale_at(source, [(x0, y0), (x1, y1)])
    across, down = (x1 - x0) * scale.across, (y1 - y0) * scale.down
    length, angle = math.hypot(across, down), _angle_to_rows_deg(across, down)
    is_mm = scale.unit == "mm"
    data: dict[str, Any] = {
        "distance_mm": length if is_mm else None,
        "distance_px": math.hypot(x1 - x0, y1 - y0) if is_mm else length,
        "angle_deg": angle,
    }
    text = f"{length:.{scale.decimals}f} {scale.unit}{scale.note}, {angle:.0f} degrees to the rows"
    return f"{text}; a pixel is {max(scale.down, scale.across):.2g} mm" if is_mm else text, data


def _angle_to_rows_deg(across: float, down: float) -> float:
    """Between a line and the rows: 0 to 180 degrees, counterclockwise from the right."""
    return (math.degrees(math.atan2(-down, across)) + 360) % 180
