"""The tool `overlay`: masks and boxes drawn on an image, as a picture to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field

from medvistagym_core.imaging import BOX_GRID_SIZE, Box, Image, resample_mask_to
from medvistagym_core.tools import tool

if TYPE_CHECKING:
    import numpy as np

COLOURS: Final = ((255, 64, 64), (64, 200, 255), (255, 210, 64), (96, 230, 96), (230, 120, 255), (255, 150, 60))
"""Red, blue, yellow, green, violet and orange, in the order of what is drawn."""
COLOUR_NAMES: Final = ("red", "blue", "yellow", "green", "violet", "orange")
_PIXELS_A_LINE: Final = 300
"""Longer side of the picture for each pixel of a line's width."""

_Masks = Annotated[list[Image], Field(max_length=6)] | None
_Boxes = Annotated[list[Box], Field(max_length=20)] | None


@tool
def overlay(image: Image, masks: _Masks = None, boxes: _Boxes = None) -> tuple[Image, str]:
    """Draw the outlines of masks, and boxes with numbers, on an image, to see where they lie.

    Use it to check with your own eyes what a tool found. The picture is for looking only: its values are no longer those of the
    image, so measure, window and segment the image itself.

    Args:
        image: The image; of a volume, the slice that is shown, or the one that shows most of the first mask.
        masks: Masks of this image, which get a colour each: red, blue, yellow, green, violet, orange.
        boxes: [left, top, right, bottom] on a grid from 0 to 1000 over the image, numbered from 1.
    """
    if not masks and not boxes:
        raise ValueError("there is nothing to draw: give masks, boxes or both")
    source = image.detail or image
    planes = [resample_mask_to(mask, source) for mask in masks or ()]
    frame = None
    if source.is_stack:
        displayed = source.frames // 2 if image.frame is None else image.frame
        frame = displayed if not planes or planes[0][displayed].any() else int(planes[0].sum((1, 2)).argmax())
        planes = [plane[frame] for plane in planes]
        pixels = source.pixels[frame]
        source = source.replace(
            pixels=pixels,
            frame=None,
            spacing=None if source.spacing is None else source.spacing[-2:],
            attributes={**source.attributes, "frame": str(frame)},
        )
    picture = draw_overlay(source.replace(window=image.window), planes, boxes or ())
    legend = [f"mask {n} in {COLOUR_NAMES[n % len(COLOUR_NAMES)]}" for n in range(len(planes))]
    legend += [f"{len(boxes)} box{'es' if len(boxes) > 1 else ''}"] if boxes else []
    return picture, ", ".join(legend) + (f", on slice {frame}" if frame is not None else "")


def draw_overlay(frame: Image, masks: Sequence[np.ndarray], boxes: Sequence[Sequence[int]]) -> Image:
    """A frame as it is displayed, in colour, with what lies on it.

    Args:
        frame: A single frame.
        masks: Booleans of its shape, each in the next of `COLOURS`.
        boxes: `(x0, y0, x1, y1)` on its 0-1000 grid, in the next colours after the masks; numbered where there are several.
    """
    import numpy as np
    import PIL.Image
    import PIL.ImageDraw

    grey = frame.replace(overlay=None).view()
    picture = np.repeat(grey[..., None], 3, -1) if grey.ndim == 2 else grey.copy()
    h, w = frame.shape
    width = max(1, round(max(h, w) / _PIXELS_A_LINE))
    for number, mask in enumerate(masks):
        picture[outline(mask, width)] = COLOURS[number % len(COLOURS)]
    drawn = PIL.Image.fromarray(picture)
    pen: Any = PIL.ImageDraw.Draw(drawn)
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        colour = COLOURS[(len(masks) + number) % len(COLOURS)]
        left, top = x0 * w // BOX_GRID_SIZE, y0 * h // BOX_GRID_SIZE
        right, bottom = -(-x1 * w // BOX_GRID_SIZE) - 1, -(-y1 * h // BOX_GRID_SIZE) - 1
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=width)
        if len(boxes) > 1:
            pen.text((left + 2 * width, top + width), str(number + 1), fill=colour, font_size=max(10, 10 * width))
    return frame.replace(
        pixels=np.asarray(drawn), unit="grey", photometric="RGB", window=None, windows=(), overlay=None, detail=None
    )


def outline(mask: np.ndarray, width: int) -> np.ndarray:
    """The pixels of a mask, booleans `(H, W)`, that lie within `width` pixels of its outside or of the image's edge."""
    import cv2
    import numpy as np

    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    inner = cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    edge: np.ndarray = mask & (inner == 0)
    return edge
