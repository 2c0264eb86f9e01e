"""The tools of this plugin: `window`, `zoom`, `measure`.

None of them changes values: `window` changes how they are shown, `zoom` where one looks, `measure` reads them. `zoom` and
`measure` read the finest pixels that an image was made from (`Image.detail`), not the picture a policy saw.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from medvistagym_core.image import Box, Image, Window
from medvistagym_core.tool import tool
from medvistagym_dicom.presets import PRESETS, Preset

LONGEST: Final = 1024


@tool
def window(
    image: Image,
    preset: Preset | None = None,
    center: float | None = None,
    width: Annotated[float, Field(gt=0)] | None = None,
) -> Image:
    """Show other values of an image: the range `width` around `center` is spread from black to white.

    Use it when structures of similar value look alike: a narrow window separates them, a wide one shows bone and air together.
    Give a preset (CT only), or a center and a width.

    Args:
        image: The image to show otherwise.
        preset: Named window for CT.
        center: Value shown as mid-grey, in the image's unit (HU for CT).
        width: Range of values from black to white, in the same unit.
    """
    if preset is not None:
        if center is not None or width is not None:
            raise ValueError("give a preset, or a center and a width, not both")
        if image.unit != "HU":
            raise ValueError(
                f"presets are for CT in HU, this image has {_unit_in_words(image)}; give a center and a width"
            )
        low, span = PRESETS[preset]
        return image.with_window(Window(low, span, name=preset))
    if center is None or width is None:
        raise ValueError(f"give a center and a width, or a preset: {', '.join(PRESETS)}")
    # DICOM PS3.3 C.11.2.1.2 defines the linear function for widths of at least 1; C.11.2.1.3.2 serves finer ones.
    return image.with_window(Window(center, width, "linear" if width >= 1 else "linear_exact"))


@tool
def zoom(image: Image, box: Box) -> Image:
    """Look at a part of an image enlarged, with all the detail of the original scan and the same window.

    Use it for anything small: fine texture, thin lines, tiny marks. It shows what the small overview cannot.

    Args:
        image: The image to look into.
        box: The part to enlarge, [left, top, right, bottom] on a grid from 0 to 1000 over this image.
    """
    source = _source(image)
    part = source.crop(*source.box_to_pixels(box))
    if part.window != image.window:
        part = part.replace(window=image.window)
    h, w = part.shape
    side = min(LONGEST, max(image.source_shape or image.shape))
    scale = side / max(h, w)
    return part.resized(max(1, round(h * scale)), max(1, round(w * scale)))


@tool
def measure(image: Image, box: Box) -> tuple[str, dict[str, Any]]:
    """Measure a part of an image: mean, standard deviation, least and greatest value, and size in mm.

    Use it to tell what something consists of (air, fat, fluid, soft tissue and bone differ in HU) or how large it is. Keep
    the box inside the structure.

    Args:
        image: The image to measure in.
        box: The part to measure, [left, top, right, bottom] on a grid from 0 to 1000 over this image.
    """
    import numpy as np

    source = _source(image)
    x0, y0, x1, y1 = source.box_to_pixels(box)
    values = source.pixels[y0:y1, x0:x1].astype(np.float64)
    if source.photometric == "RGB":
        values = values @ (0.299, 0.587, 0.114)  # luma, ITU-R BT.601
    total = values.size
    mean = float(values.mean())
    if not np.isfinite(mean):
        values = values[np.isfinite(values)]
        if values.size == 0:
            raise ValueError(f"all {total} pixels of the box are without a value (NaN or infinite)")
        mean = float(values.mean())
    ignored = total - values.size
    low, high = float(values.min()), float(values.max())
    values -= mean
    data: dict[str, Any] = {
        "mean": mean,
        "sd": float(np.sqrt(np.vdot(values, values) / values.size)),
        "min": low,
        "max": high,
        "unit": None if source.unit in ("raw", "grey") else source.unit,
        "width_px": x1 - x0,
        "height_px": y1 - y0,
        "width_mm": None,
        "height_mm": None,
        "ignored": ignored,
    }
    if source.spacing is not None:
        data["height_mm"], data["width_mm"] = (y1 - y0) * source.spacing[-2], (x1 - x0) * source.spacing[-1]
    return _sentence(source, data), data


def _sentence(image: Image, data: dict[str, Any]) -> str:
    """The measurement in a line; the same facts as `data`, rounded."""
    places = ".0f" if image.unit == "HU" else ".4g" if max(abs(data["min"]), abs(data["max"])) < 10 else ".1f"
    mean, sd, low, high = (f"{data[key]:z{places}}" for key in ("mean", "sd", "min", "max"))
    unit = f" {data['unit']}" if data["unit"] else ""
    text = f"mean {mean}{unit}, SD {sd}, min {low}, max {high}"
    if data["width_mm"] is None:
        text += f", {data['width_px']} x {data['height_px']} pixels (no size in mm known)"
    else:
        text += f", {data['width_mm']:.1f} x {data['height_mm']:.1f} mm"
        text += " at the detector" if image.attributes.get("spacing_at") == "detector" else ""
    text += "" if unit else f"; the values are {_unit_in_words(image)}"
    return text + (f"; {data['ignored']} pixels without a value left out" if data["ignored"] else "")


def _unit_in_words(image: Image) -> str:
    return {"raw": "raw counts without a physical unit", "grey": "grey levels without a physical unit"}.get(
        image.unit, f"values in {image.unit}"
    )


def _source(image: Image) -> Image:
    """The finest pixels of an image; of a stack, those of the frame that its view shows."""
    source = image.detail or image
    if not source.is_stack:
        return source
    frame = source.frames // 2 if image.frame is None else image.frame
    return source.replace(
        pixels=source.pixels[frame],
        frame=None,
        spacing=None if source.spacing is None else source.spacing[-2:],
        attributes={**source.attributes, "frame": str(frame)},
    )
