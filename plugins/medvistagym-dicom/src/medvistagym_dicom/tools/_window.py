"""The tool `window`: another range of values shown from black to white. The values stay as they are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medvistagym_core.imaging import Image, Window
from medvistagym_core.tools import tool
from medvistagym_dicom.tools._presets import PRESETS, Preset
from medvistagym_dicom.tools._roi import format_unit


@tool(light=True)
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
                f"presets are for CT in HU, this image has {format_unit(image)}; give a center and a width"
            )
        preset_center, preset_width = PRESETS[preset]
        return image.with_window(Window(preset_center, preset_width, function or "linear", name=preset))
    if center is None or width is None:
        raise ValueError(f"give a center and a width, or a preset: {', '.join(PRESETS)}")
    # DICOM PS3.3 C.11.2.1.2 defines the linear function for widths of at least 1; C.11.2.1.3.2 serves narrower ones.
    return image.with_window(Window(center, width, function or ("linear" if width >= 1 else "linear_exact")))
