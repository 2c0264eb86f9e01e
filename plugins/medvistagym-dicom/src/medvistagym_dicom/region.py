"""Values of a part of an image, and how they are said: the finest pixels, their statistics, their unit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from medvistagym_core.imaging import Image

if TYPE_CHECKING:
    import numpy as np


def source_of(image: Image) -> Image:
    """The finest pixels of an image; of a stack, those of the frame that its view shows."""
    source = image.detail or image
    if not source.is_stack:
        return source
    frame = source.frames // 2 if image.frame is None else image.frame
    return frame_of(source, min(frame, source.frames - 1))


def frame_of(stack: Image, frame: int) -> Image:
    """One frame or slice of a stack, as it lies in the stack."""
    return stack.replace(
        pixels=stack.pixels[frame],
        frame=None,
        spacing=None if stack.spacing is None else stack.spacing[-2:],
        attributes={**stack.attributes, "frame": str(frame)},
        detail=None,
    )


def statistics(values: np.ndarray, what: str) -> dict[str, Any]:
    """Mean, standard deviation (of the population), least and greatest of values; those that are not finite are left out.

    Args:
        values: Numbers of any shape; colours as `luma` makes them numbers.
        what: Where they are from, for the error.

    Raises:
        ValueError: None of them is finite.
    """
    import numpy as np

    values = values.astype(np.float64)
    total = values.size
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        values = values[np.isfinite(values)]
        if values.size == 0:
            raise ValueError(f"all {total} pixels of the {what} are without a value (NaN or infinite)")
        low, high = float(values.min()), float(values.max())
    # In units of the greatest value, so that no sum or square overflows.
    unit = max(abs(low), abs(high))
    unit = unit if unit > 1e100 else 1.0
    values /= unit
    mean = float(values.mean())
    values -= mean
    return {
        "mean": mean * unit,
        "sd": float(np.sqrt(np.vdot(values, values) / values.size)) * unit,
        "min": low,
        "max": high,
        "ignored": total - values.size,
    }


def luma(values: np.ndarray) -> np.ndarray:
    """Colours `(..., 3)` as brightness (ITU-R BT.601)."""
    import numpy as np

    grey: np.ndarray = values.astype(np.float64) @ (0.299, 0.587, 0.114)
    return grey


def statistics_in_words(image: Image, data: dict[str, Any]) -> str:
    """Mean, SD, least and greatest value with their unit, rounded: whole numbers for HU."""
    places = ".0f" if image.unit == "HU" else ".4g" if max(abs(data["min"]), abs(data["max"])) < 10 else ".1f"
    mean, sd, low, high = (f"{data[key]:z{places}}" for key in ("mean", "sd", "min", "max"))
    unit = f" {data['unit']}" if data["unit"] else ""
    return f"mean {mean}{unit}, SD {sd}, min {low}, max {high}"


def physical_unit(image: Image) -> str | None:
    """The unit of the values; None for counts and greys, which have none."""
    return None if image.unit in ("raw", "grey") else image.unit


def unit_in_words(image: Image) -> str:
    """What the values are, for a sentence."""
    return {"raw": "raw counts without a physical unit", "grey": "grey levels without a physical unit"}.get(
        image.unit, f"values in {image.unit}"
    )


def at_detector(image: Image) -> str:
    """What to add to a length in mm: nothing, or that it is one at the detector, larger than in the patient."""
    return " at the detector" if image.attributes.get("spacing_at") == "detector" else ""
