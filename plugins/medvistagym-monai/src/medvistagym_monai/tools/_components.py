"""The tool `components`: the connected parts of a mask.

Parts are connected by faces (MONAI's `connectivity=1`), in a volume across its slices. They are labelled by cc3d,
through `medvistagym_segment`: MONAI's own transforms need scikit-image for it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field

from medvistagym_core.imaging import (
    Image,
    MaskBounds,
    format_measurements,
    full_resolution,
    mask_image,
    mask_measurements,
    to_boolean,
)
from medvistagym_core.tools import tool
from medvistagym_segment import label_components

if TYPE_CHECKING:
    import numpy as np

_MAX_LISTED: Final = 10


@tool
def components(mask: Image, keep: Annotated[int, Field(ge=1, le=1000)] = 1) -> tuple[Image, str, dict[str, Any]]:
    """List the connected parts of a mask by size, and keep one of them.

    Use it on a mask that holds more than what was sought, before crop_to_mask, or to count and size lesions. To drop specks but
    keep all else use morphology with open.

    Args:
        mask: The mask, of an image or a volume.
        keep: Which part to keep: 1 the largest, 2 the next, and so on.
    """
    import numpy as np

    source = full_resolution(mask, keep_frames=True)
    labels = label_components(binary_mask(source))
    count = int(labels.max())
    if keep > count:
        raise ValueError(f"the mask has {count} part{'s' * (count != 1)}; there is no part {keep}")
    sizes = np.bincount(labels.ravel())[1:]
    order = np.argsort(-sizes, kind="stable") + 1
    component = labels == order[keep - 1]
    listed = [
        {"part": k, **component_size(int(sizes[n - 1]), source), **_component_location(_extent(labels == n), source)}
        for k, n in enumerate(order[:_MAX_LISTED], start=1)
    ]
    measurements = mask_measurements(component, source)
    text = f"part {keep} of {count}: {format_measurements(measurements)}"
    others = [f"{part['part']}: {format_component(part)} at {part['box']}" for part in listed if part["part"] != keep]
    if others:
        text += f". Others: {'; '.join(others)}" + (f"; {count - len(listed)} more" if count > len(listed) else "")
    return mask_image(component, source), text, {"parts": count, "kept": keep, **measurements, "listed": listed}


def _extent(part: np.ndarray) -> tuple[slice, ...]:
    """The least block that holds a part."""
    import numpy as np

    axes = range(part.ndim)
    places = [np.flatnonzero(part.any(tuple(other for other in axes if other != axis))) for axis in axes]
    return tuple(slice(int(found[0]), int(found[-1]) + 1) for found in places)


def binary_mask(source: Image) -> np.ndarray:
    """Booleans of the mask's shape, not all False."""
    mask = to_boolean(source)
    if not mask.any():
        raise ValueError("the mask is empty")
    return mask


def component_size(pixels: int, source: Image) -> dict[str, Any]:
    """The size of so many pixels: `pixels`, and `volume_ml` or `area_mm2` where the spacing is known."""
    data: dict[str, Any] = {"pixels": pixels}
    if source.spacing is not None:
        if not source.is_stack:
            data["area_mm2"] = pixels * math.prod(source.spacing)
        elif len(source.spacing) == 3:
            data["volume_ml"] = pixels * math.prod(source.spacing) / 1000
    return data


def format_component(size: dict[str, Any]) -> str:
    """`component_size` as a phrase."""
    if "volume_ml" in size:
        return f"{size['volume_ml']:.2f} ml"
    return f"{size['area_mm2']:.1f} mm2" if "area_mm2" in size else f"{size['pixels']} pixels"


def _component_location(ranges: tuple[slice, ...], source: Image) -> dict[str, Any]:
    y, x = ranges[-2:]
    data: dict[str, Any] = {"box": MaskBounds((x.start, x.stop), (y.start, y.stop)).box(source)}
    if len(ranges) == 3:
        data["slices"] = [ranges[0].start, ranges[0].stop - 1]
    return data
