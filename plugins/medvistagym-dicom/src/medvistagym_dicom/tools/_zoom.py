"""The tool `zoom`: a part of an image enlarged, from its full-resolution pixels (`Image.detail`) and not from its view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from medvistagym_core.imaging import Box, Image
from medvistagym_core.tools import tool
from medvistagym_dicom.tools._roi import full_resolution
from medvistagym_dicom.tools._scale import pixel_aspect
from medvistagym_dicom.tools._upsample import upsample

MAX_SIDE_PX: Final = 1024


@tool
def zoom(image: Image, box: Box) -> Image:
    """Look at a part of an image enlarged, with all the detail of the original scan and the same window.

    Use it for anything small: fine texture, thin lines, tiny marks. It shows what the small overview cannot.

    Args:
        image: The image to look into.
        box: The part to enlarge, [left, top, right, bottom] on a grid from 0 to 1000 over this image.
    """
    source = full_resolution(image)
    crop = source.crop(*source.box_to_pixels(box))
    if crop.window is not image.window:
        crop = crop.replace(window=image.window)
    h, w = crop.shape
    # Pixels that are no squares become squares, so that shapes keep their proportions.
    aspect = pixel_aspect(crop)
    height, width = (h * max(1.0, aspect), w * max(1.0, 1 / aspect)) if abs(aspect - 1) > 0.01 else (h, w)
    side = min(MAX_SIDE_PX, max(image.source_shape or image.shape))
    scale = side / max(height, width)
    return upsample(crop, max(1, round(height * scale)), max(1, round(width * scale)), source)


@zoom.batch
def _zoom_batch(calls: Sequence[Mapping[str, Any]]) -> list[Image | ValueError]:
    # One after another: the time goes into memory touched for the first time, which threads only make slower.
    return [_zoom_or_error(**call) for call in calls]


def _zoom_or_error(image: Image, box: Box) -> Image | ValueError:
    try:
        result: Image = zoom(image, box)
    except ValueError as error:
        return error
    return result
