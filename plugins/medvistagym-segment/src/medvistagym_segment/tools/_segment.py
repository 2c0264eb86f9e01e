"""The tool `segment`: finds a structure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medvistagym_core.imaging import (
    BOX_GRID_SIZE,
    Box,
    Image,
    SegmentationPrompt,
    format_frame,
    format_measurements,
    full_resolution,
    mask_image,
    mask_measurements,
)
from medvistagym_core.tools import tool
from medvistagym_segment._catalog import load_segmenter
from medvistagym_segment.tools._arguments import TIMEOUT_S, Method, Point, PromptBox, Tolerance

if TYPE_CHECKING:
    import numpy as np


@tool(timeout_s=TIMEOUT_S)
class Segment:
    """Find a structure: its mask, its size in mm2 or ml, and the box that holds it.

    Use it to learn where something lies and how large it is, or for a mask to mend and crop with. To just look at a structure
    closely, segment_crop does it in one call.

    Args:
        image: The image, or volume, to search.
    """

    def setup(self, device: str) -> None:
        self.device = device

    def run(
        self,
        image: Image,
        method: Method,
        point: Point = None,
        box: PromptBox = None,
        tolerance: Tolerance = None,
    ) -> tuple[Image, str, dict[str, Any]]:
        source, mask = segment_full_resolution(image, method, point, box, tolerance, self.device)
        data = mask_measurements(mask, source)
        text = f"{method}: {format_measurements(data)}{format_frame(image, source)}"
        return mask_image(mask, source), text, {"method": method, **data}


def segment_full_resolution(
    image: Image, method: str, point: list[int] | None, box: Box | None, tolerance: float | None, device: str
) -> tuple[Image, np.ndarray]:
    """The full resolution of an image, and the mask of what a method finds in it, which is not empty.

    Args:
        image: The image, or volume, to search.
        method: Name of a segmenter.
        point: `[x, y]` on the 0-1000 grid.
        box: On the same grid.
        tolerance: In the image's unit.
        device: Where networks run.

    Raises:
        ValueError: The arguments do not go together, the segmenter does not take the image, or finds nothing.
    """
    import numpy as np

    if tolerance is not None and method != "region":
        raise ValueError(f'tolerance goes with the method "region", not with "{method}"')
    source = full_resolution(image)
    h, w = source.shape
    prompt = SegmentationPrompt(
        None
        if point is None
        else (min(w - 1, point[0] * w // BOX_GRID_SIZE), min(h - 1, point[1] * h // BOX_GRID_SIZE)),
        None if box is None else source.box_to_pixels(box),
        tolerance,
    )
    mask = np.asarray(load_segmenter(method, device).segment(source, prompt))
    wanted = source.pixels.shape[:-1] if source.photometric == "RGB" else source.pixels.shape
    if mask.shape != wanted:
        raise RuntimeError(f"the segmenter {method} gave a mask of shape {mask.shape} for an image of {wanted}")
    if not mask.any():
        raise ValueError(f"no {method} was found in this image")
    return source, mask.astype(bool, copy=False)
