"""The tool `fill_holes`: what a mask encloses, slice by slice.

Holes are labelled by cc3d: MONAI's `FillHoles` gives the same and takes several times as long (see the README).
"""

from __future__ import annotations

from typing import Any

from medvistagym_core.imaging import Image, format_measurements, full_resolution, mask_image, mask_measurements
from medvistagym_core.tools import tool
from medvistagym_monai.tools._components import binary_mask, component_size, format_component
from medvistagym_segment import label_components


@tool
def fill_holes(mask: Image) -> tuple[Image, str, dict[str, Any]]:
    """Fill the holes that a mask encloses; in a volume slice by slice.

    Use it on a mask that left out vessels, air or dark spots inside the structure. To close gaps at its border use morphology
    with close.

    Args:
        mask: The mask, of an image or a volume.
    """
    import numpy as np

    source = full_resolution(mask, keep_frames=True)
    pixels = binary_mask(source)
    slices = pixels if source.is_stack else pixels[None]
    holes, solid = 0, np.empty(slices.shape, bool)
    for z, plane in enumerate(slices):
        labels = label_components(~plane)
        outside = np.zeros(int(labels.max()) + 1, bool)
        for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            outside[edge] = True
        outside[0] = False  # the mask itself, even where it touches the edge
        holes += len(outside) - 1 - int(np.count_nonzero(outside))
        solid[z] = ~outside[labels]
    added = int(np.count_nonzero(solid)) - int(np.count_nonzero(slices))
    filled = solid if source.is_stack else solid[0]
    data = {"holes": holes, "added": component_size(added, source), **mask_measurements(filled, source)}
    if not holes:
        return mask_image(filled, source), f"There is no hole to fill: {format_measurements(data)}", data
    size = format_component(data["added"])
    text = f"Filled {holes} hole{'s' * (holes != 1)} of {size} in all: {format_measurements(data)}"
    return mask_image(filled, source), text, data
