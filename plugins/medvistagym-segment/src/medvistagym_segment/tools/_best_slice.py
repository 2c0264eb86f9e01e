"""The tool `best_slice`: the slice of a volume that shows a mask best."""

from __future__ import annotations

from typing import Any

from medvistagym_core.imaging import Image, full_resolution, mask_bounds, resample_mask_to
from medvistagym_core.tools import tool


@tool
def best_slice(image: Image, mask: Image) -> tuple[Image, str, dict[str, Any]]:
    """Give the slice of a volume on which a mask covers most, to look at the structure where it is largest.

    Use it with a volume and a mask of the whole volume, before zoom or overlay. A single image has nothing to choose from.

    Args:
        image: The volume.
        mask: A mask of the volume, as segment or a model makes it.
    """
    source = full_resolution(image, keep_frames=True)
    inside = resample_mask_to(mask, source)
    if not source.is_stack:
        box = mask_bounds(inside).box(source)
        text = f"the image is a single frame, which shows all of it, at box {box}"
        return image, text, {"slice": 0, "pixels": int(inside.sum()), "box": box, "slices": [0, 0]}
    if not mask.is_stack:
        raise ValueError("the mask is that of a single slice; give one of the whole volume")
    covered = inside.sum((1, 2))
    z = int(covered.argmax())
    bounds = mask_bounds(inside)
    first, last = bounds.z[0] if bounds.z else 0, bounds.z[1] - 1 if bounds.z else 0
    box = mask_bounds(inside[z]).box(source)
    size = f"{int(covered[z])} pixels"
    spacing = None if source.spacing is None else source.spacing[-2:]
    if spacing is not None:
        size = f"{covered[z] * spacing[0] * spacing[1]:.0f} mm2"
    frame = source.replace(
        pixels=source.pixels[z],
        frame=None,
        spacing=spacing,
        window=image.window,
        overlay=None,
        attributes={**source.attributes, "frame": str(z)},
    )
    text = f"slice {z} of 0 to {source.frames - 1} shows most of it, {size} at box {box}; it lies in slices {first} to {last}"
    return frame, text, {"slice": z, "pixels": int(covered[z]), "box": box, "slices": [first, last]}
