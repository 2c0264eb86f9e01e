"""The tool `segment_crop`: finds a structure and cuts the image to it."""

from __future__ import annotations

from typing import Any

from medvistagym_core.imaging import (
    Image,
    display_like,
    format_crop,
    format_frame,
    format_measurements,
    mask_measurements,
)
from medvistagym_core.tools import tool
from medvistagym_segment.tools._arguments import TIMEOUT_S, MarginMm, Method, Point, PromptBox, Tolerance
from medvistagym_segment.tools._crop_to_mask import crop_to_bounds, display_structure
from medvistagym_segment.tools._segment import segment_full_resolution


@tool(timeout_s=TIMEOUT_S)
class SegmentCrop:
    """Find a structure and cut the image to it, with a margin: segment and crop_to_mask in one call.

    Use it to look closely at a structure that has a name or that you can point at. For a box of your own choosing use zoom.

    Args:
        image: The image, or volume, to cut.
        margin_mm: Margin on all sides in mm; in pixels if the spacing is not known.
        mask_out: Whether what lies outside the structure is made black.
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
        margin_mm: MarginMm = 5.0,
        mask_out: bool = False,
    ) -> tuple[Image, str, dict[str, Any]]:
        source, mask = segment_full_resolution(image, method, point, box, tolerance, self.device)
        cropped, bounds = crop_to_bounds(source, mask, margin_mm, mask_out)
        data = mask_measurements(mask, source)
        text = f"{method}: {format_measurements(data)}. {format_crop(source, bounds, margin_mm)}"
        view = display_like(cropped, image)
        if mask_out:
            view, note = display_structure(view, source.pixels[mask])
            text += note
        return view, text + format_frame(image, source), {"method": method, **data, "crop": bounds.box(source)}
