"""Pixels that no tool can work on, and images that are no masks, end in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import Image
from medvistagym_core.tools import Tool
from medvistagym_monai import components, crop_foreground, fill_holes, resample, scale_intensity

Refusal = Callable[..., str]
TOOLS: list[tuple[Tool, dict[str, Any]]] = [
    (crop_foreground, {}), (resample, {"spacing_mm": 1.5}), (scale_intensity, {}), (components, {}), (fill_holes, {}),
]  # fmt: skip
EACH_TOOL = pytest.mark.parametrize(("tool", "arguments"), TOOLS, ids=lambda part: getattr(part, "name", ""))


def spaced(tool: Tool, pixels: np.ndarray) -> dict[str, Image]:
    """The tool's image argument, of the unit that it takes, with a spacing."""
    (name,) = tool.image_arguments
    return {name: Image(pixels=pixels, unit="mask" if name == "mask" else "HU", spacing=(1.0, 1.0))}


@pytest.mark.parametrize(("tool", "arguments"), TOOLS[:3], ids=lambda part: getattr(part, "name", ""))
def test_values_that_are_none_are_counted(refusal: Refusal, tool: Tool, arguments: Mapping[str, Any]) -> None:
    pixels = np.zeros((16, 16), np.float32)
    pixels[3, 3] = np.nan
    assert "1 of 256 pixels have no value" in refusal(tool, **spaced(tool, pixels), **arguments)


@EACH_TOOL
def test_an_image_that_is_too_large_is_refused_by_its_size(
    refusal: Refusal, tool: Tool, arguments: Mapping[str, Any]
) -> None:
    huge = np.broadcast_to(np.int16(1), (100_000, 100_000))
    assert "10,000,000,000 pixels" in refusal(tool, **spaced(tool, huge), **arguments)


@EACH_TOOL
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 3)])
def test_small_images_are_taken_or_refused(tool: Tool, arguments: Mapping[str, Any], shape: tuple[int, int]) -> None:
    defaults = {name: field.default for name, field in tool.arguments.model_fields.items()}
    result = tool.run({**defaults, **arguments, **spaced(tool, np.full(shape, 7, np.int16))})
    assert result.error is None or result.error.code == "bad_value"


@pytest.mark.parametrize("tool", [crop_foreground, scale_intensity], ids=lambda tool: tool.name)
def test_an_image_of_one_value_has_no_contrast(refusal: Refusal, tool: Tool) -> None:
    assert "alike" in refusal(tool, image=Image(pixels=np.full((8, 8), 7)))


@pytest.mark.parametrize("tool", [components, fill_holes], ids=lambda tool: tool.name)
def test_what_is_no_mask_is_refused_and_what_a_file_holds_is_taken(refusal: Refusal, tool: Tool) -> None:
    for no_mask in (
        Image(pixels=np.array([[-1000, 40]], np.int16), unit="HU"),
        Image(pixels=np.arange(9, dtype=np.uint8).reshape(3, 3)),
        Image(pixels=np.zeros((4, 4, 3), np.uint8), photometric="RGB"),
    ):
        assert "give one that segment made" in refusal(tool, mask=no_mask)
    assert "the mask is empty" in refusal(tool, mask=Image(pixels=np.zeros((4, 4), bool), unit="mask"))
    mask, *_ = tool(Image(pixels=np.array([[0, 255], [0, 0]], np.uint8)))
    assert mask.pixels.tolist() == [[False, True], [False, False]]
