"""What holds of every tool: stacks frame by frame, images of any size, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest

from medvistagym_core.imaging import Image
from medvistagym_core.tools import Tool
from medvistagym_kornia import Denoise, Edges, EnhanceContrast, Morphology, Sharpen, difference, orient

Scan = Callable[..., Image]
# to a type checker a decorated class is still the class
CALLS = cast(
    list[tuple[Tool, dict[str, Any]]],
    [
        (Denoise, {"method": "median"}),
        (Denoise, {"method": "bilateral", "radius": 2}),
        (Sharpen, {}),
        (EnhanceContrast, {"method": "clahe"}),
        (EnhanceContrast, {"method": "equalize"}),
        (Edges, {"method": "sobel"}),
        (Edges, {"method": "canny"}),
        (Morphology, {"operation": "open", "radius": 15}),
        (orient, {"angle": 90.0}),
    ],
)
# the noise that a bilateral filter smooths is estimated over all frames, and orient has frames of another shape
FRAME_BY_FRAME = [call for call in CALLS[:-1] if call[1].get("method") != "bilateral"]
WITH_VALUES = [*CALLS[:-1], (difference, {"register": "none"})]  # orient turns what has no value, too


@pytest.mark.parametrize(("tool", "arguments"), FRAME_BY_FRAME, ids=lambda part: getattr(part, "name", None))
def test_stacks_are_worked_on_frame_by_frame(scan: Scan, tool: Tool, arguments: dict[str, Any]) -> None:
    stack = Image(pixels=np.stack([scan().pixels, scan().pixels[::-1]]), unit="HU", frame=1)
    result = tool(stack, **arguments)
    assert result.frame == 1
    assert np.array_equal(result.pixels[0], tool(stack.replace(pixels=stack.pixels[0], frame=None), **arguments).pixels)


@pytest.mark.parametrize(("tool", "arguments"), CALLS, ids=lambda part: getattr(part, "name", None))
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 2), (17, 33), (3, 1, 1)])
def test_small_and_constant_images_give_a_result(tool: Tool, arguments: dict[str, Any], shape: tuple[int, ...]) -> None:
    result = tool(Image(pixels=np.full(shape, 7, np.int16), unit="HU"), **arguments)
    assert sorted(result.pixels.shape) == sorted(shape)
    assert result.view().dtype == np.uint8


@pytest.mark.parametrize(("tool", "arguments"), WITH_VALUES, ids=lambda part: getattr(part, "name", None))
def test_pixels_without_a_value_and_huge_images_are_refused(
    scan: Scan, refusal: Callable[..., str], tool: Tool, arguments: dict[str, Any]
) -> None:
    more = {"other": scan().replace(unit="grey")} if tool is difference else {}
    pixels = np.zeros((96, 128), np.float32)
    pixels[3, 4], pixels[5, 6] = np.nan, np.inf
    assert "2 of 12288 pixels have no value" in refusal(tool, image=Image(pixels=pixels), **arguments, **more)
    far = Image(pixels=np.full((96, 128), 3e30, np.float32))
    if arguments.get("method") not in ("clahe", "equalize", "canny"):  # which work on the displayed picture
        assert "the values of the image reach 3e+30" in refusal(tool, image=far, **arguments, **more)
    huge = Image(pixels=np.broadcast_to(np.uint8(0), (100_000, 100_000)))
    assert "10,000,000,000 pixels" in refusal(tool, image=huge, **arguments, **more)
