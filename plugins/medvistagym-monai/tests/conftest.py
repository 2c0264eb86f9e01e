"""What the tests of several tools share: a scan of known shape, and the sentence of a refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medvistagym_core.imaging import Image, Window
from medvistagym_core.tools import Tool, ToolError


@pytest.fixture
def scan() -> Callable[..., Image]:
    """A function that makes a block of 40 HU in air, 60 x 30 mm, at rows 20 to 59 and columns 30 to 149 of 100 x 200 pixels.

    With a number of slices a volume, 4 mm between them, of which two at the start and three at the end are air.
    """

    def make(slices: int | None = None, **changes: Any) -> Image:
        pixels = np.full((100, 200), -1000, np.int16)
        pixels[20:60, 30:150] = 40
        attributes: dict[str, Any] = {
            "unit": "HU",
            "modality": "CT",
            "spacing": (0.75, 0.5),
            "window": Window(40, 400),
            **changes,
        }
        if slices is not None:
            pixels = np.repeat(pixels[None], slices, 0)
            pixels[:2], pixels[-3:] = -1000, -1000
            attributes["spacing"] = (4.0, 0.75, 0.5)
        return Image(pixels=pixels, **attributes)

    return make


@pytest.fixture
def refusal() -> Callable[..., str]:
    """A function that calls a tool, with its defaults, and gives the sentence by which it refuses."""

    def call(tool: Tool, **arguments: Any) -> str:
        defaults = {name: field.default for name, field in tool.arguments.model_fields.items()}
        error = tool.run({**defaults, **arguments}).error
        assert isinstance(error, ToolError)
        assert error.code == "bad_value", error
        assert "\n" not in error.message
        return error.message

    return call
