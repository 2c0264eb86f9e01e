"""Regions of interest: the full-resolution pixels of an image, their statistics and unit, and how both are written."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from medvistagym_core.imaging import Image
from medvistagym_dicom.reformatting import is_padding, padding_range

if TYPE_CHECKING:
    import numpy as np


def full_resolution(image: Image) -> Image:
    """The image at full resolution; of a stack, the frame that its view shows."""
    source = image.detail or image
    if not source.is_stack:
        return source
    frame = source.frames // 2 if image.frame is None else image.frame
    return single_frame(source, min(frame, source.frames - 1))


def single_frame(stack: Image, frame: int) -> Image:
    """One frame or slice of a stack, as it lies in the stack."""
    return stack.replace(
        pixels=stack.pixels[frame],
        frame=None,
        spacing=None if stack.spacing is None else stack.spacing[-2:],
        attributes={**stack.attributes, "frame": str(frame)},
        detail=None,
    )


def roi_statistics(values: np.ndarray, shape_name: str, image: Image) -> dict[str, Any]:
    """Mean, standard deviation (of the population), least and greatest of values.

    Padding and values that are not finite are left out; `ignored` counts the latter, `padding_px`, where there is any, the
    former.

    Args:
        values: Numbers of any shape, or colours `(..., 3)`, which count as brightness.
        shape_name: What encloses them, for the error: "box" or "outline".
        image: The image that they are of.

    Raises:
        ValueError: None of them counts.
    """
    import numpy as np

    padded = 0
    if (padding := padding_range(image)) is not None:
        valid = ~is_padding(values, padding)
        padded = int(values.size - np.count_nonzero(valid))
        values = values[valid] if padded else values
    if image.photometric == "RGB":
        values = luma(values)
    if values.size == 0:
        raise ValueError(f"all {padded} pixels of the {shape_name} are padding; there is no image in it")
    data = _moments(values.astype(np.float64), shape_name)
    return {**data, "padding_px": padded} if padded else data


def _moments(values: np.ndarray, shape_name: str) -> dict[str, Any]:
    import numpy as np

    total = values.size
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        values = values[np.isfinite(values)]
        if values.size == 0:
            raise ValueError(f"all {total} pixels of the {shape_name} are without a value (NaN or infinite)")
        low, high = float(values.min()), float(values.max())
    # In units of the greatest value, so that no sum or square overflows.
    scale = max(abs(low), abs(high))
    scale = scale if scale > 1e100 else 1.0
    values /= scale
    mean = float(values.mean())
    values -= mean
    squares = np.square(values, out=values).sum()  # not np.vdot, whose last digits depend on the number of threads
    return {
        "mean": mean * scale,
        "sd": float(np.sqrt(squares / values.size)) * scale,
        "min": low,
        "max": high,
        "ignored": total - values.size,
    }


def luma(values: np.ndarray) -> np.ndarray:
    """Colours `(..., 3)` as brightness (ITU-R BT.601)."""
    import numpy as np

    grey: np.ndarray = values.astype(np.float64) @ (0.299, 0.587, 0.114)
    return grey


def format_statistics(image: Image, data: dict[str, Any]) -> str:
    """Mean, SD, least and greatest value with their unit, rounded: whole numbers for HU."""
    places = ".0f" if image.unit == "HU" else ".4g" if max(abs(data["min"]), abs(data["max"])) < 10 else ".1f"
    mean, sd, low, high = (f"{data[key]:z{places}}" for key in ("mean", "sd", "min", "max"))
    unit = f" {data['unit']}" if data["unit"] else ""
    return f"mean {mean}{unit}, SD {sd}, min {low}, max {high}"


def physical_unit(image: Image) -> str | None:
    """The unit of the values; None for counts and grey levels, which have none."""
    return None if image.unit in ("raw", "grey") else image.unit


def format_unit(image: Image) -> str:
    """What the values are, for a sentence."""
    return {"raw": "raw counts without a physical unit", "grey": "grey levels without a physical unit"}.get(
        image.unit, f"values in {image.unit}"
    )


def format_left_out(data: dict[str, Any]) -> str:
    """What statistics left out, to add to a sentence; nothing where all pixels count."""
    text = f"; {data['padding_px']} pixels of padding left out" if data.get("padding_px") else ""
    return text + (f"; {data['ignored']} pixels without a value left out" if data["ignored"] else "")
