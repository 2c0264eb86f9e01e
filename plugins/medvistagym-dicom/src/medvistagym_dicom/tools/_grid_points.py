"""Points on the 0-1000 grid of an image, as tools take them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medvistagym_core.imaging import BOX_GRID_SIZE, Image

Point = Annotated[list[Annotated[int, Field(ge=0, le=BOX_GRID_SIZE)]], Field(min_length=2, max_length=2)]
PixelPoint = tuple[float, float]


def grid_to_pixels(image: Image, points: list[list[int]]) -> list[PixelPoint]:
    """Points of the grid as (x, y) in pixels of the image, counted from its upper left corner."""
    h, w = image.shape
    return [(x * w / BOX_GRID_SIZE, y * h / BOX_GRID_SIZE) for x, y in points]
