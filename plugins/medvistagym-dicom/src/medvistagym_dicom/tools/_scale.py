"""How long a pixel is at a place of an image: in millimetres, in pixel widths where only its shape is known, or in pixels."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from medvistagym_core.imaging import Image
from medvistagym_dicom.tools._grid_points import PixelPoint

Spacing = tuple[float, float]
_FINE_MM = 0.05
_LOCATIONS = {
    "detector": " at the detector",
    "film": " on the film",
    "unknown": " (at the detector or in the patient, the file does not tell)",
}


class Scale(NamedTuple):
    """The size of pixels.

    Attributes:
        down: Distance between rows, in the unit.
        across: Distance between columns, in the unit.
        unit: "mm", "pixel widths", or "pixels" where nothing is known.
        note: What to add to a length in mm: where it is one, or that there is none, and why.
    """

    down: float
    across: float
    unit: Literal["mm", "pixel widths", "pixels"]
    note: str

    @property
    def decimals(self) -> int:
        """Of a length: one in millimetres, and as many more as a pixel needs that is smaller, as of a microscope."""
        side = min(self.down, self.across)
        return 1 if side >= _FINE_MM else math.ceil(-math.log10(side))


def scale_at(image: Image, points: list[PixelPoint]) -> Scale:
    """The scale that holds at all of some points.

    Args:
        image: A single slice or frame at full resolution.
        points: In pixels of the image, counted from its upper left corner.
    """
    if "regions" in image.attributes:
        return _region_scale(image, points)
    if image.spacing is not None:
        down, across = image.spacing[-2:]
        return Scale(down, across, "mm", location_note(image))
    ratio = pixel_aspect(image)
    if not math.isclose(ratio, 1, rel_tol=0.01):
        shape = f"a pixel is {ratio:.3g} times as high as wide"
        return Scale(ratio, 1.0, "pixel widths", f" (no size in mm known; {shape})")
    return Scale(1.0, 1.0, "pixels", " (no size in mm known)")


def location_note(image: Image) -> str:
    """What to add to a length in mm: nothing, or where it is one, if not in the patient."""
    return _LOCATIONS.get(image.attributes.get("spacing_at", ""), "")


def pixel_aspect(image: Image) -> float:
    """Height of a pixel over its width; 1 where it is not known."""
    if image.spacing is not None:
        return image.spacing[-2] / image.spacing[-1]
    declared = image.attributes.get("pixel_aspect")
    if declared is None:
        return 1.0
    down, across = _turn_spacing(image, (float(declared), 1.0))
    return down / across


def _region_scale(image: Image, points: list[PixelPoint]) -> Scale:
    """The scale of the first region of an ultrasound picture that holds all points."""
    a, b, c, d, e, f = image.to_source
    places = [(a * x + b * y + c, d * x + e * y + f) for x, y in points]
    for region in image.attributes["regions"].split(";"):
        x0, y0, x1, y1, down, across = (float(v) for v in region.split())
        if all(x0 - 1e-6 <= x <= x1 + 1e-6 and y0 - 1e-6 <= y <= y1 + 1e-6 for x, y in places):
            if not down:
                return Scale(1.0, 1.0, "pixels", " (no size in mm known; this part of the picture shows no lengths)")
            return Scale(*_turn_spacing(image, (down, across)), "mm", "")
    return Scale(1.0, 1.0, "pixels", " (no size in mm known; not within one calibrated part of the picture)")


def _turn_spacing(image: Image, spacing: Spacing) -> Spacing:
    """Spacing of rows and columns of the source image as that of an image that was turned, mirrored or resampled from it."""
    a, b, _, d, e, _ = image.to_source
    down, across = spacing
    return math.hypot(b * across, e * down), math.hypot(a * across, d * down)
