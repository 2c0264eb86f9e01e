"""The tools of this plugin: `window`, `zoom`, `measure`.

None of them changes values: `window` changes how they are shown, `zoom` where one looks, `measure` reads them. `zoom` and
`measure` read the finest pixels that an image was made from (`Image.detail`), not the picture a policy saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from medvistagym_core.imaging import Box, Image, Window
from medvistagym_core.tools import tool
from medvistagym_dicom.enlarging import enlarged
from medvistagym_dicom.presets import PRESETS, Preset
from medvistagym_dicom.region import (
    at_detector,
    luma,
    physical_unit,
    source_of,
    statistics,
    statistics_in_words,
    unit_in_words,
)

LONGEST: Final = 1024


@tool
def window(
    image: Image,
    preset: Preset | None = None,
    center: float | None = None,
    width: Annotated[float, Field(gt=0)] | None = None,
    function: Literal["linear", "linear_exact", "sigmoid"] | None = None,
) -> Image:
    """Show other values of an image: the range `width` around `center` is spread from black to white.

    Use it when structures of similar value look alike: a narrow window separates them, a wide one shows bone and air together.
    Give a preset (CT only), or a center and a width.

    Args:
        image: The image to show otherwise.
        preset: Named window for CT.
        center: Value shown as mid-grey, in the image's unit (HU for CT).
        width: Range of values from black to white, in the same unit.
        function: How the values between are spread (DICOM PS3.3 C.11.2); linear unless given.
    """
    if preset is not None:
        if center is not None or width is not None:
            raise ValueError("give a preset, or a center and a width, not both")
        if image.unit != "HU":
            raise ValueError(
                f"presets are for CT in HU, this image has {unit_in_words(image)}; give a center and a width"
            )
        low, span = PRESETS[preset]
        return image.with_window(Window(low, span, function or "linear", name=preset))
    if center is None or width is None:
        raise ValueError(f"give a center and a width, or a preset: {', '.join(PRESETS)}")
    # DICOM PS3.3 C.11.2.1.2 defines the linear function for widths of at least 1; C.11.2.1.3.2 serves finer ones.
    return image.with_window(Window(center, width, function or ("linear" if width >= 1 else "linear_exact")))


@tool
def zoom(image: Image, box: Box) -> Image:
    """Look at a part of an image enlarged, with all the detail of the original scan and the same window.

    Use it for anything small: fine texture, thin lines, tiny marks. It shows what the small overview cannot.

    Args:
        image: The image to look into.
        box: The part to enlarge, [left, top, right, bottom] on a grid from 0 to 1000 over this image.
    """
    source = source_of(image)
    part = source.crop(*source.box_to_pixels(box))
    if part.window != image.window:
        part = part.replace(window=image.window)
    h, w = part.shape
    side = min(LONGEST, max(image.source_shape or image.shape))
    scale = side / max(h, w)
    return enlarged(part, max(1, round(h * scale)), max(1, round(w * scale)), source)


@zoom.batch
def _zooms(calls: Sequence[Mapping[str, Any]]) -> list[Image | ValueError]:
    # One after another: what takes time is memory touched for the first time, and threads only make that slower.
    return [_zoomed(**call) for call in calls]


def _zoomed(image: Image, box: Box) -> Image | ValueError:
    try:
        part: Image = zoom(image, box)
    except ValueError as error:
        return error
    return part


@tool
def measure(image: Image, box: Box) -> tuple[str, dict[str, Any]]:
    """Measure a part of an image: mean, standard deviation, least and greatest value, and size in mm.

    Use it to tell what something consists of (air, fat, fluid, soft tissue and bone differ in HU) or how large it is. Keep
    the box inside the structure.

    Args:
        image: The image to measure in.
        box: The part to measure, [left, top, right, bottom] on a grid from 0 to 1000 over this image.
    """
    source = source_of(image)
    x0, y0, x1, y1 = source.box_to_pixels(box)
    values = source.pixels[y0:y1, x0:x1]
    data: dict[str, Any] = {
        **statistics(luma(values) if source.photometric == "RGB" else values, "box"),
        "unit": physical_unit(source),
        "width_px": x1 - x0,
        "height_px": y1 - y0,
        "width_mm": None,
        "height_mm": None,
    }
    if source.spacing is not None:
        data["height_mm"], data["width_mm"] = (y1 - y0) * source.spacing[-2], (x1 - x0) * source.spacing[-1]
    return _sentence(source, data), data


def _sentence(image: Image, data: dict[str, Any]) -> str:
    """The measurement in a line; the same facts as `data`, rounded."""
    text = statistics_in_words(image, data)
    if data["width_mm"] is None:
        text += f", {data['width_px']} x {data['height_px']} pixels (no size in mm known)"
    else:
        text += f", {data['width_mm']:.1f} x {data['height_mm']:.1f} mm{at_detector(image)}"
    text += "" if data["unit"] else f"; the values are {unit_in_words(image)}"
    return text + (f"; {data['ignored']} pixels without a value left out" if data["ignored"] else "")
